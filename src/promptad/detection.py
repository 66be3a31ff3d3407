"""What every detector answers, whatever it has learned: the multi-prototype one and the single-anchor one."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from promptad.backbone.clip import Backbone
from promptad.checkpoints import write_checkpoint
from promptad.data.pictures import ImageLike, read_picture
from promptad.errors import InputError
from promptad.records import Explanation, ImageFeatures, Prediction
from promptad.scoring import Scores
from promptad.settings import Settings

BATCH_SIZE = 32  # pictures that go through the image tower together


@dataclass(frozen=True)
class Subject:
    """What a detector has learned about, and from."""

    dataset: str
    class_name: str
    support_images: tuple[str, ...]  # their names; none where they are not known
    support_sha256: str  # of their pixels


class AnomalyDetector(ABC):
    """A trained detector of one class."""

    backbone: Backbone
    settings: Settings
    subject: Subject

    @property
    def class_name(self) -> str:
        """The class that it has learned."""
        return self.subject.class_name

    def encode(
        self,
        pictures: Sequence[ImageLike],
        batch_size: int = BATCH_SIZE,
        advance: Callable[[int], None] = lambda _: None,
        local: bool = True,
    ) -> ImageFeatures:
        """Read and encode N pictures, with patch tokens if `local`; `advance` is told how many are done each time.

        Raises:
            InputError: no picture, or one that cannot be read.
        """
        if len(pictures) == 0:
            raise InputError("no images to score: give at least one")
        taps = self.settings.scoring.memory
        return self.backbone.encode_pictures(pictures, batch_size, read_picture, advance, taps, local)

    @abstractmethod
    def remember(self, features: ImageFeatures) -> ImageFeatures:
        """Ask the memory bank about features, where there is one: the answer holds for all epochs of a training."""

    @abstractmethod
    def score(self, features: ImageFeatures) -> Scores:
        """Score the features of N pictures, for ranking."""

    @property
    @abstractmethod
    def by_class_token(self) -> bool:
        """Whether image scores are made of class tokens alone."""

    @abstractmethod
    def score_class_tokens(self, class_token: Tensor) -> Tensor:
        """Score class tokens [N, D], for ranking: the image scores, where `by_class_token`."""

    @abstractmethod
    def readable(self, image_scores: Tensor) -> np.ndarray:
        """Turn image scores [N] for ranking into those that a user sees, in [0, 1]."""

    @abstractmethod
    def to_prediction(self, scores: Scores) -> Prediction:
        """Turn scores into what a user sees: scores and smooth maps in [0, 1]."""

    @abstractmethod
    def explain(self, features: ImageFeatures) -> tuple[Explanation, ...]:
        """Tell why N pictures have their scores, by their features; nothing where a detector cannot."""

    @abstractmethod
    def usage(self, features: ImageFeatures) -> Tensor | None:
        """Return the share [N, K] of each normal prototype in the patches of N pictures; None without prototypes."""

    @abstractmethod
    def learned(self) -> dict[str, Any]:
        """Return what was learned, as tensors on the CPU, by its names in a checkpoint."""

    def predict(self, pictures: Sequence[ImageLike], batch_size: int = BATCH_SIZE) -> Prediction:
        """Score N pictures in [0, 1], map where they are anomalous, decide and explain."""
        features = self.remember(self.encode(pictures, batch_size))
        return replace(self.to_prediction(self.score(features)), explanations=self.explain(features))

    def score_pictures(self, pictures: Sequence[ImageLike], batch_size: int = BATCH_SIZE) -> np.ndarray:
        """Score N pictures in [0, 1] without mapping them: no patch is encoded where none is asked for the score."""
        features = self.encode(pictures, batch_size, local=not self.by_class_token)
        if self.by_class_token:
            return self.readable(self.score_class_tokens(features.class_token))
        return self.readable(self.score(features).image)

    def save(self, path: Path) -> None:
        """Write a checkpoint.

        Raises:
            InputError: the folder cannot be written to.
        """
        plain = {"settings": self.settings.to_dict(), "weights_sha256": self.backbone.weights_sha256}
        subject = asdict(self.subject) | {"support_images": list(self.subject.support_images)}
        write_checkpoint(path, self.settings.system, {**self.learned(), **plain, **subject})


def subject_of(checkpoint: dict[str, Any]) -> Subject:
    """Return whom a checkpoint is about."""
    images = tuple(checkpoint["support_images"])
    return Subject(checkpoint["dataset"], checkpoint["class_name"], images, checkpoint["support_sha256"])
