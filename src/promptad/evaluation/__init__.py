"""Metrics of labelled images, and diagnostics of the prototypes."""
