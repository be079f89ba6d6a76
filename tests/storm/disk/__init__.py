"""Disks that are full, under a real PostgreSQL with payouts on their way."""
