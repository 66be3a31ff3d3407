"""Measure a trained detector: `promptad test`, under the ancestor's name."""

from launch import launch

launch("test")
