"""Measure a trained detector: `promptad test`, under the original PromptAD's name."""

from launch import launch

launch("test")
