"""Typed records that travel between the rooms of the house."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from promptad.errors import InputError

ANOMALY, GOOD = "anomaly", "good"  # the two decisions


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

    def each(self, change: Callable[[Tensor], Tensor]) -> "ImageFeatures":
        """Return the features with the same change made to every tensor that is there."""
        return ImageFeatures(
            change(self.class_token),
            change(self.patch_tokens),
            self.taps and (change(self.taps[0]), change(self.taps[1])),
            None if self.distances is None else change(self.distances),
        )

    @classmethod
    def joined(cls, parts: Sequence["ImageFeatures"]) -> "ImageFeatures":
        """Return the features of all pictures of some parts, none of which has been asked about to a memory bank."""
        if len(parts) == 1:
            return parts[0]
        pairs = [part.taps for part in parts if part.taps]
        taps = [torch.cat(layer) for layer in zip(*pairs, strict=True)]
        return cls(
            torch.cat([part.class_token for part in parts]),
            torch.cat([part.patch_tokens for part in parts]),
            (taps[0], taps[1]) if taps else None,
        )

    def rows(self, chosen: Tensor | slice) -> "ImageFeatures":
        """Return the features of some of the pictures."""
        return self.each(lambda tensor: tensor[chosen])


@dataclass(frozen=True)
class Explanation:
    """Why a picture has its score: the terms, in deviations from normal, whose sum is the raw score, and words."""

    prototype: int  # the abnormal prototype that answers most, counted from 1
    most_like: tuple[str, ...]  # the manual states that its most unusual place is most like
    class_token: float | None  # term of the class token; None where it takes no part
    patches: float | None  # term of the patches
    memory: float | None  # term of the memory bank


@dataclass(frozen=True)
class Region:
    """A part of a picture that is anomalous, in pixels of the upright original picture."""

    left: int
    top: int
    right: int  # the first column that is not in it any more
    bottom: int
    peak: float  # highest value of the map, above 0.5
    x: int  # where that is
    y: int


@dataclass(frozen=True)
class Prediction:
    """Anomaly scores of N pictures: 0.5 is the threshold, where the detector has one."""

    score: np.ndarray  # [N] float64 in [0, 1]
    map: np.ndarray  # [N, resolution, resolution] float32 in [0, 1]
    raw: np.ndarray  # [N] float64, what the score is made of: deviations from normal, unbounded
    threshold: float | None = None  # of the raw score
    explanations: tuple[Explanation, ...] = ()  # one for each picture, where the detector can tell

    @property
    def decision(self) -> tuple[str, ...]:
        """For each picture "anomaly" where its raw score is above the threshold, else "good".

        Raises:
            InputError: the single-anchor baseline has no threshold.
        """
        if self.threshold is None:
            raise InputError("the single-anchor baseline calibrates nothing and decides nothing: use its scores alone")
        return tuple(ANOMALY if raw > self.threshold else GOOD for raw in self.raw)


@dataclass(frozen=True)
class Evaluation:
    """Image-level and pixel-level results in [0, 1]; a pixel result is None where the test split has no masks."""

    image_auroc: float
    image_ap: float
    image_f1_max: float
    pixel_auroc: float | None
    aupro: float | None
