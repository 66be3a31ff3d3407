"""Random prototypes and support features, for tests of what is computed from them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from promptad.features import ImageFeatures
from promptad.models.anomaly_map import Scores
from promptad.models.multi_prototype.prototypes import Prototypes
from promptad.models.multi_prototype.threshold import Thresholds
from promptad.settings import ScoringSettings
from promptad.structures import Prediction

IMAGES, VIEWS, PATCHES, DIMENSIONS = 3, 4, 9, 16
SETTINGS = ScoringSettings(resolution=6, sigma=0.5)


def random_units(*shape: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(*shape, DIMENSIONS, generator=torch.Generator().manual_seed(seed)), dim=-1)


def make_prototypes() -> Prototypes:
    return Prototypes(
        random_units(2, seed=0), random_units(3, seed=1), random_units(seed=2), torch.ones(2), torch.ones(3)
    )


def make_support(images: int = IMAGES) -> ImageFeatures:
    count = images * VIEWS
    distances = torch.rand(count, PATCHES, generator=torch.Generator().manual_seed(5))
    return ImageFeatures(random_units(count, seed=3), random_units(count, PATCHES, seed=4), distances=distances)


def decided(thresholds: Thresholds, scores: Scores, settings: ScoringSettings) -> Prediction:
    """The prediction of raw scores by some thresholds."""
    found = {name: output.numpy() for name, output in thresholds.decide(scores, settings).items()}
    return Prediction(found["score"], found["anomaly_map"], found["raw_score"], float(thresholds.image))
