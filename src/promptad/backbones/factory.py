"""Open a backbone by its name, and choose the device."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import torch

from promptad.backbones.clip import Backbone
from promptad.backbones.tiny_clip import load_tiny
from promptad.errors import InputError
from promptad.settings import TINY_BACKBONE, BackboneSettings


def load_open_clip(settings: BackboneSettings, device: torch.device) -> Backbone:
    """Load a backbone of open_clip, which is imported here, for `tiny` does without it."""
    from promptad.backbones import open_clip_vit  # noqa: PLC0415

    return open_clip_vit.load_open_clip(settings, device)


# To add a family of backbones, add a line. A name is "family" or "family:name"; any other name is open_clip's.
BACKBONES: dict[str, Callable[[BackboneSettings, torch.device], Backbone]] = {
    "open_clip": load_open_clip,
    TINY_BACKBONE: load_tiny,
}


def load_backbone(
    settings: BackboneSettings, device: torch.device, *, download: bool = True, download_memory: bool = True
) -> Backbone:
    """Load and freeze the backbone named in `settings` on a `device`; its weights are kept in float32.

    Without `download`, weights that open_clip knows by a tag are taken from its local cache alone; without
    `download_memory`, so are those of a second encoder for the memory bank.

    Raises:
        InputError: as of `load_clip` and `timm_vit.load_timm_vit`.
    """
    backbone = load_clip(settings, device, download=download)
    if not settings.memory_backbone:
        return backbone
    from promptad.backbones.hub_access import local_weights_only  # noqa: PLC0415 as above
    from promptad.backbones.timm_vit import load_timm_vit  # noqa: PLC0415 as above

    with nullcontext() if download_memory else local_weights_only():
        return replace(backbone, memory=load_timm_vit(settings, device))


def load_clip(settings: BackboneSettings, device: torch.device, *, download: bool = True) -> Backbone:
    """Load and freeze the CLIP named in `settings` on a `device`.

    Raises:
        InputError: an unknown architecture, one that cannot be read, an unknown tag, weights that are missing
            or do not fit, or an image size that is not a multiple of the patch size.
    """
    load = BACKBONES.get(settings.name.partition(":")[0], load_open_clip)
    if download or load is load_tiny:
        return load(settings, device)
    from promptad.backbones.hub_access import local_weights_only  # noqa: PLC0415 as above

    with local_weights_only():
        return load(settings, device)


def choose_device(gpu: int | None) -> tuple[torch.device, str | None]:
    """Return the device for GPU number `gpu` (None: the CPU), and a warning if another device is used.

    Raises:
        InputError: a negative number, or CUDA is available but has fewer GPUs.
    """
    if gpu is None:
        return torch.device("cpu"), None
    if gpu < 0:
        raise InputError(f"`gpu` {gpu}: GPUs are numbered from 0")
    if not torch.cuda.is_available():
        return torch.device("cpu"), f"`gpu` {gpu}: no CUDA device here, running on the CPU"
    if gpu >= torch.cuda.device_count():
        raise InputError(f"`gpu` {gpu}: this machine has GPUs 0 to {torch.cuda.device_count() - 1}; choose one")
    return torch.device("cuda", gpu), None


def as_device(device: str | torch.device | None) -> torch.device:
    """Return the device that is asked for, such as "cuda", "cuda:0" or "cpu"; None is the CPU.

    Raises:
        InputError: it is none, there is none of that kind or number here, or its kind is not supported.
    """
    try:
        asked = torch.device("cpu" if device is None else device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"`device` {device!r}: give cpu, cuda, or a certain GPU, such as cuda:0") from error
    if asked.type == "cpu":
        return asked
    if asked.type != "cuda":
        raise InputError(f"`device` {asked}: promptad computes on cpu and cuda; choose one of them")
    if not torch.cuda.is_available():
        raise InputError(f"`device` {asked}: torch finds no CUDA device here; choose cpu")
    if (asked.index or 0) >= (count := torch.cuda.device_count()):
        raise InputError(f"`device` {asked}: this machine has cuda:0 to cuda:{count - 1}; choose one")
    return asked
