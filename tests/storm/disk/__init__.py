"""Disks that are full and disks that fail, under a real PostgreSQL with payouts on their way."""
