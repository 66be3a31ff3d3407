"""Scoring: from features and prototypes to anomaly scores and maps. Every fusion and smoothing happens here."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter  # type: ignore[attr-defined]  # it has no type stubs
from torch import Tensor

from promptad.assignment import balanced_offsets, levelled
from promptad.memory import CalibratedMemory
from promptad.moments import moments, position_moments
from promptad.prototypes import Prototypes
from promptad.records import ImageFeatures, Prediction
from promptad.settings import ScoringSettings

MAP_QUANTILE = 0.995  # of the patches of normal views that lie below 0.5 in a map
SMOOTHNESS = 10.0  # of the best normal response: cosines that differ by far less than 1 / 10 are averaged
STEEPNESS = 2.0  # deviations, the spread of scores before normal ones are known


@dataclass(frozen=True)
class Calibration:
    """What the responses are on normal pictures, learned from label-free views of the support images alone.

    A margin is an abnormal response less the best normal one. Scores are counted in deviations of the margins. 0.5 lies
    at the two levels: at first at the most unusual view, and in a map at the most unusual patch in two hundred before
    smoothing; in the detector that is kept, at the thresholds of its decision.
    """

    normal_offsets: Tensor  # [K], taken from the normal responses so that each prototype owns its share of the patches
    class_mean: Tensor  # [M], of the class token's margins
    class_std: Tensor  # [M]
    patch_mean: Tensor  # [side * side or 1, M], of the patch tokens' margins, for the image score
    patch_std: Tensor  # [side * side or 1, M]
    map_mean: Tensor  # [M], the same over all positions, for the map
    map_std: Tensor  # [M]
    image_level: Tensor  # [], deviations: the raw score that is shown as 0.5
    map_level: Tensor  # [], deviations, the same of a map
    image_spread: Tensor  # [], deviations: so much above the level a score is shown as 0.73, so much below it as 0.27
    map_spread: Tensor  # [], deviations, the same of a map


@dataclass(frozen=True)
class Scores:
    """Anomaly scores of N pictures in deviations from normal: unbounded, for ranking."""

    image: Tensor  # [N]
    patches: Tensor  # [N, side, side]


def normal_responses(tokens: Tensor, prototypes: Prototypes) -> Tensor:
    """Return the normal responses [..., K], cosines, to class tokens [N, D] or to patch tokens [N, patch, D].

    Those to patches are levelled, picture by picture.
    """
    responses = tokens @ prototypes.normal.T
    return levelled(responses) if responses.ndim == 3 else responses


def margins(tokens: Tensor, prototypes: Prototypes, offsets: Tensor) -> Tensor:
    """Return how far each abnormal response exceeds the best normal one: [..., M] cosines, of tokens [..., D] as above.

    The best is a smooth maximum, the logarithm of the mean exponential: normal prototypes that answer alike are
    averaged, where a plain maximum would add their noise, and one that answers much better counts alone.
    """
    normal = SMOOTHNESS * (normal_responses(tokens, prototypes) - offsets)
    best_normal = (torch.logsumexp(normal, -1, keepdim=True) - math.log(normal.shape[-1])) / SMOOTHNESS
    return tokens @ prototypes.abnormal.T - best_normal


def calibrate(
    support: ImageFeatures,
    prototypes: Prototypes,
    settings: ScoringSettings,
    memory: CalibratedMemory | None = None,
    offsets: Tensor | None = None,
) -> Calibration:
    """Calibrate the margins on the features of the support images' views.

    With `settings.calibration` "position", patch margins are calibrated at each patch position, as PaDiM (Defard et
    al., 2021) models features, but on M numbers a position; with "prototype", over all positions; with "none", cosines
    are taken as they are. Where there is a memory, the features hold their distances to what it is without them.
    `offsets` [K] are those that balance the normal prototypes on these patches, where training has found them.
    """
    if offsets is None:
        offsets = balanced_offsets(normal_responses(support.patch_tokens, prototypes).flatten(0, 1))
    class_margins = margins(support.class_token, prototypes, offsets)  # [view, M]
    patch_margins = margins(support.patch_tokens, prototypes, offsets)  # [view, patch, M]
    everywhere = moments(patch_margins.flatten(0, 1))
    zero = torch.zeros((), device=offsets.device)
    levels = zero, zero, zero + STEEPNESS, zero + STEEPNESS
    if settings.calibration == "none":
        flat = torch.zeros_like(everywhere[0]), torch.ones_like(everywhere[1])
        calibration = Calibration(offsets, *flat, flat[0][None], flat[1][None], *flat, *levels)
    else:
        here = position_moments(patch_margins) if settings.calibration == "position" else everywhere
        patch_mean, patch_std = (moment.view(-1, len(prototypes.abnormal)) for moment in here)
        calibration = Calibration(offsets, *moments(class_margins), patch_mean, patch_std, *everywhere, *levels)
    scores = score_features(support, prototypes, calibration, memory, settings.image_score)
    return replace(calibration, image_level=scores.image.max(), map_level=scores.patches.quantile(MAP_QUANTILE))


def score_features(
    features: ImageFeatures,
    prototypes: Prototypes,
    calibration: Calibration,
    memory: CalibratedMemory | None = None,
    image_score: str = "both",
) -> Scores:
    """Score N pictures by their features.

    The image score is the class token's largest deviation plus the largest of all patches', or one of them alone; the
    map holds each patch's largest deviation. A memory adds its own deviations to both: the largest to the score, each
    patch's to the map.
    """
    patch_margins = margins(features.patch_tokens, prototypes, calibration.normal_offsets)  # [N, patch, M]
    patch_score = ((patch_margins - calibration.patch_mean) / calibration.patch_std).amax((1, 2))
    class_score = class_scores(features.class_token, prototypes, calibration)
    image = {"both": class_score + patch_score, "class-token": class_score, "patches": patch_score}[image_score]
    patches = ((patch_margins - calibration.map_mean) / calibration.map_std).amax(2)  # [N, patch]
    if memory is not None:
        assert features.distances is not None, "the memory bank was not asked"
        image = image + memory.image_term(features.distances)
        patches = patches + memory.map_term(features.distances)
    return Scores(image, square_maps(patches))


def class_scores(class_token: Tensor, prototypes: Prototypes, calibration: Calibration) -> Tensor:
    """Return the largest deviation [N] of class tokens [N, D]: the whole image score where no patch takes part."""
    class_margins = margins(class_token, prototypes, calibration.normal_offsets)  # [N, M]
    return ((class_margins - calibration.class_mean) / calibration.class_std).amax(1)


def to_prediction(scores: Scores, calibration: Calibration, settings: ScoringSettings) -> Prediction:
    """Turn deviations into scores in [0, 1], and patch scores into smooth maps of `settings.resolution` pixels a side.

    0.5 is the calibration's level, of image scores and of maps. Maps are resized bilinearly and smoothed by a Gaussian
    of `settings.sigma` pixels, as PromptAD's (Li et al., 2024).
    """
    smooth = smooth_maps(scores.patches, settings)
    heat = torch.sigmoid((torch.from_numpy(smooth) - calibration.map_level.cpu()) / calibration.map_spread.cpu())
    raw = scores.image.double().cpu().numpy()
    return Prediction(readable(scores.image, calibration), heat.numpy(), raw, float(calibration.image_level))


def readable(image_scores: Tensor, calibration: Calibration) -> np.ndarray:
    """Turn image scores [N] in deviations into [0, 1]."""
    return torch.sigmoid((image_scores.double() - calibration.image_level) / calibration.image_spread).cpu().numpy()


def smooth_maps(patches: Tensor, settings: ScoringSettings) -> np.ndarray:
    """Return patch scores [N, side, side] as maps [N, resolution, resolution], smoothed by a Gaussian."""
    maps = resize_maps(patches, settings.resolution)
    return gaussian_filter(maps.cpu().numpy(), settings.sigma, axes=(1, 2))  # type: ignore[no-any-return]


def resize_maps(patches: Tensor, resolution: int) -> Tensor:
    """Resize patch scores [N, side, side] bilinearly to [N, resolution, resolution]."""
    return F.interpolate(patches[:, None], (resolution, resolution), mode="bilinear", align_corners=False)[:, 0]


def square_maps(patches: Tensor) -> Tensor:
    """Lay patch scores [N, side²] out as [N, side, side]."""
    side = round(patches.shape[1] ** 0.5)
    return patches.view(-1, side, side)
