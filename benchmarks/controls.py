"""What the systems are compared with: our memory's term alone, and plain nearest neighbours without any training."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from promptad.data.images import read_image
from promptad.features import ImageFeatures
from promptad.models.anomaly_map import smooth_maps, square_maps
from promptad.models.distances import distances_to
from promptad.models.memory_bank import CalibratedMemory, MemoryBank
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.settings import ScoringSettings
from promptad.structures import Prediction

THUMBNAIL, PATCH = 32, 4  # pixels a side of an image that is compared as it is, and of its patches


def memory_alone(detector: MultiPrototypeDetector) -> MultiPrototypeDetector:
    """Return a detector without thresholds of which the memory bank's term alone counts."""
    memory = detector.head.memory
    assert memory is not None, "the detector has no memory bank"
    none = torch.zeros_like(memory.map_mean)
    return with_memory(detector, replace(memory, class_token_weight=none, patches_weight=none, map_weight=none))


def with_memory(detector: MultiPrototypeDetector, memory: CalibratedMemory | None) -> MultiPrototypeDetector:
    """Return a detector without thresholds with another memory bank, or none."""
    return replace(detector, head=detector.head.with_memory(memory))


def nearest_layers(support: ImageFeatures, test: ImageFeatures, scoring: ScoringSettings) -> Prediction:
    """Compare patches at the intermediate layers with those of the support images, which are not augmented."""
    distances = MemoryBank.from_support(support).add_distances(replace(test, distances=None)).distances
    assert distances is not None
    return _by_patches(distances, scoring)


def nearest_tokens(support: ImageFeatures, test: ImageFeatures, scoring: ScoringSettings) -> Prediction:
    """Compare patch tokens of the local path with those of the support images."""
    return _by_patches(distances_to(support.patch_tokens.flatten(0, 1), test.patch_tokens, ("nearest",))[0], scoring)


def nearest_pixels(
    support: Sequence[Path], test: Sequence[Path], bit_depth: int | None, scoring: ScoringSettings
) -> Prediction:
    """Compare patches of 4 x 4 raw pixels of images of 32 x 32, by Euclidean distance: what needs no CLIP."""
    known, seen = (pixel_patches([_thumbnail(path, bit_depth) for path in paths]) for paths in (support, test))
    return _by_patches(torch.cdist(seen, known.flatten(0, 1)).amin(2), scoring)


def pixel_patches(thumbnails: Sequence[np.ndarray]) -> Tensor:
    """Return the patches [N, patch, numbers of a patch] of images [32, 32, 3] of levels 0 to 1."""
    pixels = torch.from_numpy(np.stack(thumbnails)).permute(0, 3, 1, 2)
    return F.unfold(pixels, PATCH, stride=PATCH).transpose(1, 2)


def _by_patches(distances: Tensor, scoring: ScoringSettings) -> Prediction:
    """Return the largest distance of each image's patches [N, patch], and smooth maps of them."""
    score = distances.amax(1).double().cpu().numpy()
    return Prediction(score, smooth_maps(square_maps(distances), scoring).cpu().numpy(), score)


def _thumbnail(path: Path, bit_depth: int | None) -> np.ndarray:
    small = read_image(path, bit_depth).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC)
    return np.asarray(small, np.float32) / 255
