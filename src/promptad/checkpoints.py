"""Checkpoints: files of tensors and plain data, read in one place and refused in words."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from promptad.backbone.clip import Backbone
from promptad.errors import InputError
from promptad.files import whole_file
from promptad.settings import MULTI_PROTOTYPE, SINGLE_ANCHOR, BackboneSettings, Settings

FORMAT_VERSION = 4  # 4: normal responses are levelled
FORMATS = {MULTI_PROTOTYPE: "promptad multi-prototype", SINGLE_ANCHOR: "promptad single-anchor"}
LEARNED_KEYS = {
    MULTI_PROTOTYPE: {
        *("normal_prototypes", "abnormal_prototypes", "centre", "normal_share", "abnormal_share", "calibration"),
        *("memory", "normal_scores", "vocabulary"),
    },
    SINGLE_ANCHOR: {"text_features", "feature_gallery1", "feature_gallery2"},  # all that the ancestor itself writes
}
PLAIN_KEYS = {
    *("format", "format_version", "settings", "weights_sha256", "dataset", "class_name", "support_images"),
    "support_sha256",
}


def write_checkpoint(path: Path, system: str, content: Mapping[str, Any]) -> None:
    """Write a checkpoint that `torch.load(weights_only=True)` reads: tensors and plain data alone.

    Raises:
        InputError: the folder cannot be written to.
    """
    checkpoint = {"format": FORMATS[system], "format_version": FORMAT_VERSION, **content}
    written = io.BytesIO()
    torch.save(checkpoint, written)
    with whole_file(path) as temporary:
        temporary.write_bytes(written.getvalue())


def read_checkpoint(path: Path, system: str) -> dict[str, Any]:
    """Read a checkpoint of a system, its settings as such; one that the ancestor wrote itself has none.

    Raises:
        InputError: no such file, a truncated one, one of another system or of a newer version.
    """
    if not path.is_file():
        raise InputError(f"no checkpoint {path}: train the class first, with promptad train")
    checkpoint = _read_archive(path)
    keys = set(checkpoint) if isinstance(checkpoint, dict) else set()
    _check_system(path, system, keys)
    if system == SINGLE_ANCHOR and keys == LEARNED_KEYS[SINGLE_ANCHOR]:
        return checkpoint  # type: ignore[no-any-return]
    if "format" not in keys or checkpoint["format"] != FORMATS[system]:
        raise InputError(f"{path} is no checkpoint of promptad: train the class again, with promptad train")
    if checkpoint.get("format_version", 0) > FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {checkpoint['format_version']}, this promptad reads up to {FORMAT_VERSION};"
            " install a newer promptad"
        )
    if checkpoint.get("format_version", FORMAT_VERSION) < FORMAT_VERSION and system == MULTI_PROTOTYPE:
        raise InputError(
            f"{path} is of an older promptad, which decided otherwise: train the class again, with promptad train"
        )
    if missing := (LEARNED_KEYS[system] | PLAIN_KEYS) - keys:
        raise InputError(f"{path} is incomplete ({', '.join(sorted(missing))}): train the class again")
    try:
        checkpoint["settings"] = Settings.from_dict(checkpoint["settings"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} has settings that this promptad does not know: train the class again") from error
    return checkpoint  # type: ignore[no-any-return]


def check_backbone(path: Path, checkpoint: Mapping[str, Any], backbone: Backbone) -> None:
    """Refuse a checkpoint that was not trained on just this backbone; the ancestor's own do not say on which.

    Raises:
        InputError: another architecture, picture size or other weights.
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
            f" {backbone.weights_sha256[:12]}…): give those by --pretrained-dataset, or train again"
        )


def _check_system(path: Path, system: str, keys: set[str]) -> None:
    anchors, prototypes = keys & LEARNED_KEYS[SINGLE_ANCHOR], keys & {"normal_prototypes", "abnormal_prototypes"}
    if system == MULTI_PROTOTYPE and anchors:
        raise InputError(
            f"{path} is of the single-anchor PromptAD ({', '.join(sorted(anchors))}), which has one averaged anchor"
            " where this system needs prototypes; test it with --system single-anchor, or train again: promptad train"
            " --class-name CLASS"
        )
    if system == SINGLE_ANCHOR and prototypes:
        raise InputError(
            f"{path} is of the multi-prototype system ({', '.join(sorted(prototypes))}): test it without --system"
            " single-anchor"
        )


def _read_archive(path: Path) -> Any:
    """Return what lies in a file of torch's, its checksums tested: torch writes them, but does not read them."""
    try:
        with zipfile.ZipFile(path) as records:
            damaged = records.testzip()  # the name of a file whose checksum is wrong
        content = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whatever a foreign file may raise
        content = None
    if content is None:
        raise InputError(f"{path} is truncated or no checkpoint: train the class again, with promptad train")
    return content


def _in_words(settings: BackboneSettings) -> str:
    size = f"--img-resize {settings.resize}" if settings.resize else "its own picture size"
    return f"{settings.name} at {size}" + (f", --img-cropsize {settings.crop}" if settings.crop else "")
