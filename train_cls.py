"""Train the detector of one class: `promptad train`, under the training guide's name."""

from launch import launch

launch("train")
