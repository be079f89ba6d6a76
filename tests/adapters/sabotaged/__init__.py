"""Adapters that are wrong on purpose, in the ways that cost money: each must be caught by the case named for it."""
