"""All backbones that can be read, with what is known of them and what works with each."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import torch
from open_clip.factory import create_model
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.pretrained import list_pretrained_tags_by_model

from promptad.backbones.architectures import OWN_VIT, POOLED_TRUNK, Architecture, known_architectures
from promptad.backbones.clip import Backbone
from promptad.backbones.frozen_clip import make_backbone
from promptad.backbones.timm_vit import untrained_timm_vit
from promptad.backbones.tiny_clip import load_tiny, tiny_config
from promptad.settings import MEMORY_BACKBONES, TINY_BACKBONE, BackboneSettings
from promptad.utils.quiet import quiet_logging

MIT, APACHE, NON_COMMERCIAL, APPLE = "MIT", "Apache 2.0", "CC BY-NC 4.0", "Apple AMLR"
# Licences of weights by how their tags begin, as their model cards name them; the first that fits counts.
LICENCES = (
    *(("metaclip", NON_COMMERCIAL), ("dfndr", APPLE), ("dfn", APPLE), ("webli", APACHE), ("meta", APACHE)),
    *((own, MIT) for own in ("openai", "laion", "datacomp", "commonpool", "merged2b")),
)
MEMORY_LICENCES = {"apache-2.0": APACHE, "dinov3-license": "DINOv3 License"}  # as timm names them
MEMORY_WIDTHS = {"small": 384, "base": 768, "large": 1024}
UNKNOWN_LICENCE = "see its model card"
RUNS = 3  # of which the fastest counts


@dataclass(frozen=True)
class Entry:
    """A backbone; contexts are learned and memory banks filled with every one of them."""

    name: str
    tags: tuple[str, ...]  # of weights that open_clip downloads
    licences: tuple[str, ...]  # of these weights, each once
    image_size: int  # pixels a side, its own
    patches: int  # of an image of this size
    dimensions: int  # D
    parameters: float  # in millions
    patch_reading: str  # how a patch is read into the text space: "a local path" or "its attention pool"
    shares_beginnings: bool  # whether prompts share beginnings; else learning runs each prompt whole, which is slower
    needs_transformers: bool  # for its tokenizer, which learning asks for: the extra siglip


@dataclass(frozen=True)
class MemoryEntry:
    """A short name of a memory backbone."""

    name: str
    timm_name: str
    licence: str  # of its weights
    image_size: int  # pixels a side that it was learned at
    dimensions: int  # of its features
    parameters: float  # in millions


def entries(part_of_name: str = "") -> tuple[Entry, ...]:
    """Return all backbones whose names hold a text, of any case; `tiny` first, then in open_clip's order."""
    wanted = part_of_name.lower()
    found = [_entry(own) for own in known_architectures() if wanted in own.name.lower()]
    return (*([_tiny()] if wanted in TINY_BACKBONE else []), *found)


def memory_entries(part_of_name: str = "") -> tuple[MemoryEntry, ...]:
    """Return the short names of memory backbones that hold a text, of any case."""
    import timm  # noqa: PLC0415 it takes seconds

    found = []
    for name, full in MEMORY_BACKBONES.items():
        if part_of_name.lower() in name:
            config: Any = timm.get_pretrained_cfg(full)
            licence = MEMORY_LICENCES.get(config.license, UNKNOWN_LICENCE)
            dimensions = MEMORY_WIDTHS[name.partition("-")[2]]
            found.append(MemoryEntry(name, full, licence, config.input_size[-1], dimensions, _counted()[name]))
    return tuple(found)


def licence_of(tag: str) -> str:
    """Return the licence of a tag's weights.

    >>> licence_of("metaclip_400m"), licence_of("meta"), licence_of("laion2b_s34b_b79k")
    ('CC BY-NC 4.0', 'Apache 2.0', 'MIT')
    """
    return next((licence for start, licence in LICENCES if tag.startswith(start)), UNKNOWN_LICENCE)


def seconds_a_picture(name: str, device: torch.device) -> float:
    """Measure how long one picture takes a backbone, with random weights: nothing is downloaded."""
    encoder: Any
    if name in MEMORY_BACKBONES:
        encoder = untrained_timm_vit(BackboneSettings(memory_backbone=name), device)
    else:
        encoder = _random_backbone(name, device).image_encoder
    pixels = torch.randn(1, 3, encoder.image_size, encoder.image_size, device=device)
    return min(_seconds(encoder, pixels) for _ in range(RUNS))


def _seconds(encoder: Any, pixels: torch.Tensor) -> float:
    start = time.perf_counter()
    found = encoder.encode(pixels)
    (found[0] if isinstance(found, tuple) else found.class_token).cpu()  # which waits for a GPU
    return time.perf_counter() - start


def _random_backbone(name: str, device: torch.device) -> Backbone:
    settings = BackboneSettings(name=name, pretrained="random")
    if name == TINY_BACKBONE:
        return load_tiny(settings, device)
    with quiet_logging():
        return make_backbone(create_model(name), settings, device)


def _entry(own: Architecture) -> Entry:
    tags = tuple(list_pretrained_tags_by_model(own.name))
    return Entry(
        name=own.name,
        tags=tags,
        licences=_each_once([licence_of(tag) for tag in tags]),
        image_size=own.image_size,
        patches=(own.image_size // own.patch) ** 2,
        dimensions=own.dimensions,
        parameters=_parameters(own),
        patch_reading="its attention pool" if own.image == POOLED_TRUNK else "a local path",
        shares_beginnings=own.text == "causal",
        needs_transformers=own.hub_tokenizer is not None,
    )


def _tiny() -> Entry:
    config = tiny_config()
    size, patch = config["vision_cfg"]["image_size"], config["vision_cfg"]["patch_size"]
    tiny = Architecture(TINY_BACKBONE, config, OWN_VIT, "causal", patch)
    counted = _parameters(tiny)
    return Entry(
        name=TINY_BACKBONE,
        tags=("embedded",),
        licences=(MIT,),
        image_size=size,
        patches=(size // patch) ** 2,
        dimensions=tiny.dimensions,
        parameters=counted,
        patch_reading="a local path",
        shares_beginnings=True,
        needs_transformers=False,
    )


def _parameters(own: Architecture) -> float:
    """Return an architecture's parameters in millions, as counted once, or, if it is new, by building it emptily."""
    known = _counted().get(own.name)
    return count_parameters(own) if known is None else known


def count_parameters(own: Architecture) -> float:
    """Build an architecture without memory for its weights, and count these, in millions."""
    config = {name: value for name, value in own.config.items() if name != "custom_text"}
    kind = CustomTextCLIP if own.config.get("custom_text") else CLIP
    with torch.device("meta"):
        model = kind(**config)
    return round(sum(weight.numel() for weight in model.parameters()) / 1e6, 1)


@cache
def _counted() -> dict[str, float]:
    counted: dict[str, float] = json.loads((files(__package__) / "parameters.json").read_text(encoding="utf-8"))
    return counted


def _each_once(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
