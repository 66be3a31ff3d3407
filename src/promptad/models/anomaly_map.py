"""From patch scores to smooth anomaly maps."""

import math
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter  # type: ignore[attr-defined]  # it has no type stubs
from torch import Tensor

from promptad.settings import ScoringSettings


@dataclass(frozen=True)
class Scores:
    """Raw anomaly scores of N images, for ranking: z-scores, or the baseline's uncalibrated scores."""

    image: Tensor  # [N]
    patches: Tensor  # [N, side, side]
    lack: Tensor | None = None  # [N], of what an image of the part should show: above 1 it is unlike the part


def smooth_maps(patches: Tensor, settings: ScoringSettings) -> np.ndarray:
    """Return patch scores [N, side, side] as maps [N, resolution, resolution], smoothed by a Gaussian.

    Maps are resized bilinearly, then smoothed with `settings.sigma` pixels, as in PromptAD (Li et al., CVPR 2024).
    """
    maps = resize_maps(patches, settings.resolution)
    return gaussian_filter(maps.cpu().numpy(), settings.sigma, axes=(1, 2))  # type: ignore[no-any-return]


def resize_maps(patches: Tensor, resolution: int) -> Tensor:
    """Resize patch scores [N, side, side] bilinearly to [N, resolution, resolution]."""
    return F.interpolate(patches[:, None], (resolution, resolution), mode="bilinear", align_corners=False)[:, 0]


def square_maps(patches: Tensor) -> Tensor:
    """Reshape patch scores [N, side²] to [N, side, side]."""
    side = math.isqrt(patches.shape[1])
    return patches.view(-1, side, side)
