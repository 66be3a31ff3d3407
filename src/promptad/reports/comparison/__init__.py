"""Two methods side by side, from saved results."""
