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
    return np.asarray(gaussian_filter1d(_between(side, resolution), sigma, axis=0), np.float32)


def resampled(values: Tensor, patches: int) -> Tensor:
    """Return values [..., patch] of the patches of a square grid, at those of another grid of so many patches.

    At fewer patches each has the mean over its area, so that none is lost; at more patches values lie on straight lines
    between the centres of the given ones.
    """
    if values.shape[-1] == patches:
        return values
    side, wanted = math.isqrt(values.shape[-1]), math.isqrt(patches)
    matrix = torch.as_tensor(_resampling(side, wanted), device=values.device)
    return (matrix @ values.reshape(*values.shape[:-1], side, side) @ matrix.T).flatten(-2)


@cache
def _resampling(side: int, wanted: int) -> np.ndarray:
    """Return the matrix [wanted, side] that brings values along an axis of a grid to another one."""
    if wanted > side:
        return _between(side, wanted).astype(np.float32)
    edges = np.arange(wanted + 1)[:, None] * side / wanted
    covered = np.clip(edges - np.arange(side), 0, 1)  # of each given patch, up to an edge
    return np.asarray(np.diff(covered, axis=0) * wanted / side, np.float32)


def _between(side: int, wanted: int) -> np.ndarray:
    """Return the matrix [wanted, side] that takes values along an axis to the centres of more or fewer places."""
    places = (np.arange(wanted) + 0.5) * side / wanted - 0.5  # centres are apart, by one of the given patches
    return np.stack([np.interp(places, np.arange(side), own) for own in np.eye(side)], 1)


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
