"""Where the weights of an open_clip architecture come from, and what is known of how they were learned."""

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

from promptad.backbones.architectures import Architecture
from promptad.backbones.frozen_clip import MEAN, STD
from promptad.errors import InputError
from promptad.settings import TINY_BACKBONE, BackboneSettings
from promptad.utils.json_text import is_number, parse_json

ARCHIVE_NUMBERS = ("input_resolution", "context_length", "vocab_size")  # of OpenAI's archives, beside the weights
HUB_CONFIG = "open_clip_config.json"
HUB_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class WeightSource:
    """Weights, a tag of open_clip's or a file, and the activation, pixels and tokenizer that they were learned with."""

    pretrained: str  # the tag, or the file's path
    is_tag: bool
    quick_gelu: bool  # whether the activation is QuickGELU although the architecture's need not be
    mean: tuple[float, ...] = MEAN  # of the pixels in [0, 1]
    std: tuple[float, ...] = STD
    tokenizer: Path | None = None  # a folder with a tokenizer's files beside the weights


def find_weights(settings: BackboneSettings, architecture: Architecture) -> WeightSource:
    """Return where the weights of settings come from.

    What a tag was learned with stands in open_clip's table, and that of a folder of the hub in its configuration. Of
    any other file the activation is the architecture's, but QuickGELU for OpenAI's archives, and the pixels are
    normalised as all tags of the architecture say, or, if they differ, as CLIP's.

    Raises:
        InputError: there is no such tag, file or folder, or the folder holds no weights or a broken configuration.
    """
    if tag := get_pretrained_cfg(settings.name, settings.pretrained):
        return WeightSource(settings.pretrained, True, bool(tag.get("quick_gelu")), *_pixels(tag))
    path = Path(settings.pretrained)
    file = _weights_in(path) if path.is_dir() else path
    if not file.is_file():
        tags = ", ".join(list_pretrained_tags_by_model(settings.name)) or "none"
        raise InputError(
            f"`pretrained` {settings.pretrained}: no file, and no tag of {settings.name} (its tags: {tags})"
        )
    hub = _hub_config(file)
    quick_gelu = bool(hub.get("model_cfg", {}).get("quick_gelu")) or is_archive(file)
    pixels = _pixels(hub.get("preprocess_cfg") or _pixels_of_tags(architecture.name))
    folder = file.parent if any((file.parent / name).is_file() for name in TOKENIZER_FILES) else None
    return WeightSource(str(file), False, quick_gelu, *pixels, folder)


def is_quick_gelu(settings: BackboneSettings) -> bool:
    """Whether a tag's weights were learned with QuickGELU; of a file it is not known by its name."""
    return bool(get_pretrained_cfg(settings.name, settings.pretrained).get("quick_gelu"))


def weights_are_known(settings: BackboneSettings) -> bool:
    """Whether anyone can have the weights by their name: bundled ones, or a tag of open_clip's; a file is one's own."""
    return settings.name == TINY_BACKBONE or bool(get_pretrained_cfg(settings.name, settings.pretrained))


def weights_note(settings: BackboneSettings) -> str:
    """Return what to know of where a tag's weights come from; empty if its name says it all.

    open_clip's table names the hub's repository of another epoch for some tags.
    """
    repository = get_pretrained_cfg(settings.name, settings.pretrained).get("hf_hub", "").strip("/")
    asked, held = (re.search(r"_e(\d+)$", name) for name in (settings.pretrained, repository))
    if asked is None or held is None or asked[1] == held[1]:
        return ""
    return (
        f"open_clip's table takes {settings.pretrained} of {settings.name} from the hub's {repository}: by that name"
        f" these are the weights of epoch {held[1]}, not {asked[1]}"
    )


def is_archive(file: Path) -> bool:
    """Whether a file is a TorchScript archive, as OpenAI published its weights."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any("/code/" in name for name in archive.namelist())


def unpack_archive(file: Path, folder: Path) -> Path:
    """Write the weights of a TorchScript archive as tensors into a folder; return the file.

    Only tensors are read of the archive: its program is never run.
    """
    weights = torch.jit.load(file, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    plain = folder / "weights.pt"
    torch.save({name: value.float() for name, value in weights.items() if name not in ARCHIVE_NUMBERS}, plain)
    return plain


def _weights_in(folder: Path) -> Path:
    """Return the file of weights in a folder as the hub saves it."""
    for name in HUB_WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"`pretrained` {folder}: the folder holds no {HUB_WEIGHTS[0]}; give the file of the weights")


def _hub_config(file: Path) -> dict[str, Any]:
    """Return the hub's configuration beside a file that is named as the hub names it; empty if there is none."""
    config = file.parent / HUB_CONFIG
    if file.name not in HUB_WEIGHTS or not config.is_file():
        return {}
    try:
        content = parse_json(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{config} cannot be read as JSON ({error}): fetch it again, or delete it") from error
    groups = ("model_cfg", "preprocess_cfg")
    known = isinstance(content, dict) and all(isinstance(content.get(group, {}), dict) for group in groups)
    if not known or not all(_is_colour(content.get(groups[1], {}).get(name)) for name in ("mean", "std")):
        raise InputError(f"{config} is no configuration of open_clip: fetch it again, or delete it")
    return dict(content)


def _is_colour(value: object) -> bool:
    """Whether a value is one number for red, green and blue each, or nothing."""
    return value is None or (isinstance(value, list) and len(value) == 3 and all(map(is_number, value)))


def _pixels_of_tags(name: str) -> Mapping[str, Any]:
    """Return how pixels are normalised for all tags of an architecture; empty if they differ."""
    tags = [get_pretrained_cfg(name, tag) for tag in list_pretrained_tags_by_model(name)]
    return dict(tags[0]) if tags and all(_pixels(tag) == _pixels(tags[0]) for tag in tags) else {}


def _pixels(known: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of pixels that a table knows, else CLIP's."""
    return tuple(known.get("mean") or MEAN), tuple(known.get("std") or STD)
