"""The backbone room: the one place that touches open_clip."""
