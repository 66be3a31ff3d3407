"""Exports of a trained detector to other formats."""
