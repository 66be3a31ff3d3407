"""The backbone: one frozen CLIP, and how images are fed to it."""

import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor

from promptad.backbones.base import ImageEncoder, TextEncoder, Tokenizer
from promptad.backbones.feature_cache import FeatureCache
from promptad.data.images import ImageLike, read_each
from promptad.data.reading import Reading
from promptad.data.squares import square_image
from promptad.features import ImageFeatures
from promptad.settings import BackboneSettings

CACHED_FORMAT = 3  # to be increased whenever the features change
LIBRARIES = (PIL.__version__, torch.__version__)  # other versions may differ in the last bits

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen CLIP: both encoders, its tokenizer, its normalisation and its temperature."""

    settings: BackboneSettings  # that it was loaded by
    image_encoder: ImageEncoder  # images to class tokens, patch tokens and layers
    text_encoder: TextEncoder  # prompts to text features
    tokenizer: Tokenizer  # words to tokens
    mean: Tensor  # [3, 1, 1], of pixels in [0, 1]
    std: Tensor  # [3, 1, 1]
    temperature: float  # the factor of cosines before CLIP's softmax
    weights_sha256: str  # of the weights, as loaded
    device: torch.device  # that it computes on
    cache: FeatureCache | None = None  # of features on disk

    @property
    def log_temperature(self) -> float:
        """The logarithm of the temperature, as CLIP stores it."""
        return math.log(self.temperature)

    @property
    def resize(self) -> int:
        """The size, in pixels, that an image is resized to before its central square is cropped."""
        return self.settings.resize or self.settings.crop or self.image_encoder.image_size

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """Return RGB images as normalised pixels [N, 3, S, S]."""
        return self._normalised(np.stack([self._square(image) for image in images]))

    def encode_images(
        self,
        images: Sequence[ImageLike],
        batch_size: int,
        reading: Reading | None = None,
        advance: Callable[[int], None] = lambda _: None,
        layers: bool = False,
        local: bool = True,
    ) -> ImageFeatures:
        """Encode the windows of N images, or look them up in the cache; a GPU encodes while the next are read.

        Most images are one window each; of tiled ones all tiles come in turn.

        Args:
            images: paths, PIL images, arrays or tensors; no more than two batches of pixels are in memory at a time.
            batch_size: windows that go through the image encoder together.
            reading: how images are read; None is each as a whole.
            advance: called after each batch with its number of images, for a progress bar.
            layers: whether to return the intermediate layers for a memory bank too.
            local: whether to return patch tokens; features computed without them are not cached.
        """
        with ThreadPoolExecutor() as pool:
            reading = reading or Reading()
            count = reading.tiles.count
            key_of = partial(self._key, reading=reading)
            keys = [None] * len(images) if self.cache is None else list(pool.map(key_of, images))
            features = list(pool.map(partial(self._look_up, layers=layers, local=local), keys))
            missing = [number for number, known in enumerate(features) if known is None]
            if len(missing) < len(images):
                advance(len(images) - len(missing))
            together = max(1, batch_size // count)
            batches = [missing[start : start + together] for start in range(0, len(missing), together)]
            read = partial(self._read_squares, reading=reading)
            coming = (read_each(pool, read, [images[i] for i in batch]) for batch in batches)
            # On a CPU, reading threads would delay the encoding threads, which wait for each other at every layer.
            ahead = coming if self.device.type == "cpu" else _one_ahead(coming)
            for batch, of_images in zip(batches, ahead, strict=True):
                squares = [square for of_image in of_images for square in of_image]
                encoded = self._encode_parts(squares, batch_size, layers, local)
                for row, number in enumerate(batch):
                    features[number] = encoded.rows(slice(row * count, (row + 1) * count))
                advance(len(batch))
                if self.cache is not None and local:
                    list(pool.map(self.cache.write, [keys[i] for i in batch], [features[i] for i in batch]))
        if self.cache is not None and missing:
            self.cache.prune()
        return ImageFeatures.joined([known for known in features if known is not None])

    def encode_squares(self, squares: np.ndarray, layers: bool = False, local: bool = True) -> ImageFeatures:
        """Encode RGB squares [N, S, S, 3] uint8 together; `layers` and `local` are as of `encode_images`."""
        return self.image_encoder.encode(self._normalised(squares), layers, local)

    def _encode_parts(self, squares: Sequence[np.ndarray], batch_size: int, layers: bool, local: bool) -> ImageFeatures:
        """Encode squares, `batch_size` at a time: those of one image may be more."""
        parts = [squares[start : start + batch_size] for start in range(0, len(squares), batch_size)]
        return ImageFeatures.joined([self.encode_squares(np.stack(part), layers, local) for part in parts])

    def _read_squares(self, image: ImageLike, reading: Reading) -> list[np.ndarray]:
        return [self._square(window) for window in reading.windows(image)]

    def _square(self, image: Image.Image) -> np.ndarray:
        """Return the square [S, S, 3] uint8 of an RGB image, the image encoder's input before normalisation."""
        return np.asarray(square_image(image, self.resize, self.image_encoder.image_size))

    def _normalised(self, squares: np.ndarray) -> Tensor:
        stacked = torch.from_numpy(squares)
        if self.device.type == "cuda":
            stacked = stacked.pin_memory().to(self.device, non_blocking=True)
        return (stacked.permute(0, 3, 1, 2) / 255 - self.mean) / self.std

    def _key(self, image: ImageLike, reading: Reading) -> str:
        """Return the cache key of an image, which covers everything that its features depend on."""
        prepared = (self.resize, self.image_encoder.image_size, self.mean.tolist(), self.std.tolist())
        layers = self.image_encoder.layer_indices
        where = (self.device.type, self.image_encoder.engine, *LIBRARIES)
        by = (self.settings.name, self.settings.precision, self.weights_sha256, *where)
        content = (CACHED_FORMAT, *reading.key(image), prepared, layers, by)
        return hashlib.sha256(repr(content).encode()).hexdigest()

    def _look_up(self, key: str | None, layers: bool, local: bool) -> ImageFeatures | None:
        if self.cache is None or key is None:
            return None
        known = self.cache.read(key, layers)
        if known is None:
            return None
        known = known if local else replace(known, patch_tokens=known.patch_tokens[:, :0])
        return known.map(lambda tensor: tensor.to(self.device))

    def token_ids(self, text: str) -> list[int]:
        """Return the tokens of `text`, without start and end."""
        return self.tokenizer.encode(text)

    def prompt_ids(self, text: str) -> list[int]:
        """Return the tokens of `text` as a whole prompt, with start and end."""
        return [self.tokenizer.sot_token_id, *self.token_ids(text), self.tokenizer.eot_token_id]


def _one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items, each after the next one has been requested from `items`."""
    iterator = iter(items)
    ahead = deque(islice(iterator, 1))
    for item in iterator:
        ahead.append(item)
        yield ahead.popleft()
    yield from ahead
