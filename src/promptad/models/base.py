"""The interface of a method: its detector, and the task and the states of its training."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from torch import Tensor, nn

from promptad.backbones.clip import Backbone
from promptad.backbones.feature_cache import FeatureCache
from promptad.data.images import ImageLike
from promptad.data.reading import Reading
from promptad.errors import InputError
from promptad.features import ImageFeatures, SupportFeatures
from promptad.models.anomaly_map import Scores
from promptad.models.checkpoint import write_checkpoint
from promptad.prompts.states import StateGroup, class_words, state_groups
from promptad.runtime.metadata import MemoryEncoder, Metadata
from promptad.runtime.postprocess import to_prediction
from promptad.settings import BATCH_SIZE, PictureSettings, Settings
from promptad.structures import Prediction


@dataclass(frozen=True)
class Subject:
    """The class of a detector and the support images that it was trained on."""

    dataset: str  # its name; "own" of a user's part
    class_name: str  # what the part is
    support_images: tuple[str, ...]  # file names; empty if they are not known
    support_sha256: str  # of their pixels


@dataclass(frozen=True)
class TrainTask:
    """The training task of one detector: its subject, the features of its support images, and its settings."""

    subject: Subject
    support: SupportFeatures
    settings: Settings

    @property
    def words(self) -> str:
        """The name of the class in a prompt."""
        return class_words(self.subject.class_name)

    @property
    def state_groups(self) -> tuple[StateGroup, ...]:
        """The states of the class."""
        return state_groups(self.subject.class_name, self.settings.prompts.states)


class AnomalyDetector(ABC):
    """A trained detector of one class.

    Its methods take images with `batch_size`, how many are encoded together, `advance`, which is called with how many
    are done, and `masks`, the folder of the images' regions, where each has its own.
    """

    backbone: Backbone  # the CLIP
    head: nn.Module  # what was trained, as buffers
    settings: Settings  # all that it was trained with
    subject: Subject  # its class and support images

    @property
    def class_name(self) -> str:
        """The class that it was trained on."""
        return self.subject.class_name

    def encode(
        self,
        images: Sequence[ImageLike],
        batch_size: int = BATCH_SIZE,
        advance: Callable[[int], None] = lambda _: None,
        local: bool = True,
        masks: Path | None = None,
    ) -> ImageFeatures:
        """Read and encode the windows of N images, with patch tokens if `local`; `advance` takes how many are done.

        `masks` is the folder of the images' regions, where each has its own.

        Raises:
            InputError: no image, one that cannot be read, or a batch of none.
        """
        if len(images) == 0:
            raise InputError("no images to score: give at least one")
        if batch_size < 1:
            raise InputError(f"`batch_size` {batch_size}: must be at least 1")
        layers, reading = self.settings.scoring.memory, Reading.of(self.settings, masks)
        return self.backbone.encode_images(images, batch_size, reading, advance, layers, local)

    @abstractmethod
    def add_memory_distances(self, features: ImageFeatures) -> ImageFeatures:
        """Return features with their memory-bank distances, if there is a bank; all epochs of a training share them."""

    @abstractmethod
    def score(self, features: ImageFeatures) -> Scores:
        """Score the features of N images, for ranking."""

    @property
    @abstractmethod
    def by_class_token(self) -> bool:
        """Whether image scores are made of class tokens only."""

    @abstractmethod
    def score_class_tokens(self, class_token: Tensor) -> Tensor:
        """Score class tokens [N, D], for ranking: the image scores, where `by_class_token`."""

    @abstractmethod
    def raw_scores(self, scores: Scores) -> Tensor:
        """Return the raw image scores [N] float64 that are decided by; maps are not read."""

    @abstractmethod
    def decide(self, scores: Scores) -> dict[str, Tensor]:
        """Turn raw scores into the outputs `score`, `raw_score`, `anomaly_map` and, with thresholds, `is_anomalous`.

        They are those of `promptad.runtime.postprocess`.
        """

    @abstractmethod
    def explain(self, features: ImageFeatures) -> dict[str, Tensor]:
        """Return the outputs that explain the scores of N images; none if the method has no explanations."""

    @abstractmethod
    def usage(self, features: ImageFeatures) -> Tensor | None:
        """Return the share [N, K] of each normal prototype in the patches of N images; None without prototypes."""

    @property
    def false_alarm_range(self) -> tuple[float, float] | None:
        """The lowest and highest false-alarm rate that its threshold may actually have; None if not known."""
        return None

    def findings(self) -> tuple[str, ...]:
        """Return lines for the log: what was found of the terms of its score, and of its threshold."""
        return ()

    @abstractmethod
    def learned(self) -> dict[str, Any]:
        """Return what was trained, as tensors on the CPU, by its checkpoint keys."""

    @cached_property
    def metadata(self) -> Metadata:
        """What is known of it beside its numbers; its backbone has the current path of its weights."""
        return self.make_metadata()

    def make_metadata(self) -> Metadata:
        """Return `metadata`, which is asked for with each batch."""
        backbone, subject = self.backbone, self.subject
        return Metadata(
            class_name=subject.class_name,
            settings=replace(self.settings, backbone=backbone.settings),
            weights_sha256=backbone.weights_sha256,
            image_size=backbone.image_encoder.image_size,
            resize=backbone.resize,
            memory=self.memory_encoder,
            false_alarm_range=self.false_alarm_range,
            support_images=subject.support_images,
            support_sha256=subject.support_sha256,
        )

    @property
    def memory_encoder(self) -> MemoryEncoder | None:
        """What is known of the second image encoder, if the memory bank is made of one."""
        backbone, memory = self.backbone, self.backbone.memory
        if memory is None:
            return None
        return MemoryEncoder(
            backbone=backbone.settings.memory_backbone,
            weights_sha256=memory.weights_sha256,
            image_size=memory.image_size,
            resize=backbone.memory_resize,
            interpolation=memory.interpolation,
            layers=memory.layer_indices,
        )

    @property
    def on_gpu(self) -> bool:
        """Whether it computes on a GPU."""
        return self.backbone.on_gpu

    def outputs(self, features: ImageFeatures) -> dict[str, Tensor]:
        """Return all outputs for the features of N images. It can be traced, which is how a detector is exported."""
        known = self.add_memory_distances(features)
        return self.decide(self.score(known)) | self.explain(known)

    def with_picture(self, picture: PictureSettings) -> Self:
        """Return the detector looking at another region of pictures."""
        return replace(self, settings=replace(self.settings, picture=picture))  # type: ignore[type-var]  # a dataclass

    def with_cache(self, cache: FeatureCache | None) -> Self:
        """Return the detector with another feature cache, or none."""
        return replace(self, backbone=replace(self.backbone, cache=cache))  # type: ignore[type-var]  # a dataclass

    def predict(
        self,
        images: Sequence[ImageLike],
        batch_size: int = BATCH_SIZE,
        masks: Path | None = None,
        advance: Callable[[int], None] = lambda _: None,
    ) -> Prediction:
        """Score N images in [0, 1], map where they are anomalous, label and explain them."""
        features = self.encode(images, batch_size, advance, masks=masks)
        found = to_prediction(_arrays(self.outputs(features)), self.metadata)
        return replace(found, anomaly_map=Reading.of(self.settings, masks).counted(found.anomaly_map, images))

    def run(self, squares: np.ndarray) -> dict[str, np.ndarray]:
        """Return all outputs for RGB squares [N, S, S, 3] uint8, or packed ones [N, S² + M², 3], as arrays."""
        return _arrays(self.outputs(self.backbone.encode_squares(squares, self.settings.scoring.memory)))

    def to_prediction(self, scores: Scores) -> Prediction:
        """Return the prediction of raw scores, without explanations."""
        return to_prediction(_arrays(self.decide(scores)), self.metadata)

    def score_images(
        self,
        images: Sequence[ImageLike],
        batch_size: int = BATCH_SIZE,
        masks: Path | None = None,
        advance: Callable[[int], None] = lambda _: None,
    ) -> np.ndarray:
        """Return the raw scores [N] float64 of N images, without anomaly maps.

        Patches are encoded only if the scores need them.
        """
        features = self.encode(images, batch_size, advance, not self.by_class_token, masks)
        if self.by_class_token:
            image = self.score_class_tokens(features.class_token)
            scores = Scores(image, image.new_empty(len(image), 0, 0))
        else:
            scores = self.score(features)
        return self.per_image(self.raw_scores(scores)).cpu().numpy()

    def per_image(self, scores: Tensor) -> Tensor:
        """Return the scores of N images, from those of their tiles in turn [N * tiles]: the highest counts."""
        return scores.view(-1, self.settings.tile_count).amax(1)

    def content(self) -> dict[str, Any]:
        """Return all that is saved: what was learned, the settings, the backbone's hash and the subject."""
        plain: dict[str, Any] = {
            "settings": self.settings.to_dict(),
            "weights_sha256": self.backbone.weights_sha256,
        }
        if self.backbone.memory is not None:
            plain["memory_weights_sha256"] = self.backbone.memory.weights_sha256
        subject = asdict(self.subject) | {"support_images": list(self.subject.support_images)}
        return {**subject, **plain, **self.learned()}

    def save(self, path: Path) -> None:
        """Write a checkpoint.

        Raises:
            InputError: the folder cannot be written to.
        """
        write_checkpoint(path, self.settings.system, self.content())


