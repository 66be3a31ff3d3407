"""From options to the detector that a command works on."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from promptad.backbones.clip import Backbone
from promptad.cli.given import Arguments
from promptad.cli.machine import find_device
from promptad.errors import InputError
from promptad.export.tower_encoder import with_engine
from promptad.models.base import AnomalyDetector
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.registry import load_with_thresholds
from promptad.runtime.asked_region import in_region
from promptad.runtime.engines import SUFFIXES as GRAPH_SUFFIXES
from promptad.runtime.engines import TORCH
from promptad.runtime.predict import Predictor
from promptad.runtime.session import Session


def open_predictor(
    path: Path, given: Arguments, console: Console, threads: int | None = None
) -> tuple[Predictor, Path | None]:
    """Open a checkpoint, or an exported detector, which decides as it was exported, in the region asked for.

    An engine uses so many `threads`; None is one for each core. With the detector comes the folder of the pictures'
    regions, where each has its own.

    Raises:
        InputError: it cannot be opened, an exported one is to decide otherwise, or it does not know that region.
    """
    counted, ignored = given["region"] or (), given["ignore"] or ()
    if path.suffix in GRAPH_SUFFIXES:
        check_as_exported(path, given)
        return in_region(Session(path, engine=given["engine"], threads=threads), counted, ignored)
    detector = load_decided(path, find_device(given, console), given)
    encoding = replace(detector, backbone=with_engine(detector.backbone, given["engine"] or TORCH, threads))
    return in_region(encoding, counted, ignored)


def check_as_exported(path: Path, given: Arguments) -> None:
    """Check that an exported detector is to decide as it was exported.

    Raises:
        InputError: it is to decide otherwise.
    """
    for name in ("false_alarm_rate", "threshold", "unsure", "pretrained_dataset", "memory_pretrained"):
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
    places = given["pretrained_dataset"], given.get("memory_pretrained")
    return load_with_thresholds(path, device, rate, places[0], threshold, unsure, known, places[1])


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
