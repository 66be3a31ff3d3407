"""Loading: a backbone is found by its name, built, frozen and given its weights."""

import difflib
import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import huggingface_hub
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.factory import create_model, get_model_config, list_models
from open_clip.model import CLIP
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip.tokenizer import SimpleTokenizer

from promptad.backbone.clip import Backbone
from promptad.backbone.embedded import embedded_config, load_embedded
from promptad.backbone.image_tower import ImageTower
from promptad.backbone.text_tower import TextTower
from promptad.errors import InputError
from promptad.settings import EMBEDDED, BackboneSettings


def load_backbone(settings: BackboneSettings, device: torch.device) -> Backbone:
    """Load and freeze the backbone that `settings` name; its weights are kept in float32.

    Raises:
        InputError: no such architecture, one that is no plain-ViT CLIP, an unknown tag, weights that are not there or
            do not fit, or a picture size that its patches do not divide.
    """
    config = embedded_config() if settings.name == EMBEDDED else _architecture(settings.name)
    _check_picture_size(settings, config["vision_cfg"]["patch_size"])
    size = settings.crop or settings.resize or config["vision_cfg"]["image_size"]
    clip = load_embedded(size) if settings.name == EMBEDDED else _load_open_clip(settings, size)
    return make_backbone(clip, settings, device)


def make_backbone(clip: CLIP, settings: BackboneSettings, device: torch.device) -> Backbone:
    """Freeze a CLIP as the backbone that `settings` name, normalised as its weights were trained."""
    clip = clip.eval().requires_grad_(requires_grad=False).to(device)
    precision = getattr(torch, settings.precision)
    source = get_pretrained_cfg(settings.name, settings.pretrained)
    mean, std = source.get("mean", OPENAI_DATASET_MEAN), source.get("std", OPENAI_DATASET_STD)
    return Backbone(
        settings=settings,
        image_tower=ImageTower(clip.visual, precision),
        text_tower=TextTower(clip, precision),
        tokenizer=SimpleTokenizer(),
        mean=torch.tensor(mean, device=device).view(3, 1, 1),
        std=torch.tensor(std, device=device).view(3, 1, 1),
        temperature=float(clip.logit_scale.exp()),
        weights_sha256=_hash_weights(clip),
        device=device,
    )


def choose_device(gpu: int | None) -> tuple[torch.device, str | None]:
    """Return the device for GPU number `gpu` (None: the CPU), and a line for the user where he gets another one.

    Raises:
        InputError: a negative number, or CUDA is there, but not so many GPUs.
    """
    if gpu is None:
        return torch.device("cpu"), None
    if gpu < 0:
        raise InputError(f"--gpu-id {gpu}: GPUs are numbered from 0; to work on the CPU, use --use-cpu True")
    if not torch.cuda.is_available():
        return torch.device("cpu"), f"--gpu-id {gpu}: no CUDA device here, running on the CPU"
    if gpu >= torch.cuda.device_count():
        raise InputError(f"--gpu-id {gpu}: this machine has GPUs 0 to {torch.cuda.device_count() - 1}; choose one")
    return torch.device("cuda", gpu), None


def _architecture(name: str) -> dict[str, Any]:
    """Return open_clip's configuration of a plain-ViT CLIP."""
    config: dict[str, Any] | None = get_model_config(name) if ":" not in name else None  # type: ignore[no-untyped-call]
    if config is None:
        known = [EMBEDDED, *list_models()]  # type: ignore[no-untyped-call]
        near = difflib.get_close_matches(name, known, n=3)
        raise InputError(
            f"unknown backbone {name!r}; nearest: {', '.join(near) or 'ViT-B-16-plus-240, ViT-L-14, tiny'}"
        )
    vision, text = config["vision_cfg"], config["text_cfg"]
    plain = isinstance(vision.get("layers"), int) and not config.get("custom_text")
    extras = {"timm_model_name", "pool_type", "attentional_pool"} & vision.keys() | {"hf_tokenizer_name"} & text.keys()
    if not plain or extras:
        raise InputError(f"backbone {name!r} is no plain-ViT CLIP; use one such as ViT-B-16-plus-240, ViT-L-14 or tiny")
    return config


def _check_picture_size(settings: BackboneSettings, patch: int) -> None:
    flag = "--img-cropsize" if settings.crop else "--img-resize"
    size = settings.crop or settings.resize
    if size and (size % patch or size < patch):
        below = max(size // patch, 1) * patch
        raise InputError(
            f"{flag} {size}: {settings.name} needs a multiple of {patch}, such as {below} or {below + patch}"
        )
    if settings.crop and settings.resize and settings.crop > settings.resize:
        raise InputError(
            f"--img-cropsize {settings.crop} is larger than --img-resize {settings.resize}; make it smaller"
        )


def _load_open_clip(settings: BackboneSettings, size: int) -> CLIP:
    """Build an open_clip model for pictures of `size` pixels with the weights of a tag or a file."""
    tag = get_pretrained_cfg(settings.name, settings.pretrained)
    if not tag and not Path(settings.pretrained).is_file():
        tags = ", ".join(list_pretrained_tags_by_model(settings.name)) or "none"
        raise InputError(
            f"--pretrained-dataset {settings.pretrained}: no file, and no tag of {settings.name} (its tags: {tags})"
        )
    try:
        hub = _offline_without_hub() if tag else nullcontext()
        with warnings.catch_warnings(), _quiet_logging(), hub:
            warnings.simplefilter("ignore")
            model = create_model(
                settings.name,
                settings.pretrained,
                force_image_size=size,
                force_quick_gelu=bool(tag.get("quick_gelu")),
            )
    except Exception as error:  # whatever a download or a foreign file may raise
        raise InputError(_load_failure(settings, tag, error)) from error
    return cast(CLIP, model)


def _load_failure(settings: BackboneSettings, tag: dict[str, Any], error: Exception) -> str:
    if tag:
        return (
            f"cannot download the weights {settings.pretrained} of {settings.name}; connect this machine to the"
            " network, or fetch the file elsewhere and give it by --pretrained-dataset FILE, or use --backbone tiny"
        )
    reason = " ".join(str(error).split())[:160]
    return (
        f"{settings.pretrained} does not hold weights of {settings.name}: {reason}; give the file of this architecture"
    )


@contextmanager
def _offline_without_hub() -> Iterator[None]:
    """Look in the local cache only where the hub is out of reach, instead of trying for a minute."""
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    try:
        huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=5)
    except Exception:  # any failure means the same: not reachable
        huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = before


@contextmanager
def _quiet_logging() -> Iterator[None]:
    """Silence libraries' log lines while their failure is turned into one line of ours."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _hash_weights(clip: CLIP) -> str:
    """Return the SHA-256 of names, shapes and bytes of all weights."""
    digest = hashlib.sha256()
    for name, value in clip.state_dict().items():
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
