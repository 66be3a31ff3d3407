"""Train the detector of one class: `promptad train`, under the original name."""

from launch import launch

launch("train")
