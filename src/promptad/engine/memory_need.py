"""How much memory a training needs in a process of its own."""

import math
from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from promptad.backbones.clip import Backbone
from promptad.engine.context import Job
from promptad.settings import Settings
from promptad.utils.memory import used_memory

NUMBER = 4  # bytes of a float32
COPIES = 2  # of features, while those of batches are joined
MAPS = 4  # of each test image: scores, smoothed ones, those that are ranked, masks


def needed_memory(jobs: Sequence[Job], backbone: Backbone) -> int:
    """Return the bytes that a process needs that trains any of the jobs.

    It holds what this one does, with the backbone, and the features and maps of the largest test split.
    """
    return used_memory() + max((of_test_split(job, backbone) for job in jobs), default=0)


def of_test_split(job: Job, backbone: Backbone) -> int:
    """Return the bytes of the features and maps of a job's test images, and of its support images' views."""
    settings, windows = job.settings, job.settings.tile_count
    images = len(job.dataset.test) + len(job.support_images) * settings.support_views
    features = COPIES * images * windows * bytes_of_window(backbone, settings)
    return features + MAPS * len(job.dataset.test) * windows * settings.scoring.resolution**2 * NUMBER


def bytes_of_window(backbone: Backbone, settings: Settings) -> int:
    """Return the bytes of the features of one window, as found by encoding a black one."""
    side = backbone.image_encoder.image_size
    black = Image.new("RGB", (side, side))
    found = replace(backbone, cache=None).encode_images([black], 1, layers=settings.needs_layers)
    tensors = (found.class_token, found.patch_tokens, *found.layers)
    return NUMBER * sum(math.prod(tensor.shape) for tensor in tensors)
