"""Load open_clip's plain-ViT CLIPs: find them by name, build them and load their weights."""

import difflib
import os
import re
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any, cast

import huggingface_hub
import torch
from open_clip.factory import create_model, get_model_config, list_models
from open_clip.model import CLIP
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

from promptad.backbones.clip import Backbone
from promptad.backbones.frozen_clip import MEAN, STD, clip_of, input_size, make_backbone
from promptad.errors import InputError
from promptad.settings import TINY_BACKBONE, BackboneSettings
from promptad.utils.quiet import quiet_logging

_LOCAL_ONLY = ContextVar("_LOCAL_ONLY", default=False)  # whether weights are read from this machine alone
ARCHIVE_NUMBERS = ("input_resolution", "context_length", "vocab_size")  # of OpenAI's archives, beside the weights
PROXIES = {name for word in ("all", "http", "https") for name in (f"{word}_proxy", f"{word}_proxy".upper())}


def load_open_clip(settings: BackboneSettings, device: torch.device) -> Backbone:
    """Load an open_clip architecture with the weights of a tag or a file.

    Raises:
        InputError: as `load_backbone`.
    """
    config = _architecture(settings.name)
    clip = _create_model(settings, input_size(settings, config["vision_cfg"]))
    source = get_pretrained_cfg(settings.name, settings.pretrained)
    return make_backbone(clip, settings, device, source.get("mean", MEAN), source.get("std", STD))


def open_clip_of(backbone: Backbone) -> CLIP:
    """Return open_clip's model with the weights of a plain CLIP: its own one, or one made of those of `tiny`."""
    clip = clip_of(backbone)
    if isinstance(clip, CLIP):
        return clip
    made = CLIP(**clip.config)
    made.load_state_dict(clip.state_dict())
    return made.eval().requires_grad_(requires_grad=False).to(backbone.device)


def _architecture(name: str) -> dict[str, Any]:
    """Return open_clip's configuration of a plain-ViT CLIP."""
    config: dict[str, Any] | None = get_model_config(name) if ":" not in name else None  # type: ignore[no-untyped-call]
    if config is None:
        known = [TINY_BACKBONE, *list_models()]  # type: ignore[no-untyped-call]
        near = difflib.get_close_matches(name, known, n=3)
        raise InputError(
            f"unknown `backbone` {name!r}; nearest: {', '.join(near) or 'ViT-B-16-plus-240, ViT-L-14, tiny'}"
        )
    vision, text = config["vision_cfg"], config["text_cfg"]
    plain = isinstance(vision.get("layers"), int) and not config.get("custom_text")
    extras = {"timm_model_name", "pool_type", "attentional_pool"} & vision.keys() | {"hf_tokenizer_name"} & text.keys()
    if not plain or extras:
        raise InputError(
            f"`backbone` {name!r} is no plain-ViT CLIP; use one such as ViT-B-16-plus-240, ViT-L-14 or tiny"
        )
    return config


def _create_model(settings: BackboneSettings, size: int) -> CLIP:
    """Build an open_clip model for images of `size` pixels with the weights of a tag or a file."""
    tag = get_pretrained_cfg(settings.name, settings.pretrained)
    if not tag and not Path(settings.pretrained).is_file():
        tags = ", ".join(list_pretrained_tags_by_model(settings.name)) or "none"
        raise InputError(
            f"`pretrained` {settings.pretrained}: no file, and no tag of {settings.name} (its tags: {tags})"
        )
    try:
        hub = offline_without_hub() if tag else nullcontext()
        with warnings.catch_warnings(), quiet_logging(), hub, tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")
            plain = None if tag else _plain_weights(Path(settings.pretrained), Path(folder))
            model = create_model(
                settings.name,
                str(plain or settings.pretrained),
                force_image_size=size,
                force_quick_gelu=bool(tag.get("quick_gelu")) or plain is not None,
            )
    except Exception as error:  # a download or a foreign file may raise anything
        raise InputError(_load_failure(settings, tag, error)) from error
    return cast(CLIP, model)


def _plain_weights(file: Path, folder: Path) -> Path | None:
    """Write the weights of a TorchScript archive, as OpenAI published its own, as tensors; None for any other file.

    Only tensors are read of the archive: its program is never run. OpenAI's models have the activation QuickGELU.
    """
    if not zipfile.is_zipfile(file):
        return None
    with zipfile.ZipFile(file) as archive:
        if not any("/code/" in name for name in archive.namelist()):
            return None
    weights = torch.jit.load(file, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    plain = folder / "weights.pt"
    torch.save({name: value.float() for name, value in weights.items() if name not in ARCHIVE_NUMBERS}, plain)
    return plain


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


def _load_failure(settings: BackboneSettings, tag: dict[str, Any], error: Exception) -> str:
    if tag and _LOCAL_ONLY.get():
        return (
            f"the weights {settings.pretrained} of {settings.name} are not on this machine, and no file of a detector"
            f" has them downloaded unasked: ask for them by `pretrained` {settings.pretrained} (in Python `weights=`)"
        )
    if tag:
        return (
            f"cannot download the weights {settings.pretrained} of {settings.name}; connect this machine to the"
            " network, or fetch the file elsewhere and give it as `pretrained`, or use the `backbone` tiny"
        )
    reason = " ".join(str(error).split())[:160]
    return (
        f"{settings.pretrained} does not hold weights of {settings.name}: {reason}; give the file of this architecture"
    )


def is_local_only() -> bool:
    """Whether weights are read from this machine alone."""
    return _LOCAL_ONLY.get()


@contextmanager
def local_weights_only() -> Iterator[None]:
    """Load weights of tags from the local cache only; what is not there is an error that says how to ask for it."""
    before, asked = huggingface_hub.constants.HF_HUB_OFFLINE, _LOCAL_ONLY.set(True)
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = before
        _LOCAL_ONLY.reset(asked)


@contextmanager
def offline_without_hub() -> Iterator[None]:
    """Use the local cache only if the hub is not reachable, instead of retrying for a minute."""
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    if not _LOCAL_ONLY.get():
        try:
            huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=5)
        except Exception:  # any failure means the same: not reachable
            huggingface_hub.constants.HF_HUB_OFFLINE = True
    # Even offline, the hub's client would fail over a proxy of a kind that it does not know.
    unused = PROXIES & os.environ.keys() if huggingface_hub.constants.HF_HUB_OFFLINE else set[str]()
    proxies = {name: os.environ.pop(name) for name in unused}
    try:
        yield
    finally:
        os.environ.update(proxies)
        huggingface_hub.constants.HF_HUB_OFFLINE = before
