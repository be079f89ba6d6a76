"""The relay as a process of its own, and what tells of what it did: for the rows about receipts."""
