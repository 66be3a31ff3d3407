"""A detector as a folder, as the Hugging Face Hub keeps it: model.safetensors, config.json and a model card."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from promptad.backbones.timm_vit import memory_weights_are_known
from promptad.backbones.weight_source import weights_are_known
from promptad.errors import InputError, in_words
from promptad.models.base import AnomalyDetector
from promptad.models.checkpoint import FORMAT, MEMORY_KEY, check_version, damaged, with_format
from promptad.models.registry import MODELS, check_checkpoint, restore_detector
from promptad.settings import Settings
from promptad.utils.files import whole_file
from promptad.utils.json_text import parse_json

TENSORS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
TENSORS_SHA256 = "tensors_sha256"  # in config.json: safetensors files have no checksums, and it binds the two files
CARD_MARK = b"library_name: promptad"  # what a model card of ours holds
CURE = "fetch the folder again, or have it saved again with save_pretrained"


def write_folder(folder: Path, detector: AnomalyDetector, card: str, *, with_support_names: bool = False) -> None:
    """Write a detector and its model card to a folder; the three files replace earlier ones together.

    No folder of this machine is written, and names of the files that it learned from only if asked.

    Raises:
        InputError: the folder cannot be written to, or its README.md is not of a detector.
    """
    if (folder / CARD).is_file() and CARD_MARK not in _read(folder / CARD):
        raise InputError(f"{folder / CARD} is no model card of promptad and stays: choose another `save_directory`")
    settings = replace(detector.settings, backbone=detector.settings.backbone.without_folders())
    content = detector.content() | {"settings": settings.to_dict()}
    if not with_support_names:
        content = without_names(content)
    tensors, plain = split_tensors(with_format(settings.system, content))
    written = safetensors.torch.save({name: own.contiguous().clone() for name, own in tensors.items()})
    plain[TENSORS_SHA256] = hashlib.sha256(written).hexdigest()
    config = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # Broken letters of file names become escapes, which JSON reads back as they were.
    texts = {name: text.encode("utf-8", "backslashreplace") for name, text in ((CONFIG, config), (CARD, card))}
    with ExitStack() as files:
        for name, data in {TENSORS: written, **texts}.items():
            files.enter_context(whole_file(folder / name, "save_directory")).write_bytes(data)


def without_names(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a detector without names of files that it learned from."""
    kept = dict(content) | {"support_images": []}
    if verdicts := kept.get("verdicts"):
        kept["verdicts"] = verdicts | {"names": [""] * len(verdicts["names"])}
    return kept


def load_folder(
    folder: Path, device: torch.device, weights: str | None = None, memory_weights: str | None = None
) -> AnomalyDetector:
    """Load the detector of a folder, by the method that its configuration names.

    Args:
        folder: one that `write_folder` wrote.
        device: where the backbone is loaded.
        weights: path of the backbone's weights, or their tag, which has them downloaded if need be. Without it, a
            folder names bundled weights or a tag: no file of this machine is opened because a folder names it.
        memory_weights: the same of its memory backbone, if it has one; "hub" has them downloaded.

    Raises:
        InputError: a file is missing or damaged, of another version, backbone or weights, or the weights are a file.
    """
    content = read_folder(folder)
    method = content["format"].removeprefix(f"{FORMAT} ")
    checkpoint = check_checkpoint(folder, content, method)
    trained: Settings = checkpoint["settings"]
    if weights is None and not weights_are_known(trained.backbone):
        raise InputError(
            f"{folder} needs the weights {trained.backbone.pretrained} of {trained.backbone.name}, a file of whoever"
            f" made it (SHA-256 of the weights {checkpoint['weights_sha256'][:12]}…): give its path by `weights`"
        )
    if memory_weights is None and not memory_weights_are_known(trained.backbone):
        raise InputError(
            f"{folder} needs the weights {trained.backbone.memory_pretrained} of {trained.backbone.memory_backbone}, a"
            f" file of whoever made it (SHA-256 of the weights {checkpoint[MEMORY_KEY][:12]}…): give its path by"
            " `memory_weights`"
        )
    return restore_detector(folder, checkpoint, device, method, weights=weights, memory_weights=memory_weights)


def read_folder(folder: Path) -> dict[str, Any]:
    """Return the content of a folder, as `read_archive` gives that of a checkpoint.

    Raises:
        InputError: a file is missing, damaged, of another program or of a newer promptad.
    """
    config, tensors = folder / CONFIG, folder / TENSORS
    try:
        content = parse_json(_read(config).decode("utf-8"))
    except ValueError as error:  # UnicodeDecodeError is one
        raise InputError(f"{config} is no JSON ({error}): {CURE}") from error
    kind = content.get("format") if isinstance(content, dict) else None
    if not isinstance(kind, str) or not kind.startswith(f"{FORMAT} "):
        raise InputError(f"{config} is of no detector of promptad: name a folder that save_pretrained wrote")
    check_version(folder, content.get("format_version"))
    if kind.removeprefix(f"{FORMAT} ") not in MODELS:
        raise InputError(f"{config} is of {kind}, which this promptad does not know; install a newer promptad")
    data = _read(tensors)
    if hashlib.sha256(data).hexdigest() != content.pop(TENSORS_SHA256, None):
        raise InputError(f"{tensors} is damaged, or belongs to another {CONFIG}: {CURE}")
    try:
        return _merged(config, content, safetensors.torch.load(data))
    except safetensors.SafetensorError as error:
        raise InputError(f"{tensors} holds no tensors: {CURE}") from error


def split_tensors(content: Mapping[str, Any], place: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of nested mappings by dotted names, and the rest as it is nested.

    >>> split_tensors({"memory": {"map_mean": torch.ones(1)}, "likeness": {}, "class_name": "carpet"})
    ({'memory.map_mean': tensor([1.])}, {'likeness': {}, 'class_name': 'carpet'})
    """
    tensors: dict[str, Tensor] = {}
    rest: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Tensor):
            tensors[place + name] = value
        elif isinstance(value, Mapping):
            inner, other = split_tensors(value, f"{place}{name}.")
            tensors |= inner
            if other or not inner:  # an empty mapping says that there is nothing
                rest[name] = other
        else:
            rest[name] = value
    return tensors, rest


def _merged(config: Path, content: dict[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Put tensors under their dotted names into nested mappings."""
    for name, tensor in tensors.items():
        *groups, last = name.split(".")
        place: Any = content
        for group in groups:
            place = place.setdefault(group, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict) or last in place:
            raise damaged(config, f"it holds {name}, which {TENSORS} holds")
        place[last] = tensor.clone()  # out of the file's bytes, which need not be aligned
    return content


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{file.parent} has no {file.name}: name a folder that save_pretrained wrote") from error
    except OSError as error:
        raise InputError(in_words(error)) from error
