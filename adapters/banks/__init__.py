"""One package per bank profile, each with the same files in it: ``bank.py``, ``wire.py``, ``codes.py``, ``BANK.md``."""
