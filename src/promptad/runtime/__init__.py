"""Predictions without torch: exported detectors by numpy, Pillow and an engine."""

from promptad.runtime.session import Session, TowerSession

__all__ = ["Session", "TowerSession"]