def _arrays(outputs: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Return tensors as arrays."""
    return {name: output.cpu().numpy() for name, output in outputs.items()}


def unchanged(detector: AnomalyDetector) -> AnomalyDetector:
    """Return the detector as it is: for methods without thresholds."""
    return detector


@dataclass(frozen=True)
class EpochState:
    """The state after one epoch; number 0 is the start, before any step."""

    number: int  # of the epoch
    loss: float  # of its step
    assemble: Callable[[], AnomalyDetector] = field(repr=False)  # makes its detector
    set_thresholds: Callable[[AnomalyDetector], AnomalyDetector] = field(default=unchanged, repr=False)  # of it
    finding: str = ""  # a line for the log: what was found before training, and what follows

    @cached_property
    def detector(self) -> AnomalyDetector:
        """The detector of this epoch, for ranking only; assembled when it is first read."""
        return self.assemble()

    def final_detector(self) -> AnomalyDetector:
        """Return the detector with its thresholds, which only the kept epoch needs."""
        return self.set_thresholds(self.detector)


def subject_of(checkpoint: Mapping[str, Any]) -> Subject:
    """Return the subject stored in a checkpoint."""
    images = tuple(checkpoint["support_images"])
    return Subject(checkpoint["dataset"], checkpoint["class_name"], images, checkpoint["support_sha256"])
