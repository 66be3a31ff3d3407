"""Measure and diagnose a trained detector: `promptad test`, under the original name."""

from launch import launch

launch("test")
