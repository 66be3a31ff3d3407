"""A sweep for readers: its numbers, tables and figure."""
