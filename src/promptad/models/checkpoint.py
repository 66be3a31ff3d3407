"""Read, check and write checkpoints: files of tensors and plain data."""

import io
import math
import sys
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from promptad.backbones.clip import Backbone
from promptad.errors import InputError, in_words, no_checkpoint
from promptad.settings import MEMORY_BACKBONE, BackboneSettings, Settings
from promptad.utils.files import whole_file

FORMAT = "promptad"  # followed by the method
FORMAT_VERSION = 8  # 5: words' weights beside a memory bank; 6: its layers; likeness; 7: distances; maps; 8: verdicts
PLAIN_KEYS = {
    *("format", "format_version", "settings", "weights_sha256", "dataset", "class_name", "support_images"),
    "support_sha256",
}
MEMORY_KEY = "memory_weights_sha256"  # of checkpoints with a memory backbone
CURE = "train the class again"


def write_checkpoint(path: Path, method: str, content: Mapping[str, Any]) -> None:
    """Write a checkpoint that `torch.load(weights_only=True)` reads: tensors and plain data only.

    Raises:
        InputError: the folder cannot be written to.
    """
    written = io.BytesIO()
    torch.save(_by_value(with_format(method, content)), written)
    with whole_file(path) as temporary:
        temporary.write_bytes(written.getvalue())


def _by_value(content: Any) -> Any:
    """Return content in which equal texts are one text, and no containers are shared.

    The bytes of a pickle tell what is the same object, which depends on the process that plain data came from.
    """
    if isinstance(content, str):
        return sys.intern(content)
    if isinstance(content, Mapping):
        return {_by_value(name): _by_value(own) for name, own in content.items()}
    return type(content)(map(_by_value, content)) if isinstance(content, list | tuple) else content


def with_format(method: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a checkpoint behind the name of its format and its version."""
    return {"format": f"{FORMAT} {method}", "format_version": FORMAT_VERSION, **content}


def read_archive(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint file, of any method or upstream.

    Raises:
        InputError: no such file, or a truncated one.
    """
    try:
        exists = path.is_file()
    except OSError as error:  # no right to look, or a name that cannot be
        raise InputError(in_words(error)) from error
    if not exists:
        raise no_checkpoint(path)
    try:
        with zipfile.ZipFile(path) as records:
            damaged = records.testzip()  # torch writes checksums, but does not check them
        content = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a foreign file may raise anything
        content = None
    if content is None:
        raise InputError(f"{path} is truncated or no checkpoint: {CURE}")
    return content if isinstance(content, dict) else {}


def check_content(
    path: Path, checkpoint: Mapping[str, Any], method: str, learned_keys: Collection[str], oldest_format: int
) -> Settings:
    """Check that a checkpoint is of this method and has these keys, and return its settings.

    Raises:
        InputError: it is of another method, of another version or incomplete.
    """
    version = checkpoint.get("format_version", FORMAT_VERSION)
    if checkpoint.get("format") != f"{FORMAT} {method}":
        raise InputError(f"{path} is no checkpoint of promptad: {CURE}")
    check_version(path, version)
    if version < oldest_format:
        raise InputError(f"{path} is of an older promptad, which decided otherwise: {CURE}")
    if missing := {*learned_keys, *PLAIN_KEYS} - set(checkpoint):
        raise InputError(f"{path} is incomplete ({', '.join(sorted(missing))}): train the class again")
    for name in ("dataset", "class_name", "support_sha256", "weights_sha256"):
        if not isinstance(checkpoint[name], str):
            raise damaged(path, f"{name} is no text")
    if not _are(checkpoint["support_images"], str):
        raise damaged(path, "support_images is no list of names")
    try:
        settings = Settings.from_dict(checkpoint["settings"])
    except InputError:  # it names the setting
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path} has settings that this promptad does not know: train the class again") from error
    if settings.backbone.memory_backbone and not isinstance(checkpoint.get(MEMORY_KEY), str):
        raise damaged(path, f"{MEMORY_KEY} is no text")
    for name in ("name", "pretrained", "memory_backbone", "memory_pretrained"):
        if not isinstance(getattr(settings.backbone, name), str):
            raise damaged(path, f"settings.backbone.{name} is no text")
    return settings


def check_version(path: Path, version: object) -> None:
    """Check that a version is one that this promptad reads.

    Raises:
        InputError: it is newer, or no version.
    """
    if not isinstance(version, int):
        raise damaged(path, "format_version is no whole number")
    if version > FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {version}, this promptad reads up to {FORMAT_VERSION}; install a newer promptad"
        )


