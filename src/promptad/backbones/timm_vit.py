"""Plain ViTs of timm as encoders of patch features, which a memory bank is made of: DINOv2, DINOv3 and others.

They know no words, and err otherwise than a CLIP does. timm comes with open_clip; its import takes seconds.
"""

import difflib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptad.backbones.attention import in_precision
from promptad.backbones.frozen_clip import check_finite, check_multiple, hash_weights
from promptad.backbones.image_encoder import in_parts
from promptad.data.squares import INTERPOLATIONS
from promptad.errors import InputError, in_one_line
from promptad.settings import HUB, MEMORY_BACKBONES, BackboneSettings
from promptad.utils.quiet import quiet_logging

TIMM = "timm:"  # before the name, there, of any other plain ViT of timm
FREE_LICENCES = ("apache-2.0", "mit", "bsd-3-clause")
DINOV3_LICENCE = (
    "under Meta's DINOv3 License, which is no open-source one: it goes along with the weights and what is made of them,"
    " and forbids some uses; read https://ai.meta.com/resources/models-and-libraries/dinov3-license/"
)


@dataclass(eq=False)
class TimmViT:
    """A frozen plain ViT of timm; the features are those of patches after some blocks, under the model's last norm.

    The last block's are what DINOv2's `get_intermediate_layers` gives, and AnomalyDINO (Damm et al., WACV 2025) takes.
    Class and register tokens are left out.
    """

    model: nn.Module
    image_size: int
    interpolation: str
    layer_indices: tuple[int, ...]  # counted from 0
    mean: Tensor
    std: Tensor
    weights_sha256: str
    precision: torch.dtype = torch.float32
    engine: str = "torch"

    @property
    def width(self) -> int:
        """The width of the features."""
        return cast(int, self.model.embed_dim)

    @property
    def side(self) -> int:
        """The number of patches a side."""
        return self.image_size // cast(int, cast(Any, self.model).patch_embed.patch_size[0])

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Encode normalised pixels [N, 3, S, S] into unit features [N, side², width], of each of `layer_indices`."""
        with in_precision(pixels.device, self.precision):
            encoded = [self.features(part) for part in in_parts(pixels, self.side**2 * self.width)]
        return tuple(torch.cat(same_layer).float() for same_layer in zip(*encoded, strict=True))

    def features(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return what `encode` does, of all pixels at once; it can be traced."""
        found: list[Tensor] = cast(Any, self.model).forward_intermediates(
            pixels,
            indices=list(self.layer_indices),
            norm=True,
            stop_early=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        by_block = dict(zip(sorted(self.layer_indices), found, strict=True))
        return tuple(F.normalize(by_block[number], dim=-1) for number in self.layer_indices)


def load_timm_vit(settings: BackboneSettings, device: torch.device) -> TimmViT:
    """Load and freeze the memory backbone that is named in `settings`; its weights are kept in float32.

    For another picture size than its own, timm interpolates the positions.

    Raises:
        InputError: an unknown name, no plain ViT, a picture size that is no multiple of the patch size, or weights that
            are missing or do not fit.
    """
    model = _model_of(settings)
    _load_weights(model, timm_name(settings.memory_backbone), settings)
    return _frozen(model, settings, device)


def untrained_timm_vit(settings: BackboneSettings, device: torch.device) -> TimmViT:
    """Return the memory backbone that is named in `settings` with random weights: nothing is downloaded.

    Raises:
        InputError: as of `load_timm_vit`, but for weights.
    """
    return _frozen(_model_of(settings), settings, device)


def _model_of(settings: BackboneSettings) -> Any:
    name = timm_name(settings.memory_backbone)
    check_multiple("memory_size", settings.memory_size, settings.memory_backbone, _patch_size(name, settings))
    return _build(name, settings.memory_size)


def _frozen(model: Any, settings: BackboneSettings, device: torch.device) -> TimmViT:
    config = model.pretrained_cfg
    frozen = model.eval().requires_grad_(requires_grad=False).to(device)
    return TimmViT(
        model=frozen,
        image_size=settings.memory_size,
        interpolation=config["interpolation"] if config["interpolation"] in INTERPOLATIONS else "bicubic",
        layer_indices=blocks_until(settings.memory_backbone_layers, len(frozen.blocks)),
        mean=torch.tensor(config["mean"], device=device).view(3, 1, 1),
        std=torch.tensor(config["std"], device=device).view(3, 1, 1),
        weights_sha256=hash_weights(frozen),
        precision=getattr(torch, settings.precision),
    )


def timm_name(name: str) -> str:
    """Return timm's name of a memory backbone.

    Raises:
        InputError: it is unknown.
    """
    if name in MEMORY_BACKBONES:
        return MEMORY_BACKBONES[name]
    import timm  # noqa: PLC0415 as above

    plain = name.removeprefix(TIMM)
    if name.startswith(TIMM) and timm.is_model(plain):
        return plain
    known = [*MEMORY_BACKBONES, *(TIMM + own for own in timm.list_models())]
    near = difflib.get_close_matches(name, known, n=3) or list(MEMORY_BACKBONES)
    raise InputError(f"unknown `memory_backbone` {name!r}; nearest: {', '.join(near)}")


def blocks_until(depths: tuple[float, ...], count: int) -> tuple[int, ...]:
    """Return the numbers of blocks, from 0, that end at these shares of a depth of `count` blocks.

    >>> blocks_until((0.5, 0.67, 1.0), 12)
    (5, 7, 11)
    """
    return tuple(dict.fromkeys(max(round(depth * count), 1) - 1 for depth in depths))


def licence_note(settings: BackboneSettings) -> str:
    """Return what to know of the licence of a memory backbone's weights; empty where they are free to use, or none."""
    if not settings.memory_backbone:
        return ""
    import timm  # noqa: PLC0415 as above

    config = timm.get_pretrained_cfg(timm_name(settings.memory_backbone), allow_unregistered=True)
    licence = (config and config.license) or ""
    if not licence or licence in FREE_LICENCES:
        return ""
    terms = DINOV3_LICENCE if licence == "dinov3-license" else f"under the licence {licence}: read what it allows"
    return f"the published weights of {settings.memory_backbone} are {terms}"


def memory_weights_are_known(settings: BackboneSettings) -> bool:
    """Whether anyone can have the memory backbone's weights by its name, or there is none; a file is one's own."""
    return not settings.memory_backbone or settings.memory_pretrained == HUB


def _patch_size(name: str, settings: BackboneSettings) -> int:
    """Return the patch size of a plain ViT, of which nothing is kept.

    Raises:
        InputError: it is no plain ViT.
    """
    from timm.models import eva, vision_transformer  # noqa: PLC0415 as above

    with torch.device("meta"):
        model = _build(name)
    plain = isinstance(model, eva.Eva) or type(model) is vision_transformer.VisionTransformer
    if not plain or isinstance(model.norm, nn.Identity):
        raise InputError(
            f"`memory_backbone` {settings.memory_backbone!r} is no plain ViT with a norm at its end: use one such as"
            f" {', '.join(MEMORY_BACKBONES)}"
        )
    return cast(int, model.patch_embed.patch_size[0])


def _build(name: str, size: int | None = None) -> Any:
    """Return a model of timm for images of `size` pixels, None its own, with random weights and without a head."""
    import timm  # noqa: PLC0415 as above

    sized: dict[str, Any] = {} if size is None else {"img_size": size}
    with warnings.catch_warnings(), quiet_logging():
        warnings.simplefilter("ignore")
        return timm.create_model(name, num_classes=0, **sized)


def _load_weights(model: Any, name: str, settings: BackboneSettings) -> None:
    """Load the weights of a file, or of timm's hub, into a model.

    Raises:
        InputError: they are missing, do not fit, or hold numbers that are none.
    """
    from timm.models import eva, vision_transformer  # noqa: PLC0415 as above

    source = settings.memory_pretrained
    state = _of_hub(name, settings) if source == HUB else _of_file(Path(source), settings)
    adapt = eva.checkpoint_filter_fn if isinstance(model, eva.Eva) else vision_transformer.checkpoint_filter_fn
    try:
        with warnings.catch_warnings(), quiet_logging():
            warnings.simplefilter("ignore")
            adapted = {key: value.float() for key, value in adapt(state, model).items() if not key.startswith("head.")}
            missing, unknown = model.load_state_dict(adapted, strict=False)
    except Exception as error:  # a foreign file may raise anything
        raise InputError(f"{_does_not_fit(source, settings)}: {in_one_line(error)}") from error
    if missing or unknown:
        said = f"{missing[0]} is missing" if missing else f"{unknown[0]} is too much"
        raise InputError(f"{_does_not_fit(source, settings)}: {said}; give the file of this architecture")
    check_finite(model, f"`memory_pretrained` {source}")


def _does_not_fit(source: str, settings: BackboneSettings) -> str:
    return f"`memory_pretrained` {source} does not hold weights of {settings.memory_backbone}"


def _of_file(file: Path, settings: BackboneSettings) -> dict[str, Tensor]:
    """Return the tensors of a file, .safetensors or as torch saves them; nothing else in it is run.

    Raises:
        InputError: it is not there, or holds none.
    """
    if not file.is_file():
        raise InputError(f"`memory_pretrained` {file}: no such file; give one, or `memory_pretrained` {HUB}")
    from timm.models import load_state_dict  # noqa: PLC0415 as above

    try:
        return cast(dict[str, Tensor], load_state_dict(str(file), weights_only=True))
    except Exception as error:  # a foreign file may raise anything
        raise InputError(f"{_does_not_fit(str(file), settings)}: it is no file of tensors") from error


def _of_hub(name: str, settings: BackboneSettings) -> dict[str, Tensor]:
    """Return the tensors that timm's hub has by a name.

    Raises:
        InputError: it has none, or cannot be reached, and they are not in the local cache.
    """
    import timm  # noqa: PLC0415 as above
    from timm.models import load_state_dict_from_hf  # noqa: PLC0415 as above

    from promptad.backbones.hub_access import is_local_only, offline_without_hub  # noqa: PLC0415 as above

    config: Any = timm.get_pretrained_cfg(name, allow_unregistered=True)
    place = config and config.hf_hub_id
    if not place:
        raise InputError(f"timm knows no weights of {settings.memory_backbone}: give a file by `memory_pretrained`")
    file: dict[str, Any] = {"filename": config.hf_hub_filename} if config.hf_hub_filename else {}
    try:
        with quiet_logging(), offline_without_hub():
            return cast(dict[str, Tensor], load_state_dict_from_hf(place, weights_only=True, **file))
    except Exception as error:  # a download may raise anything
        if is_local_only():
            raise InputError(
                f"the weights of {settings.memory_backbone} are not on this machine, and no file of a detector has them"
                f" downloaded unasked: ask for them by `memory_pretrained` {HUB} (in Python `memory_weights=`)"
            ) from error
        raise InputError(
            f"cannot download the weights of {settings.memory_backbone} ({place}); connect this machine to the network,"
            " or fetch the file elsewhere and give it as `memory_pretrained`"
        ) from error
