"""Whole-file writes and progress bars."""