def check_numbers(path: Path, values: Mapping[str, Any], place: str = "") -> None:
    """Check that all numbers of a checkpoint, in tensors, lists and mappings, are finite.

    Raises:
        InputError: one is NaN or infinite.
    """
    for name, value in values.items():
        if isinstance(value, Mapping):
            check_numbers(path, value, f"{place}{name}.")
        elif isinstance(value, Tensor):
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise damaged(path, f"{place}{name} holds numbers that are NaN or infinite")
        elif isinstance(value, list | tuple | float):
            numbers = [value] if isinstance(value, float) else [one for one in value if isinstance(one, float)]
            if not all(map(math.isfinite, numbers)):
                raise damaged(path, f"{place}{name} holds numbers that are NaN or infinite")


def check_shapes(path: Path, values: Mapping[str, Any], shapes: Mapping[str, tuple[int | None, ...]]) -> None:
    """Check that the values under these names are tensors of floats of these shapes; None is any length.

    Raises:
        InputError: one is missing, or something else.
    """
    for name, shape in shapes.items():
        value = values.get(name)
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise damaged(path, f"{name} is no tensor of numbers")
        fits = len(value.shape) == len(shape) and all(
            wanted in (None, length) for wanted, length in zip(shape, value.shape, strict=True)
        )
        if not fits:
            wanted_shape = ", ".join("any" if length is None else str(length) for length in shape)
            raise damaged(path, f"{name} has shape {list(value.shape)}, not [{wanted_shape}]")


def damaged(path: Path, reason: str) -> InputError:
    """Return the error of a checkpoint whose content does not agree with itself."""
    return InputError(f"{path} is damaged ({reason}): {CURE}")


def _are(values: object, kind: type) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def is_backbone_of(checkpoint: Mapping[str, Any], backbone: Backbone) -> bool:
    """Whether a checkpoint was trained on exactly this backbone."""
    here, trained = backbone.settings, checkpoint["settings"].backbone
    if trained.memory_backbone:
        trained = replace(trained, memory_pretrained=here.memory_pretrained)
    alike = replace(trained, pretrained=here.pretrained) == here  # hashes tell of weights
    same_memory = checkpoint.get(MEMORY_KEY) == (backbone.memory and backbone.memory.weights_sha256)
    return alike and same_memory and bool(checkpoint["weights_sha256"] == backbone.weights_sha256)


def check_backbone(path: Path, checkpoint: Mapping[str, Any], backbone: Backbone) -> None:
    """Check that a checkpoint was trained on exactly this backbone; upstream checkpoints do not record theirs.

    Raises:
        InputError: another architecture, image size or other weights.
    """
    if "weights_sha256" not in checkpoint:
        return
    trained, here = checkpoint["settings"].backbone, backbone.settings
    if (trained.name, trained.resize, trained.crop) != (here.name, here.resize, here.crop):
        raise InputError(
            f"{path} was trained on backbone {_in_words(trained)}, not {_in_words(here)}: use that one or train again"
        )
    if checkpoint["weights_sha256"] != backbone.weights_sha256:
        raise InputError(
            f"{path} was trained on other weights of {trained.name} (SHA-256 {checkpoint['weights_sha256'][:12]}…, here"
            f" {backbone.weights_sha256[:12]}…): give those by `pretrained`, or train again"
        )
    _check_memory(path, checkpoint, backbone)


def _check_memory(path: Path, checkpoint: Mapping[str, Any], backbone: Backbone) -> None:
    """Check that a checkpoint was trained with exactly this memory backbone, or without one.

    Raises:
        InputError: it was trained with another one.
    """
    trained, here = checkpoint["settings"].backbone, backbone.settings
    if any(getattr(trained, name) != getattr(here, name) for name in MEMORY_BACKBONE if name != "memory_pretrained"):
        raise InputError(
            f"{path} was trained with {_memory_in_words(trained)}, not {_memory_in_words(here)}: use that one or train"
            " again"
        )
    if backbone.memory is not None and checkpoint[MEMORY_KEY] != (found := backbone.memory.weights_sha256):
        raise InputError(
            f"{path} was trained on other weights of {trained.memory_backbone} (SHA-256"
            f" {checkpoint[MEMORY_KEY][:12]}…, here {found[:12]}…): give those by `memory_pretrained`, or train again"
        )


def _memory_in_words(settings: BackboneSettings) -> str:
    if not settings.memory_backbone:
        return "no memory backbone"
    layers = ", ".join(f"{share:g}" for share in settings.memory_backbone_layers)
    return f"the memory backbone {settings.memory_backbone} at {settings.memory_size} pixels, layers {layers}"


def _in_words(settings: BackboneSettings) -> str:
    size = f"`resize` {settings.resize}" if settings.resize else "its own picture size"
    return f"{settings.name} at {size}" + (f", `crop` {settings.crop}" if settings.crop else "")
