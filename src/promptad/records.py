"""Typed records that travel between the rooms of the house."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class TestPicture:
    """A labelled picture of a test split. Only evaluation may read it; nothing that learns does."""

    __test__ = False  # keeps pytest from collecting the class for its name

    path: Path
    defect: str  # "good", or the kind of defect
    mask_path: Path | None  # white on the defect; None for a good picture or where no mask exists

    @property
    def is_anomalous(self) -> bool:
        """Whether the picture shows a defect."""
        return self.defect != "good"


@dataclass(frozen=True)
class ClassPictures:
    """The pictures of one class: `normal` to learn from, `test` (perhaps empty) to measure with."""

    dataset: str
    class_name: str
    normal: tuple[Path, ...]
    test: tuple[TestPicture, ...]


@dataclass(frozen=True)
class ImageFeatures:
    """What the image tower says of N pictures: unit vectors in the text space."""

    class_token: Tensor  # [N, D]
    patch_tokens: Tensor  # [N, side * side, D], row by row
    taps: tuple[Tensor, Tensor] | None = None  # [N, side * side, width] each, unit: for a memory bank, where asked for
    distances: Tensor | None = None  # [N, side * side], to the memory bank that was asked


@dataclass(frozen=True)
class Prediction:
    """Anomaly scores of N pictures."""

    score: np.ndarray  # [N] float64 in [0, 1]
    map: np.ndarray  # [N, resolution, resolution] float32 in [0, 1]


@dataclass(frozen=True)
class Evaluation:
    """Image-level and pixel-level results in [0, 1]; a pixel result is None where the test split has no masks."""

    image_auroc: float
    image_ap: float
    image_f1_max: float
    pixel_auroc: float | None
    aupro: float | None
