"""Measure a detector trained for segmentation: `promptad test --level pixel`, under the ancestor's name."""

from launch import launch

launch("test", "--level", "pixel")
