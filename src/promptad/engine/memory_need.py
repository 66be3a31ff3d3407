"""How much memory a training needs in a process of its own."""

import math
from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from promptad.backbones.clip import Backbone
from promptad.engine.context import Job
from promptad.utils.memory import used_memory

NUMBER = 4  # bytes of a float32
COPIES = 2  # of features, while those of batches are joined
MAPS = 4  # of each test image: scores, smoothed ones, those that are ranked, masks


def needed_memory(jobs: Sequence[Job], backbone: Backbone) -> int:
    """Return the bytes that a process needs that trains any of the jobs, of which there is one at least.

    It holds what this one does, with the backbone, and the features and maps of the largest test split.
    """
    windows = {layers: bytes_of_window(backbone, layers) for layers in {job.settings.needs_layers for job in jobs}}
    return used_memory() + max(of_test_split(job, windows[job.settings.needs_layers]) for job in jobs)


def of_test_split(job: Job, window: int) -> int:
    """Return the bytes of the features and maps of a job's test images, and of its support images' views.

    `window` is those of the features of one window.
    """
    settings, windows = job.settings, job.settings.tile_count
    images = len(job.dataset.test) + len(job.support_images) * settings.support_views
    maps = MAPS * len(job.dataset.test) * windows * settings.scoring.resolution**2 * NUMBER
    return COPIES * images * windows * window + maps


def bytes_of_window(backbone: Backbone, layers: bool) -> int:
    """Return the bytes of the features of one window, with `layers` for a memory bank, as a black one has them."""
    side = backbone.image_encoder.image_size
    found = replace(backbone, cache=None).encode_images([Image.new("RGB", (side, side))], 1, layers=layers)
    tensors = (found.class_token, found.patch_tokens, *found.layers)
    return NUMBER * sum(math.prod(tensor.shape) for tensor in tensors)
