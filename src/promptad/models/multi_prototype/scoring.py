"""Scoring: from features and prototypes to raw anomaly scores, which are z-scores. Every fusion happens here."""

from torch import Tensor

from promptad.features import ImageFeatures
from promptad.models.anomaly_map import Scores, resampled, square_maps
from promptad.models.memory_bank import CalibratedMemory
from promptad.models.multi_prototype.calibration import Calibration
from promptad.models.multi_prototype.prototypes import Prototypes
from promptad.models.multi_prototype.similarities import margins
from promptad.models.normal_stats import mean_of_largest


def score_features(
    features: ImageFeatures,
    prototypes: Prototypes,
    calibration: Calibration,
    memory: CalibratedMemory | None = None,
    image_score: str = "both",
    top_share: float = 0.0,
) -> Scores:
    """Score N images by their features.

    The image score is the class token's largest z-score plus that of the patches, or one of them alone; the anomaly map
    holds each patch's largest z-score. A memory bank adds its own z-scores to both; those of the words have their
    weights beside it. The patches' part of an image score is the mean of a share of them, the largest ones: `top_share`
    0 is the largest alone. If a second encoder's patches are in the bank, the memory's part is the mean over these, as
    many as they are, and the map is on the finer of both grids, so that neither loses the places that it tells apart.
    """
    patch_margins = margins(features.patch_tokens, prototypes, calibration.normal_bias)  # [N, patch, M]
    of_class, of_patches = score_words(features.class_token, patch_margins, prototypes, calibration, memory, top_share)
    image = {"both": of_class + of_patches, "class-token": of_class, "patches": of_patches}[image_score]
    patches = score_patches(patch_margins, calibration)
    if memory is not None:
        assert features.distances is not None, "the features have no memory-bank distances"
        image = image + memory.image_score(features.distances, top_share)
        finer = max(patches.shape[1], features.distances.shape[1])
        of_memory = memory.patch_scores(features.distances)
        patches = memory.map_weight * resampled(patches, finer) + resampled(of_memory, finer)
    return Scores(image, square_maps(patches))


def score_words(
    class_token: Tensor,
    patch_margins: Tensor,
    prototypes: Prototypes,
    calibration: Calibration,
    memory: CalibratedMemory | None,
    top_share: float,
) -> tuple[Tensor, Tensor]:
    """Return the terms of words in the image scores [N]: of class tokens [N, D] and of patch margins [N, patch, M]."""
    of_class = score_class_tokens(class_token, prototypes, calibration)
    of_patches = ((patch_margins - calibration.patch_mean) / calibration.patch_std).amax(2)
    of_patches = mean_of_largest(of_patches, top_share)
    if memory is None:
        return of_class, of_patches
    return memory.class_token_weight * of_class, memory.patches_weight * of_patches


def score_class_tokens(class_token: Tensor, prototypes: Prototypes, calibration: Calibration) -> Tensor:
    """Return the largest z-score [N] of class tokens [N, D]: the image score if patches are not part of it."""
    class_margins = margins(class_token, prototypes, calibration.normal_bias)  # [N, M]
    return ((class_margins - calibration.class_mean) / calibration.class_std).amax(1)


def score_patches(patch_margins: Tensor, calibration: Calibration) -> Tensor:
    """Return the largest z-score [N, patch] of each patch by its margins [N, patch, M], as an anomaly map holds it."""
    return ((patch_margins - calibration.map_mean) / calibration.map_std).amax(2)
