"""A new method is one folder and one entry in the registry: here a method with only a memory bank."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import assert_refused, call
from torch import Tensor, nn

from promptad import PromptAD, Settings, settings
from promptad.backbones.clip import Backbone
from promptad.data.demo import draw_image
from promptad.features import ImageFeatures
from promptad.models.anomaly_map import Scores, smooth_maps, square_maps
from promptad.models.base import AnomalyDetector, EpochState, Subject, TrainTask, subject_of
from promptad.models.buffers import Buffers
from promptad.models.memory_bank import MemoryBank, equal_weights
from promptad.models.registry import MODELS, Method
from promptad.settings import METHODS, ScoringSettings, TrainingSettings


@dataclass(frozen=True, eq=False)
class MemoryDetector(AnomalyDetector):
    """Scores are distances to the nearest patches of the support images."""

    backbone: Backbone
    head: Buffers
    settings: Settings
    subject: Subject

    def add_memory_distances(self, features: ImageFeatures) -> ImageFeatures:
        layers = tuple(self.head.tensors().values())
        return MemoryBank(layers, equal_weights(layers)).add_distances(features)

    def score(self, features: ImageFeatures) -> Scores:
        distances = self.add_memory_distances(features).distances
        assert distances is not None
        return Scores(distances.amax(1), square_maps(distances))

    by_class_token = False

    def score_class_tokens(self, class_token: Tensor) -> Tensor:
        raise NotImplementedError

    def raw_scores(self, scores: Scores) -> Tensor:
        return scores.image.double()

    def decide(self, scores: Scores) -> dict[str, Tensor]:
        image = self.raw_scores(scores)
        maps = smooth_maps(scores.patches, self.settings.scoring)
        return {"score": image, "raw_score": image, "anomaly_map": maps}

    def explain(self, features: ImageFeatures) -> dict[str, Tensor]:  # noqa: ARG002 there is nothing to explain
        return {}

    def usage(self, features: ImageFeatures) -> None:  # noqa: ARG002 there are no prototypes
        return

    def learned(self) -> dict[str, Any]:
        return {"layers": self.head.tensors()}


def train(backbone: Backbone, tasks: Sequence[TrainTask]) -> Iterator[tuple[EpochState, ...]]:
    banks = [MemoryBank.from_support(task.support.views) for task in tasks]
    heads = [Buffers({str(n): layer for n, layer in enumerate(bank.layers)}) for bank in banks]
    yield tuple(
        EpochState(0, 0.0, partial(MemoryDetector, backbone, head, task.settings, task.subject))
        for head, task in zip(heads, tasks, strict=True)
    )


def restore(_: Path, checkpoint: Mapping[str, Any], backbone: Backbone) -> MemoryDetector:
    return MemoryDetector(backbone, Buffers(checkpoint["layers"]), checkpoint["settings"], subject_of(checkpoint))


def test_a_method_is_one_entry_in_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "METHODS", (*METHODS, "memory"))
    monkeypatch.setitem(MODELS, "memory", Method(train, restore, ("layers",), ("layers",), "memory method", ""))
    images = [draw_image("tile", style_seed=7, instance_seed=number)[0] for number in range(4)]
    chosen = Settings(
        system="memory",
        training=TrainingSettings(epochs=0, views=2),
        scoring=ScoringSettings(memory=True, resolution=32),
    )
    estimator = PromptAD("tile", backbone="tiny", settings=chosen).fit(images[:2])
    assert isinstance(estimator.detector.head, nn.Module)
    scores = estimator.predict(images).score
    assert scores[:2].max() < scores[2:].min()
    estimator.save(tmp_path / "tile.pt")
    loaded = PromptAD.load(tmp_path / "tile.pt", system="memory")
    np.testing.assert_array_equal(-loaded.score_samples(images), scores)
    assert_refused(call("predict", tmp_path / "tile.pt", tmp_path), "no pictures in")


def test_the_registry_has_the_methods_of_the_settings() -> None:
    assert tuple(MODELS) == METHODS
