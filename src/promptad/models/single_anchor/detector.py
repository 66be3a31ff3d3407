"""The single-anchor detector: two anchors and a memory bank on a backbone, saved to and restored from a checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from promptad.backbones.clip import Backbone
from promptad.errors import InputError
from promptad.features import ImageFeatures
from promptad.models.anomaly_map import Scores, smooth_maps
from promptad.models.base import AnomalyDetector, Subject, subject_of
from promptad.models.buffers import Buffers
from promptad.models.checkpoint import check_shapes
from promptad.models.memory_bank import MemoryBank, equal_weights
from promptad.models.single_anchor.scoring import score_features, text_score
from promptad.settings import Settings

LEARNED_KEYS = ("text_features", "feature_gallery1")  # and one gallery per further layer: upstream has 2


class AnchorHead(nn.Module):
    """The anchors [2, D] and the memory bank as buffers."""

    anchors: Tensor  # [2, D], unit: the normal one, the abnormal one

    def __init__(self, anchors: Tensor, layers: Sequence[Tensor]) -> None:
        super().__init__()
        self.register_buffer("anchors", anchors)
        self._layers = Buffers({f"layer_{number}": layer for number, layer in enumerate(layers, 1)})

    @property
    def bank(self) -> MemoryBank:
        """The memory bank."""
        layers = tuple(self._layers.tensors().values())
        return MemoryBank(layers, equal_weights(layers))


@dataclass(frozen=True, eq=False)
class SingleAnchorDetector(AnomalyDetector):
    """A trained single-anchor detector of one class."""

    backbone: Backbone
    head: AnchorHead
    settings: Settings
    subject: Subject

    def add_memory_distances(self, features: ImageFeatures) -> ImageFeatures:
        """Return features with their distances to the memory bank, if it is used."""
        return self.head.bank.add_distances(features) if self.settings.scoring.memory else features

    def score(self, features: ImageFeatures) -> Scores:
        """Score the features of N images; both scores are in [0, 1], and not calibrated."""
        known, resolution = self.add_memory_distances(features), self.settings.scoring.resolution
        return score_features(known, self.head.anchors, self.backbone.log_temperature, resolution)

    @property
    def by_class_token(self) -> bool:
        """Whether image scores are made of class tokens only: without the memory bank they are."""
        return not self.settings.scoring.memory

    def score_class_tokens(self, class_token: Tensor) -> Tensor:
        """Return the text scores of class tokens [N, D]."""
        return text_score(class_token, self.head.anchors, self.backbone.log_temperature)

    def raw_scores(self, scores: Scores) -> Tensor:
        """Return image scores as they are."""
        return scores.image.double()

    def decide(self, scores: Scores) -> dict[str, Tensor]:
        """Return the scores as they are, and the maps resized and smoothed; there is no decision."""
        image, maps = self.raw_scores(scores), smooth_maps(scores.patches, self.settings.scoring)
        return {"score": image, "raw_score": image, "anomaly_map": maps}

    def explain(self, features: ImageFeatures) -> dict[str, Tensor]:  # noqa: ARG002 there is nothing to explain
        """Return nothing: there are no prototypes."""
        return {}

    def usage(self, features: ImageFeatures) -> None:  # noqa: ARG002 there is nothing to count
        """Return None: there are no prototypes."""
        return

    def learned(self) -> dict[str, Any]:
        """Return anchors and galleries under their upstream names."""
        layers = {f"feature_gallery{n}": layer.cpu() for n, layer in enumerate(self.head.bank.layers, 1)}
        return {"text_features": self.head.anchors.cpu(), **layers}


def restore(path: Path, checkpoint: Mapping[str, Any], backbone: Backbone) -> SingleAnchorDetector:
    """Build the detector of a checkpoint, with settings and subject in it, on its backbone.

    Raises:
        InputError: its tensors do not have the backbone's widths.
    """
    names = ["text_features", *sorted(name for name in checkpoint if name.startswith("feature_gallery"))]
    check_shapes(path, checkpoint, dict.fromkeys(names, (None, None)))
    anchors, *layers = (checkpoint[name].float().to(backbone.device) for name in names)
    width, dimensions = backbone.image_encoder.width, backbone.image_encoder.dimensions
    expected = (dimensions, *[width] * len(layers))
    found = tuple(tensor.shape[-1] for tensor in (anchors, *layers))
    if len(layers) != len(backbone.image_encoder.layer_indices):
        raise InputError(
            f"{path} holds {len(layers)} galleries, {backbone.settings.name} has"
            f" {len(backbone.image_encoder.layer_indices)} layers for them: train the class again"
        )
    if found != expected or anchors.shape[:-1] != (2,):
        raise InputError(
            f"{path} holds text features of {found[0]} and galleries of {found[1]} numbers, {backbone.settings.name}"
            f" has {dimensions} and {width}: name the backbone it was trained on with `backbone`"
        )
    head = AnchorHead(anchors, tuple(layers))
    return SingleAnchorDetector(backbone, head, checkpoint["settings"], subject_of(checkpoint))
