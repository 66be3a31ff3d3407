"""From options to the detector that a command works on, and to what it is exported to and with."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from promptad.backbones.clip import Backbone
from promptad.cli.builders import find_device
from promptad.cli.parser import Arguments
from promptad.data.search import find_images
from promptad.errors import InputError, check_choice
from promptad.export.formats import SUFFIXES
from promptad.export.tower_encoder import with_engine
from promptad.models.base import AnomalyDetector
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.registry import load_detector, load_with_thresholds
from promptad.runtime.asked_region import in_region
from promptad.runtime.engines import SUFFIXES as GRAPH_SUFFIXES
from promptad.runtime.engines import TORCH
from promptad.runtime.predict import Predictor
from promptad.runtime.session import Session
from promptad.settings import MULTI_PROTOTYPE


def open_predictor(path: Path, given: Arguments, console: Console) -> tuple[Predictor, Path | None]:
    """Open a checkpoint, or an exported detector, which decides as it was exported, in the region asked for.

    With it comes the folder of the pictures' regions, where each has its own.

    Raises:
        InputError: it cannot be opened, an exported one is to decide otherwise, or it does not know that region.
    """
    counted, ignored = given["region"] or (), given["ignore"] or ()
    if path.suffix in GRAPH_SUFFIXES:
        check_as_exported(path, given)
        return in_region(Session(path, engine=given["engine"]), counted, ignored)
    detector = load_decided(path, find_device(given, console), given)
    encoding = replace(detector, backbone=with_engine(detector.backbone, given["engine"] or TORCH))
    return in_region(encoding, counted, ignored)


def check_as_exported(path: Path, given: Arguments) -> None:
    """Check that an exported detector is to decide as it was exported.

    Raises:
        InputError: it is to decide otherwise.
    """
    for name in ("false_alarm_rate", "threshold", "unsure", "pretrained_dataset"):
        if given[name] is not None:
            raise InputError(
                f"`{name}` {given[name]}: {path} decides as it was exported; give that to its checkpoint, with promptad"
                " threshold, and export it again"
            )


def load_decided(
    path: Path, device: torch.device, given: Arguments, known: Iterable[Backbone] = ()
) -> MultiPrototypeDetector:
    """Load a checkpoint, its threshold at the false-alarm rate that is asked for, or at a raw score.

    Raises:
        InputError: both are asked for, or it cannot be loaded.
    """
    rate, threshold, unsure = given["false_alarm_rate"], given.get("threshold"), given.get("unsure")
    if rate is not None and threshold is not None:
        raise InputError(f"`threshold` {threshold:g} and `false_alarm_rate` {rate:g}: give one of them")
    return load_with_thresholds(path, device, rate, given["pretrained_dataset"], threshold, unsure, known)


def save_again(detector: AnomalyDetector, path: Path) -> None:
    """Write a detector's file anew.

    Raises:
        InputError: it cannot be written to, and stays as it was.
    """
    if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        raise InputError(f"{path} cannot be written to: check the rights of the file and of its folder")
    try:
        detector.save(path)
    except InputError as error:
        reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else str(error)
        raise InputError(
            f"{path} cannot be written anew ({reason}) and stays as it was: free space, or check rights"
        ) from error


def export_path(checkpoint: Path, given: Arguments) -> Path:
    """Return the file to export to: the one that is asked for, or one beside the checkpoint.

    Raises:
        InputError: an unknown format, or one that does not agree with the file's name.
    """
    output, to = given["output"], given["to"]
    check_choice("to", to or "onnx", SUFFIXES)
    if output is None:
        return checkpoint.with_suffix(SUFFIXES[to or "onnx"])
    if to is not None and output.suffix != SUFFIXES[to]:
        raise InputError(f"`output` {output}: end its name in {SUFFIXES[to]}, for {to}")
    return Path(output)


def load_for_export(path: Path, given: Arguments, console: Console) -> AnomalyDetector:
    """Load the detector of a checkpoint, with its thresholds if its method has any."""
    device, weights = find_device(given, console), given["pretrained_dataset"]
    if given["system"] == MULTI_PROTOTYPE:
        return load_decided(path, device, given)
    return load_detector(path, device, given["system"], weights=weights)


def find_support(detector: AnomalyDetector, named: Sequence[str]) -> tuple[Path, ...]:
    """Return, of the images that are named, those that a detector learned from, in its order, if it knows their names.

    Raises:
        InputError: there are none.
    """
    if not named:
        return ()
    found = find_images(list(named)).images
    by_name = {image.name: image for image in found}
    learned = detector.subject.support_images
    if missing := [name for name in learned if Path(name).name not in by_name]:
        raise InputError(f"`good`: {missing[0]}, which {detector.class_name!r} learned from, is not among them")
    return tuple(by_name[Path(name).name] for name in learned) or found


def size_in_words(count: int) -> str:
    """Return bytes in words.

    >>> size_in_words(30_500), size_in_words(469_222_752)
    ('30 kB', '469.2 MB')
    """
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
