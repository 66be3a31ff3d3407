"""Scoring: from features and prototypes to anomaly scores and maps. Every fusion and smoothing happens here."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter  # type: ignore[attr-defined]  # it has no type stubs
from torch import Tensor

from promptad.assignment import balanced_offsets
from promptad.prototypes import Prototypes
from promptad.records import ImageFeatures, Prediction
from promptad.settings import ScoringSettings

SHRINKAGE = 0.5  # of a position's variance towards the mean variance of all positions
MAP_QUANTILE = 0.995  # of the patches of normal views that lie below 0.5 in a map
STEEPNESS = 2.0  # deviations above the support level that take a score from 0.5 to 0.73


@dataclass(frozen=True)
class Calibration:
    """What the responses are on normal pictures, learned from label-free views of the support images alone.

    A margin is an abnormal response less the best normal one. Scores are counted in deviations of the margins; an image
    score of 0.5 is the level of the most unusual view, 0.5 in a map that of the most unusual patch in two hundred,
    before smoothing.
    """

    normal_offsets: Tensor  # [K], taken from the normal responses so that each prototype owns its share of the patches
    class_mean: Tensor  # [M], of the class token's margins
    class_std: Tensor  # [M]
    patch_mean: Tensor  # [side * side or 1, M], of the patch tokens' margins, for the image score
    patch_std: Tensor  # [side * side or 1, M]
    map_mean: Tensor  # [M], the same over all positions, for the map
    map_std: Tensor  # [M]
    image_level: Tensor  # [], deviations
    map_level: Tensor  # [], deviations


@dataclass(frozen=True)
class Scores:
    """Anomaly scores of N pictures in deviations from normal: unbounded, for ranking."""

    image: Tensor  # [N]
    patches: Tensor  # [N, side, side]


def margins(tokens: Tensor, prototypes: Prototypes, offsets: Tensor) -> Tensor:
    """Return for tokens [..., D] how far each abnormal response exceeds the best normal one: [..., M] cosines."""
    best_normal = (tokens @ prototypes.normal.T - offsets).amax(-1, keepdim=True)
    return tokens @ prototypes.abnormal.T - best_normal


def calibrate(support: ImageFeatures, prototypes: Prototypes, settings: ScoringSettings) -> Calibration:
    """Calibrate the margins on the features of the support images' views.

    With `settings.calibration` "position", patch margins are calibrated at each patch position, as PaDiM (Defard et
    al., 2021) models features, but on M numbers a position; with "prototype", over all positions; with "none", cosines
    are taken as they are.
    """
    offsets = balanced_offsets((support.patch_tokens @ prototypes.normal.T).flatten(0, 1))
    class_margins = margins(support.class_token, prototypes, offsets)  # [view, M]
    patch_margins = margins(support.patch_tokens, prototypes, offsets)  # [view, patch, M]
    everywhere = _moments(patch_margins.flatten(0, 1))
    zero = torch.zeros((), device=offsets.device)
    if settings.calibration == "none":
        flat = torch.zeros_like(everywhere[0]), torch.ones_like(everywhere[1])
        calibration = Calibration(offsets, *flat, flat[0][None], flat[1][None], *flat, zero, zero)
    else:
        here = _position_moments(patch_margins) if settings.calibration == "position" else everywhere
        patch_mean, patch_std = (moment.view(-1, len(prototypes.abnormal)) for moment in here)
        calibration = Calibration(offsets, *_moments(class_margins), patch_mean, patch_std, *everywhere, zero, zero)
    levels = score_features(support, prototypes, calibration)
    return replace(calibration, image_level=levels.image.max(), map_level=levels.patches.quantile(MAP_QUANTILE))


def score_features(features: ImageFeatures, prototypes: Prototypes, calibration: Calibration) -> Scores:
    """Score N pictures by their features.

    The image score is the class token's largest deviation plus the largest of all patches'; the map holds each patch's
    largest deviation.
    """
    class_margins = margins(features.class_token, prototypes, calibration.normal_offsets)  # [N, M]
    patch_margins = margins(features.patch_tokens, prototypes, calibration.normal_offsets)  # [N, patch, M]
    class_score = ((class_margins - calibration.class_mean) / calibration.class_std).amax(1)
    patch_score = ((patch_margins - calibration.patch_mean) / calibration.patch_std).amax((1, 2))
    patches = ((patch_margins - calibration.map_mean) / calibration.map_std).amax(2)  # [N, patch]
    side = round(patches.shape[1] ** 0.5)
    return Scores(class_score + patch_score, patches.view(-1, side, side))


def to_prediction(scores: Scores, calibration: Calibration, settings: ScoringSettings) -> Prediction:
    """Turn deviations into scores in [0, 1], and patch scores into smooth maps of `settings.resolution` pixels a side.

    0.5 is the level of the most unusual view of the support images, in a map that of their most unusual patches. Maps
    are resized bilinearly and smoothed by a Gaussian of `settings.sigma` pixels, as PromptAD's (Li et al., 2024).
    """
    size = (settings.resolution, settings.resolution)
    maps = F.interpolate(scores.patches[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    smooth = gaussian_filter(maps.cpu().numpy(), settings.sigma, axes=(1, 2))
    heat = torch.sigmoid((torch.from_numpy(smooth) - calibration.map_level.cpu()) / STEEPNESS)
    image = torch.sigmoid((scores.image.double() - calibration.image_level) / STEEPNESS)
    return Prediction(image.cpu().numpy(), heat.numpy())


def _moments(responses: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation over the first axis; one that never varies counts as deviating by 1e-4."""
    return responses.mean(0), responses.std(0, correction=0).clamp_min(1e-4)


def _position_moments(patch_margins: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation [patch, M] of margins [view, patch, M], variances shrunk to all positions' mean."""
    mean, std = _moments(patch_margins)
    variance = std.square()
    return mean, torch.sqrt((1 - SHRINKAGE) * variance + SHRINKAGE * variance.mean(0))
