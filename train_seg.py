"""Train the detector of one class for segmentation: `promptad train --level pixel`, under the original name."""

from launch import launch

launch("train", "--level", "pixel")
