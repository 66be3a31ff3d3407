"""Load CLIPs of open_clip: find them by name, build them and load their weights."""

import tempfile
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import torch
from open_clip.factory import create_model
from open_clip.model import CLIP, CustomTextCLIP

from promptad.backbones.architectures import Architecture, find_architecture
from promptad.backbones.clip import Backbone
from promptad.backbones.frozen_clip import clip_of, input_size, make_backbone
from promptad.backbones.hub_access import is_local_only, offline_without_hub
from promptad.backbones.hub_tokenizer import HubTokenizer
from promptad.backbones.tokenizer import LazyTokenizer
from promptad.backbones.weight_source import WeightSource, find_weights, is_archive, unpack_archive
from promptad.errors import InputError, in_one_line
from promptad.settings import BackboneSettings
from promptad.utils.quiet import quiet_logging


def load_open_clip(settings: BackboneSettings, device: torch.device) -> Backbone:
    """Load an open_clip architecture with the weights of a tag, a file or a folder of the hub.

    Raises:
        InputError: as `load_backbone`.
    """
    architecture = find_architecture(settings.name)
    size = input_size(settings, architecture.patch, architecture.image_size)
    source = find_weights(settings, architecture)
    clip = _create_model(settings, source, size)
    return make_backbone(clip, settings, device, source.mean, source.std, _tokenizer(architecture, source))


def open_clip_of(backbone: Backbone) -> CLIP:
    """Return open_clip's model with the weights of a CLIP: its own one, or one made of those of `tiny`.

    That of SigLIP, Perception Encoder and EVA-CLIP is a CustomTextCLIP, with its text transformer as `text`.
    """
    clip = clip_of(backbone)
    if isinstance(clip, CLIP | CustomTextCLIP):
        return cast(CLIP, clip)
    made = CLIP(**clip.config)
    made.load_state_dict(clip.state_dict())
    return made.eval().requires_grad_(requires_grad=False).to(backbone.device)


def _tokenizer(architecture: Architecture, source: WeightSource) -> LazyTokenizer | HubTokenizer:
    if architecture.hub_tokenizer is None:
        return LazyTokenizer()
    return HubTokenizer(architecture.name, architecture.config["text_cfg"], source.tokenizer)


def _create_model(settings: BackboneSettings, source: WeightSource, size: int) -> CLIP | CustomTextCLIP:
    """Build an open_clip model for images of `size` pixels with the weights of a source."""
    try:
        hub = offline_without_hub() if source.is_tag else nullcontext()
        with warnings.catch_warnings(), quiet_logging(), hub, tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")
            weights = source.pretrained
            if not source.is_tag and is_archive(Path(weights)):
                weights = str(unpack_archive(Path(weights), Path(folder)))
            model = create_model(settings.name, weights, force_image_size=size, force_quick_gelu=source.quick_gelu)
    except Exception as error:  # a download or a foreign file may raise anything
        raise InputError(_load_failure(settings, source, error)) from error
    return cast(CLIP | CustomTextCLIP, model)


def _load_failure(settings: BackboneSettings, source: WeightSource, error: Exception) -> str:
    if source.is_tag and is_local_only():
        return (
            f"the weights {settings.pretrained} of {settings.name} are not on this machine, and no file of a detector"
            f" has them downloaded unasked: ask for them by `pretrained` {settings.pretrained} (in Python `weights=`)"
        )
    if source.is_tag:
        return (
            f"cannot download the weights {settings.pretrained} of {settings.name}; connect this machine to the"
            " network, or fetch the file elsewhere and give it as `pretrained`, or use the `backbone` tiny"
        )
    holds = f"{settings.pretrained} does not hold weights of {settings.name}"
    return f"{holds}: {in_one_line(error)}; give the file of this architecture"
