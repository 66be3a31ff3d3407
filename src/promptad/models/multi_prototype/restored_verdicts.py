"""Restore what a multi-prototype detector was taught from its checkpoint, and check it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from promptad.backbones.clip import Backbone
from promptad.features import ImageFeatures
from promptad.models.checkpoint import check_shapes, damaged
from promptad.models.multi_prototype.detector import MultiPrototypeDetector, layer_keys
from promptad.models.multi_prototype.known_defects import KnownDefects
from promptad.models.multi_prototype.normal_scores import ConfirmedScores
from promptad.models.multi_prototype.teaching import with_good
from promptad.models.multi_prototype.verdicts import Taught, Verdict
from promptad.settings import Settings

TEXTS = ("names", "sha256", "times")
SCORES = ("good_scores", "good_peaks", "defect_scores", "defect_peaks")


def restore_taught(untaught: MultiPrototypeDetector, content: Mapping[str, Any]) -> MultiPrototypeDetector:
    """Return an untaught detector as it was taught, from the checked content of a checkpoint; nothing is found anew."""
    assert untaught.normal_scores is not None

    def moved(tensor: Tensor) -> Tensor:
        return tensor.to(untaught.backbone.device)

    verdicts = tuple(map(Verdict, *(content[name] for name in (*TEXTS, "good"))))
    layers = [content[name] for name in layer_keys(len(content)) if name in content]
    features = ImageFeatures(content["class_token"], content["patch_tokens"], tuple(layers)).map(moved)
    taught = Taught(verdicts, features, untaught.head, untaught.normal_scores)
    head = with_good(untaught.head, taught.features_of(taught.is_good))
    if found := content["defects"]:
        tensors = found["tokens"], found["radii"], torch.tensor(found["pictures"]), torch.tensor(torch.inf)
        head = head.taught(head.memory, head.likeness, KnownDefects(*map(moved, tensors)))
    good_scores, good_peaks, defect_scores, defect_peaks = (tuple(content[name]) for name in SCORES)
    scores = replace(
        untaught.normal_scores,
        confirmed_scores=ConfirmedScores(good_scores, defect_scores),
        confirmed_maxima=ConfirmedScores(good_peaks, defect_peaks),
    )
    return replace(untaught, head=head, taught=taught).with_thresholds(scores, untaught.settings.scoring)


def check_verdicts(path: Path, content: Mapping[str, Any], backbone: Backbone, settings: Settings) -> None:
    """Check that verdicts agree with each other, with the settings and with the backbone.

    Raises:
        InputError: they do not.
    """
    for name, kind in (*dict.fromkeys(TEXTS, str).items(), ("good", bool), *dict.fromkeys(SCORES, float).items()):
        values = content.get(name)
        if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
            raise damaged(path, f"verdicts.{name} is no list of what it should be")
    count, good = len(content["good"]), sum(content["good"])
    expected = dict.fromkeys(TEXTS, count) | dict(zip(SCORES, (good, good, count - good, count - good), strict=True))
    for name, length in expected.items():
        if len(content[name]) != length:
            raise damaged(path, f"verdicts.{name} has length {len(content[name])}, not {length}")
    encoder, banked = backbone.image_encoder, backbone.banked
    own = layer_keys(len(banked.layer_indices)) if settings.scoring.memory else ()
    rows = count * settings.tile_count
    tokens: dict[str, tuple[int | None, ...]] = {
        "class_token": (rows, encoder.dimensions),
        "patch_tokens": (rows, None, encoder.dimensions),
    }
    check_shapes(path, content, tokens | dict.fromkeys(own, (rows, None, banked.width)))
    if not isinstance(defects := content.get("defects"), Mapping) or bool(defects) != (good < count):
        raise damaged(path, "verdicts.defects do not agree with the verdicts")
    if defects:
        _check_defects(path, defects, encoder.dimensions, count - good)


def _check_defects(path: Path, defects: Mapping[str, Any], dimensions: int, count: int) -> None:
    check_shapes(path, defects, {"tokens": (None, dimensions), "radii": (len(defects["tokens"]),)})
    pictures = defects.get("pictures")
    if not isinstance(pictures, list) or set(pictures) != set(range(count)) or len(pictures) != len(defects["radii"]):
        raise damaged(path, "verdicts.defects are of other pictures")
    if not bool((defects["radii"] >= 0).all()):
        raise damaged(path, "verdicts.defects.radii are not 0 or more")
