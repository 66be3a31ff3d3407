"""Measure a detector trained for segmentation: `promptad test --level pixel`, under the original name."""

from launch import launch

launch("test", "--level", "pixel")
