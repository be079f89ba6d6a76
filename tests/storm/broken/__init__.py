"""Builds of the gateway with one thing wrong on purpose, each a program of its own: the controls of the proofs."""
