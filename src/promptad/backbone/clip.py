"""The backbone: one frozen CLIP, found, loaded, named and fed."""

import difflib
import hashlib
import logging
import math
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, cast

import huggingface_hub
import numpy as np
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.factory import create_model, get_model_config, list_models
from open_clip.model import CLIP
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from torch import Tensor

from promptad.backbone.embedded import embedded_config, load_embedded
from promptad.backbone.feature_cache import FeatureCache, picture_sha256
from promptad.backbone.image_tower import ImageTower
from promptad.backbone.text_tower import TextTower
from promptad.data.geometry import square_picture
from promptad.errors import InputError
from promptad.records import ImageFeatures
from promptad.settings import EMBEDDED, BackboneSettings

CACHED_FORMAT = 1  # goes up with every change of what features are

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen CLIP: both towers, its tokenizer, its normalisation and its temperature."""

    settings: BackboneSettings
    image_tower: ImageTower
    text_tower: TextTower
    tokenizer: SimpleTokenizer
    mean: Tensor  # [3, 1, 1], of pixels in [0, 1]
    std: Tensor  # [3, 1, 1]
    temperature: float  # what CLIP multiplies cosines by before its softmax
    weights_sha256: str
    device: torch.device
    cache: FeatureCache | None = None

    @property
    def log_temperature(self) -> float:
        """The logarithm of the temperature, which is what a CLIP stores."""
        return math.log(self.temperature)

    @property
    def resize(self) -> int:
        """Pixels a picture is resized to before its central square is taken."""
        return self.settings.resize or self.settings.crop or self.image_tower.image_size

    def square_of(self, side: int) -> tuple[int, int]:
        """Return the sizes to resize and to crop to, so that `side` pixels show just what the backbone sees."""
        return round(side * self.resize / self.image_tower.image_size), side

    def pixels(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Return RGB pictures as normalised pixels [N, 3, S, S]."""
        return self._normalised([self._square(picture) for picture in pictures])

    def encode_pictures(
        self,
        pictures: Sequence[Any],
        batch_size: int,
        read: Callable[[Any], Image.Image],
        advance: Callable[[int], None] = lambda _: None,
        taps: bool = False,
        local: bool = True,
    ) -> ImageFeatures:
        """Encode N pictures, `batch_size` at a time, while the next batch is being read; known ones are looked up.

        Args:
            pictures: whatever `read` turns into RGB pictures, so that only two batches of them are in memory.
            batch_size: pictures that go through the image tower together.
            read: opens one picture; it is called in several threads.
            advance: told after each batch how many pictures are done with it, for a progress bar.
            taps: whether the layers that a memory bank reads are wanted too.
            local: whether patch tokens are wanted; without them features have none, and are not kept.
        """
        with ThreadPoolExecutor() as pool:
            keys = [None] * len(pictures) if self.cache is None else list(pool.map(self._key, pictures))
            features = list(pool.map(partial(self._look_up, taps=taps, local=local), keys))
            missing = [number for number, known in enumerate(features) if known is None]
            if len(missing) < len(pictures):
                advance(len(pictures) - len(missing))
            batches = [missing[start : start + batch_size] for start in range(0, len(missing), batch_size)]
            reading = (pool.map(lambda i: self._square(read(pictures[i])), batch) for batch in batches)
            for batch, squares in zip(batches, _one_ahead(reading), strict=True):
                encoded = self.image_tower.encode(self._normalised(list(squares)), taps, local)
                for row, number in enumerate(batch):
                    features[number] = _row(encoded, row)
                advance(len(batch))
                if self.cache is not None and local:
                    list(pool.map(self.cache.write, [keys[i] for i in batch], [features[i] for i in batch]))
        if self.cache is not None and missing:
            self.cache.prune()
        return _joined([known for known in features if known is not None])

    def _square(self, picture: Image.Image) -> np.ndarray:
        """Return the square [S, S, 3] of an RGB picture that the image tower sees, in uint8."""
        return np.asarray(square_picture(picture, self.resize, self.image_tower.image_size))

    def _normalised(self, squares: Sequence[np.ndarray]) -> Tensor:
        stacked = torch.from_numpy(np.stack(squares))
        if self.device.type == "cuda":
            stacked = stacked.pin_memory().to(self.device, non_blocking=True)
        return (stacked.permute(0, 3, 1, 2) / 255 - self.mean) / self.std

    def _key(self, picture: Any) -> str:
        """Return the cache's key of a picture: all that decides its features."""
        prepared = (self.resize, self.image_tower.image_size, self.mean.tolist(), self.std.tolist())
        by = (self.settings.name, self.settings.precision, self.weights_sha256, self.device.type)
        return hashlib.sha256(repr((CACHED_FORMAT, picture_sha256(picture), prepared, by)).encode()).hexdigest()

    def _look_up(self, key: str | None, taps: bool, local: bool) -> ImageFeatures | None:
        if self.cache is None or key is None:
            return None
        known = self.cache.read(key, taps)
        if known is None:
            return None
        known = known if local else replace(known, patch_tokens=known.patch_tokens[:, :0])
        return moved(known, self.device)

    def token_ids(self, text: str) -> list[int]:
        """Return the tokens of `text`, without start and end."""
        ids: list[int] = self.tokenizer.encode(text)  # type: ignore[no-untyped-call]
        return ids


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


def moved(features: ImageFeatures, device: torch.device) -> ImageFeatures:
    """Return features on a device."""
    taps = features.taps and (features.taps[0].to(device), features.taps[1].to(device))
    return ImageFeatures(features.class_token.to(device), features.patch_tokens.to(device), taps)


def _row(features: ImageFeatures, row: int) -> ImageFeatures:
    """Return the features of one picture, as those of a batch of one."""
    own = slice(row, row + 1)
    taps = features.taps and (features.taps[0][own], features.taps[1][own])
    return ImageFeatures(features.class_token[own], features.patch_tokens[own], taps)


def _joined(batches: Sequence[ImageFeatures]) -> ImageFeatures:
    """Return the features of all batches as one."""
    pairs = [features.taps for features in batches if features.taps]
    taps = [torch.cat(layer) for layer in zip(*pairs, strict=True)]
    return ImageFeatures(
        torch.cat([features.class_token for features in batches]),
        torch.cat([features.patch_tokens for features in batches]),
        (taps[0], taps[1]) if taps else None,
    )


def _one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items, each when the one behind it has been begun."""
    iterator = iter(items)
    ahead = deque(islice(iterator, 1))
    for item in iterator:
        ahead.append(item)
        yield ahead.popleft()
    yield from ahead


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
