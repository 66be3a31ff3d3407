"""The methods by name: each trains detectors from support features, and restores one from a checkpoint."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from promptad.backbones.clip import Backbone
from promptad.backbones.factory import load_backbone
from promptad.errors import InputError, check_choice
from promptad.features import SupportFeatures
from promptad.models import multi_prototype, single_anchor
from promptad.models.base import AnomalyDetector, EpochState, Subject, TrainTask
from promptad.models.checkpoint import (
    FORMAT_VERSION,
    check_backbone,
    check_content,
    check_numbers,
    is_backbone_of,
    read_archive,
)
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.settings import (
    MULTI_PROTOTYPE,
    SINGLE_ANCHOR,
    TINY_BACKBONE,
    BackboneSettings,
    ScoringSettings,
    Settings,
)


@dataclass(frozen=True)
class Method:
    """How a method trains and restores its detectors."""

    train: Callable[[Backbone, Sequence[TrainTask]], Iterator[tuple[EpochState, ...]]]  # tasks side by side
    restore: Callable[[Path, Mapping[str, Any], Backbone], AnomalyDetector]  # from a checkpoint's file and content
    learned_keys: tuple[str, ...]  # checkpoint keys of what was trained
    distinctive_keys: tuple[str, ...]  # keys that only its checkpoints have
    checkpoint_name: str  # what its checkpoints are of, for errors
    cure: str  # for the error when its checkpoint is given to another method
    oldest_format: int = FORMAT_VERSION  # of the checkpoints that it still reads
    recalibrate: Callable[[AnomalyDetector, SupportFeatures], AnomalyDetector] | None = None  # for int8
    tensors_alone: bool = False  # whether checkpoints without settings, such as upstream ones, are read


# To add a method, add an entry here, and its name to `settings.METHODS`, which is free of torch.
MODELS: dict[str, Method] = {
    MULTI_PROTOTYPE: Method(
        multi_prototype.train,
        multi_prototype.restore,
        multi_prototype.LEARNED_KEYS,
        ("normal_prototypes", "abnormal_prototypes"),
        "multi-prototype system",
        ": open it without `system` single-anchor",
        oldest_format=4,
        recalibrate=multi_prototype.recalibrate,
    ),
    SINGLE_ANCHOR: Method(
        single_anchor.train,
        single_anchor.restore,
        single_anchor.LEARNED_KEYS,
        (*single_anchor.LEARNED_KEYS, "feature_gallery2"),
        "single-anchor PromptAD",
        ", which has one averaged anchor where this system needs prototypes; open it with `system` single-anchor, or"
        " train the class again",
        oldest_format=0,
        recalibrate=single_anchor.recalibrate,
        tensors_alone=True,
    ),
}


def train(backbone: Backbone, tasks: Sequence[TrainTask]) -> Iterator[tuple[EpochState, ...]]:
    """Train detectors side by side; all settings must name the same method and number of epochs.

    Yields their states at the start and after each epoch. The features of the support images (of their views, if the
    method uses views) are the only training data. The generator ignores sent values, so what its caller measures
    between epochs cannot reach the training.

    Raises:
        InputError: the loss becomes NaN or infinite, or a prompt is too long.
    """
    return MODELS[tasks[0].settings.system].train(backbone, tasks)


def recalibrated(detector: AnomalyDetector, support: SupportFeatures) -> AnomalyDetector:
    """Return a detector with its prompts as they are, and all else found anew on features of the support images.

    Raises:
        InputError: its method does not tell how.
    """
    if (recalibrate := MODELS[detector.settings.system].recalibrate) is None:
        raise InputError(f"`precision` int8: the system {detector.settings.system} cannot be calibrated anew")
    return recalibrate(detector, support)


def read_checkpoint(path: Path, method: str) -> dict[str, Any]:
    """Read and check a checkpoint of a method, its settings as `Settings`; upstream checkpoints have none.

    Raises:
        InputError: no such file, a truncated one, one of another method or of another version.
    """
    check_choice("system", method, MODELS)
    return check_checkpoint(path, read_archive(path), method)


def check_checkpoint(path: Path, checkpoint: dict[str, Any], method: str) -> dict[str, Any]:
    """Check the content of a checkpoint of a method, read from `path`, and return it, its settings as `Settings`.

    Raises:
        InputError: it is of another method or of another version, incomplete, or holds a number that is none.
    """
    expected = MODELS[method]
    for name, other in MODELS.items():
        if name != method and (found := set(checkpoint) & set(other.distinctive_keys)):
            raise InputError(f"{path} is of the {other.checkpoint_name} ({', '.join(sorted(found))}){other.cure}")
    check_numbers(path, checkpoint)
    if expected.tensors_alone and "format" not in checkpoint and checkpoint.keys() >= set(expected.learned_keys):
        return checkpoint
    settings = check_content(path, checkpoint, method, expected.learned_keys, expected.oldest_format)
    return checkpoint | {"settings": settings}


def load_detector(
    path: Path,
    device: torch.device,
    method: str = MULTI_PROTOTYPE,
    *,
    backbone: Backbone | None = None,
    weights: str | None = None,
    memory_weights: str | None = None,
    settings: Settings | None = None,
    subject: Subject | None = None,
) -> AnomalyDetector:
    """Load a detector of a method from a checkpoint.

    Args:
        path: the checkpoint.
        device: where its backbone is loaded, unless `backbone` is given.
        method: the method of the checkpoint.
        backbone: an already loaded backbone.
        weights: current path of the backbone's weights, if moved; or their tag, which has them downloaded if need be.
        memory_weights: the same of its memory backbone, if it has one; "hub" has them downloaded if need be.
        settings: used instead of those in the checkpoint.
        subject: used if the checkpoint has none: upstream checkpoints hold tensors only.

    Raises:
        InputError: no such file, a truncated one, one of another method, of another version, of another backbone or
            of other weights, or an upstream one without settings and subject.
    """
    checkpoint = read_checkpoint(path, method)
    if "settings" not in checkpoint:
        if settings is None or subject is None:
            raise InputError(f"{path} holds no settings: test it with the `system` single-anchor")
        checkpoint |= {"settings": settings} | vars(subject)
    return restore_detector(
        path,
        checkpoint,
        device,
        method,
        backbone=backbone,
        weights=weights,
        memory_weights=memory_weights,
        settings=settings,
    )


def restore_detector(
    path: Path,
    checkpoint: Mapping[str, Any],
    device: torch.device,
    method: str,
    *,
    backbone: Backbone | None = None,
    weights: str | None = None,
    memory_weights: str | None = None,
    settings: Settings | None = None,
) -> AnomalyDetector:
    """Build the detector of a checked checkpoint, which was read from `path`; the rest is as for `load_detector`.

    Raises:
        InputError: the backbone cannot be loaded, is another one or has other weights, or the tensors do not fit it.
    """
    trained: Settings = checkpoint["settings"]
    if backbone is None:
        own = trained.backbone if weights is None else replace(trained.backbone, pretrained=weights)
        own = own if memory_weights is None else replace(own, memory_pretrained=memory_weights)
        download, download_memory = weights is not None, memory_weights is not None
        backbone = load_backbone(own, device, download=download, download_memory=download_memory)
        _check_activation(path, trained.backbone, backbone)
    check_backbone(path, checkpoint, backbone)
    return MODELS[method].restore(path, {**checkpoint, "settings": settings or trained}, backbone)


def _check_activation(path: Path, trained: BackboneSettings, backbone: Backbone) -> None:
    """Check that the weights of a tag that was learned with QuickGELU are read with it also where they are a file."""
    if backbone.quick_gelu or trained.name == TINY_BACKBONE or trained.pretrained == backbone.settings.pretrained:
        return
    from promptad.backbones.weight_source import is_quick_gelu  # noqa: PLC0415 `tiny` does without open_clip

    if is_quick_gelu(trained):
        raise InputError(
            f"{path} was trained with {trained.pretrained} of {trained.name}, whose activation is QuickGELU, and a file"
            " of tensors does not tell so: give the tag, OpenAI's archive, or the folder of the hub as `pretrained`"
        )


def load_with_thresholds(
    path: Path,
    device: torch.device,
    rate: float | None = None,
    weights: str | None = None,
    threshold: float | None = None,
    unsure: float | None = None,
    known: Iterable[Backbone] = (),
    memory_weights: str | None = None,
) -> MultiPrototypeDetector:
    """Load a multi-prototype detector, its thresholds as they were set unless rates, or one of them, are given.

    A backbone among the `known` ones, which are loaded already, is used if it is that of the detector.

    Raises:
        InputError: as `load_detector`, it is of the baseline, or it was saved before its training ended.
    """
    content = read_archive(path)
    if set(content) & set(MODELS[SINGLE_ANCHOR].distinctive_keys):
        raise InputError(
            f"{path} is of the single-anchor baseline, which has no threshold and decides nothing: train without"
            " `system` single-anchor, or give that to test or export"
        )
    checkpoint = check_checkpoint(path, content, MULTI_PROTOTYPE)
    backbone = next((own for own in known if is_backbone_of(checkpoint, own)), None)
    detector = restore_detector(
        path, checkpoint, device, MULTI_PROTOTYPE, backbone=backbone, weights=weights, memory_weights=memory_weights
    )
    assert isinstance(detector, MultiPrototypeDetector)
    if detector.normal_scores is None:
        raise InputError(f"{path} was saved before its training ended and has no threshold: train the class again")
    return with_asked_thresholds(detector, rate, threshold, unsure)


def with_asked_thresholds(
    detector: MultiPrototypeDetector,
    rate: float | None = None,
    threshold: float | None = None,
    unsure: float | None = None,
) -> MultiPrototypeDetector:
    """Return a detector with the thresholds of other false-alarm rates, or one set by hand; None leaves one as it is.

    Raises:
        InputError: a rate is not between 0 and 1, the one of the lower threshold is not above the other one, or the
            detector was saved before its training ended.
    """
    asked: dict[str, float | None] = {} if rate is None else {"false_alarm_rate": rate, "threshold": None}
    asked |= {name: own for name, own in (("threshold", threshold), ("unsure_rate", unsure)) if own is not None}
    scoring: ScoringSettings = replace(detector.settings.scoring, **asked)  # type: ignore[arg-type]
    return detector.with_thresholds(detector.known_scores, scoring) if asked else detector
