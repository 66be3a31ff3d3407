"""From patch scores to smooth anomaly maps."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d  # type: ignore[attr-defined]  # it has no type stubs
from torch import Tensor

from promptad.settings import ScoringSettings


@dataclass(frozen=True)
class Scores:
    """Raw anomaly scores of N images, for ranking: z-scores, or the baseline's uncalibrated scores."""

    image: Tensor  # [N]
    patches: Tensor  # [N, side, side]
    lack: Tensor | None = None  # [N], of what an image of the part should show: above 1 it is unlike the part
    defects: Tensor | None = None  # [N, side, side], how like a known defect each patch is: above 1 it is like one
    defect: Tensor | None = None  # [N], the known defect that is likest, counted from 0


def smooth_maps(patches: Tensor, settings: ScoringSettings) -> Tensor:
    """Return patch scores [N, side, side] as maps [N, resolution, resolution], smoothed by a Gaussian.

    Maps are resized bilinearly, then smoothed with `settings.sigma` pixels, as in PromptAD (Li et al., CVPR 2024). Both
    are linear, and the same along rows and columns: a matrix on either side of the patch scores does them at once.
    """
    matrix = torch.as_tensor(smoothing(patches.shape[1], settings.resolution, settings.sigma), device=patches.device)
    return matrix @ patches @ matrix.T


@cache
def smoothing(side: int, resolution: int, sigma: float) -> np.ndarray:
    """Return the matrix [resolution, side] that resizes values along an axis and smooths them, mirrored at its ends."""
    places = (np.arange(resolution) + 0.5) * side / resolution - 0.5  # in patches; pixels' centres are apart
    resized = np.stack([np.interp(places, np.arange(side), own) for own in np.eye(side)], 1)
    return np.asarray(gaussian_filter1d(resized, sigma, axis=0), np.float32)


def resize_maps(patches: Tensor, resolution: int) -> Tensor:
    """Resize patch scores [N, side, side] bilinearly to [N, resolution, resolution]."""
    return F.interpolate(patches[:, None], (resolution, resolution), mode="bilinear", align_corners=False)[:, 0]


def spread_patches(patches: Tensor, resolution: int) -> Tensor:
    """Return values of patches [N, side, side] as maps [N, resolution, resolution]: each pixel has its patch's."""
    places = torch.arange(resolution, device=patches.device) * patches.shape[1] // resolution
    return patches[:, places][:, :, places]


def square_maps(patches: Tensor) -> Tensor:
    """Reshape patch scores [N, side²] to [N, side, side]."""
    side = math.isqrt(patches.shape[1])
    return patches.view(-1, side, side)
