"""Two systems side by side, from saved rows: what may be compared, the paired differences, and how they are shown."""
