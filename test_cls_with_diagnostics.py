"""Measure and diagnose a trained detector: `promptad test`, under the training guide's name."""

from launch import launch

launch("test")
