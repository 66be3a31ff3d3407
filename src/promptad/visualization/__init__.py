"""Figures of diagnostics and predictions."""
