"""A folder of detectors as parts: checkpoints that share backbones, or exported detectors."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from promptad.backbones.clip import Backbone
from promptad.cli.detectors import check_as_exported, load_decided
from promptad.cli.given import Arguments
from promptad.cli.machine import find_device
from promptad.errors import InputError
from promptad.export.tower_encoder import with_engine
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.results.paths import OWN_CHECKPOINT
from promptad.runtime.engines import SUFFIXES, TORCH
from promptad.runtime.exported_parts import exported_files, open_exported_parts
from promptad.runtime.judge_parts import OpenedParts
from promptad.runtime.parts import Finder, Part, make_finders, name_parts


def find_parts(place: Path, which: bool) -> list[Path]:
    """Return the detectors of a folder that holds those of several parts; empty if a user names one detector.

    They are those of parts of one's own, each in its folder, or checkpoints or exported files in the folder itself.

    Raises:
        InputError: the part is to be found among several, and one detector is named.
    """
    found: list[Path] = []
    if place.is_dir() and not (place / OWN_CHECKPOINT).is_file():
        own = sorted(place.glob(f"*/{OWN_CHECKPOINT}"))
        beside = sorted(place.glob("checkpoint/*.pt")) or sorted(place.glob("*.pt")) or exported_files(place)
        found = [*own, *beside] if own or len(beside) > 1 else []
    if which and not found:
        raise InputError(f"`which` finds the part among several, and {place} is no folder of several detectors")
    return found


def open_parts(files: Sequence[Path], given: Arguments, console: Console) -> OpenedParts:
    """Open the detectors of several parts; those that share a backbone share it loaded.

    Raises:
        InputError: none can be opened, two have one name, or an option is of one detector.
    """
    for name in ("region", "ignore"):
        if given[name]:
            raise InputError(f"`{name}` {given[name][0]} is of one detector: name that one")
    if all(file.suffix in SUFFIXES for file in files):
        check_as_exported(files[0].parent, given)
        return open_exported_parts(files, engine=given["engine"])
    if (threshold := given["threshold"]) is not None:
        raise InputError(
            f"`threshold` {threshold:g} is a raw score of one detector: set it in each, with promptad threshold"
        )
    device, loaded = find_device(given, console), list[tuple[Path, MultiPrototypeDetector]]()
    plain: list[Backbone] = []  # as they were loaded, and below as they encode
    encoding: list[Backbone] = []
    failures: list[str] = []
    for file in files:
        try:
            detector = load_decided(file, device, given, plain)
        except InputError as error:
            failures.append(str(error))
            continue
        if detector.backbone not in plain:
            plain.append(detector.backbone)
            encoding.append(with_engine(detector.backbone, given["engine"] or TORCH))
        loaded.append((file, replace(detector, backbone=encoding[plain.index(detector.backbone)])))
    if not loaded:
        raise InputError(failures[0])
    names = name_parts([(file, detector.class_name, _other_name(file)) for file, detector in loaded])
    parts = tuple(Part(name, file, detector) for name, (file, detector) in zip(names, loaded, strict=True))
    return OpenedParts(parts, tuple(failures), partial(_finders, names, loaded))


def _other_name(file: Path) -> str:
    return file.parent.name if file.name == OWN_CHECKPOINT else file.stem


def _finders(names: Sequence[str], loaded: Sequence[tuple[Path, MultiPrototypeDetector]]) -> list[Finder]:
    """Return what finds the part by the pictures.

    Raises:
        InputError: a detector cannot tell.
    """
    for file, detector in loaded:
        if detector.head.likeness is None:
            raise InputError(
                f"`which`: {file} is of an older promptad and cannot tell its part from others: train it again"
            )
    named = [(name, detector) for name, (_, detector) in zip(names, loaded, strict=True)]
    return make_finders(named, lambda detector: detector.backbone, _lacks)


@torch.inference_mode()
def _lacks(detectors: Sequence[MultiPrototypeDetector], squares: np.ndarray) -> np.ndarray:
    """Return how much N squares lack of each detector's part [N, part]."""
    tokens = detectors[0].backbone.encode_squares(squares).patch_tokens
    known = [detector.head.likeness for detector in detectors]
    return torch.stack([likeness.lack(tokens) for likeness in known if likeness is not None], 1).cpu().numpy()
