"""The backbone: one frozen CLIP, and how images are fed to it."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor, nn

from promptad.backbones.base import ImageEncoder, PatchEncoder, TextEncoder, Tokenizer
from promptad.backbones.feature_cache import CacheKey, FeatureCache
from promptad.data.batches import read_batches
from promptad.data.images import ImageLike
from promptad.data.reading import Reading
from promptad.data.squares import packed, square_image, unpacked
from promptad.features import ImageFeatures
from promptad.settings import BackboneSettings

CACHED_FORMAT = 3  # to be increased whenever the features change
LIBRARIES = (PIL.__version__, torch.__version__)  # other versions may differ in the last bits


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
    clip: nn.Module | None = field(default=None, repr=False)  # the model that both encoders are parts of
    quick_gelu: bool = False  # whether its activation is QuickGELU, which the weights do not tell
    cache: FeatureCache | None = None  # of features on disk
    memory: PatchEncoder | None = None  # a second encoder, whose features a memory bank is made of; None: the CLIP's

    @property
    def on_gpu(self) -> bool:
        """Whether it computes on a GPU."""
        return self.device.type != "cpu"

    @property
    def log_temperature(self) -> float:
        """The logarithm of the temperature, as CLIP stores it."""
        return math.log(self.temperature)

    @property
    def resize(self) -> int:
        """The size, in pixels, that an image is resized to before its central square is cropped."""
        return self.settings.resize or self.settings.crop or self.image_encoder.image_size

    @property
    def banked(self) -> ImageEncoder | PatchEncoder:
        """The encoder whose layers a memory bank is made of."""
        return self.image_encoder if self.memory is None else self.memory

    @property
    def memory_resize(self) -> int:
        """The size that an image is resized to for the memory's encoder: its square shows what the CLIP's shows."""
        assert self.memory is not None, "there is no encoder for the memory bank"
        return round(self.memory.image_size * self.resize / self.image_encoder.image_size)

    @property
    def canvas(self) -> int:
        """The size that views of support images are made in: that of the encoder that sees more."""
        return self.resize if self.memory is None else max(self.resize, self.memory_resize)

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """Return RGB images as the CLIP's normalised pixels [N, 3, S, S]."""
        squares = np.stack([self._square(image, layers=False) for image in images])
        return self._normalised(squares, self.mean, self.std)

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
            key_of = partial(self._key, reading=reading)
            keys: list[CacheKey | None] = [None] * len(images)
            keys = keys if self.cache is None else list(pool.map(key_of, images))
            features = list(pool.map(partial(self._look_up, layers=layers, local=local), keys))
            missing = [number for number, known in enumerate(features) if known is None]
            if len(missing) < len(images):
                advance(len(images) - len(missing))
            numbers = iter(missing)
            unread = [images[number] for number in missing]
            for encoded in self._encode_batches(pool, unread, batch_size, reading, layers, local):
                batch = list(islice(numbers, len(encoded)))
                for number, own in zip(batch, encoded, strict=True):
                    features[number] = own
                advance(len(batch))
                if self.cache is not None and local:
                    list(pool.map(self.cache.write, [keys[i] for i in batch], encoded))
        if self.cache is not None and missing:
            self.cache.prune()
        return ImageFeatures.joined([known for known in features if known is not None])

    def encode_squares(self, squares: np.ndarray, layers: bool = False, local: bool = True) -> ImageFeatures:
        """Encode RGB squares [N, S, S, 3] uint8 together; `layers` and `local` are as of `encode_images`.

        For a second encoder, each is packed with its square [M, M, 3]: [N, S² + M², 3].
        """
        own, *second = unpacked(squares, self.image_encoder.image_size)
        if not layers or self.memory is None:
            return self.image_encoder.encode(self._normalised(own, self.mean, self.std), layers, local)
        features = self.image_encoder.encode(self._normalised(own, self.mean, self.std), local=local)
        pixels = self._normalised(second[0], self.memory.mean, self.memory.std)
        return replace(features, layers=self.memory.encode(pixels))

    def _encode_batches(
        self,
        pool: Executor,
        images: Sequence[ImageLike],
        batch_size: int,
        reading: Reading,
        layers: bool,
        local: bool,
    ) -> Iterator[list[ImageFeatures]]:
        """Yield the features of images, batch by batch, each image's for itself."""
        count = reading.tiles.count
        read = partial(self._read_squares, reading=reading, layers=layers)
        for _, of_images in read_batches(pool, read, images, max(1, batch_size // count), ahead=self.on_gpu):
            squares = [square for of_image in of_images for square in of_image]
            parts = [squares[start : start + batch_size] for start in range(0, len(squares), batch_size)]
            encoded = ImageFeatures.joined([self.encode_squares(np.stack(part), layers, local) for part in parts])
            yield [encoded.rows(slice(row * count, (row + 1) * count)) for row in range(len(of_images))]

    def _read_squares(self, image: ImageLike, reading: Reading, layers: bool) -> list[np.ndarray]:
        return [self._square(window, layers) for window in reading.windows(image)]

    def _square(self, image: Image.Image, layers: bool) -> np.ndarray:
        """Return the square [S, S, 3] uint8 of an RGB image, the image encoder's input before normalisation.

        With `layers` of a second encoder, its square is packed with it.
        """
        squares = [square_image(image, self.resize, self.image_encoder.image_size)]
        if layers and self.memory is not None:
            squares.append(square_image(image, self.memory_resize, self.memory.image_size, self.memory.interpolation))
        return packed(squares)

    def _normalised(self, squares: np.ndarray, mean: Tensor, std: Tensor) -> Tensor:
        stacked = torch.from_numpy(squares)
        if self.on_gpu:
            stacked = stacked.pin_memory().to(self.device, non_blocking=True)
        return (stacked.permute(0, 3, 1, 2) / 255 - mean) / std

    def _key(self, image: ImageLike, reading: Reading) -> CacheKey:
        """Return the cache key of an image, which covers everything that its features depend on.

        The tokens depend on no second encoder.
        """
        prepared = (self.resize, self.image_encoder.image_size, self.mean.tolist(), self.std.tolist())
        layers = self.image_encoder.layer_indices
        where = (self.device.type, self.image_encoder.engine, *LIBRARIES, *(("QuickGELU",) if self.quick_gelu else ()))
        by = (self.settings.name, self.settings.precision, self.weights_sha256, *where)
        content = (CACHED_FORMAT, *reading.key(image), prepared, layers, by)
        tokens = hashlib.sha256(repr(content).encode()).hexdigest()
        return CacheKey(tokens, tokens) if self.memory is None else CacheKey(tokens, self._memory_key(tokens))

    def _memory_key(self, tokens: str) -> str:
        """Return the cache key of what a second encoder gives, of an image whose tokens have a key."""
        memory = self.memory
        assert memory is not None, "there is no encoder for the memory bank"
        prepared = (memory.image_size, self.memory_resize, memory.interpolation, memory.mean.tolist())
        by = (memory.std.tolist(), memory.layer_indices, memory.weights_sha256, memory.engine)
        name = self.settings.memory_backbone
        return hashlib.sha256(repr((tokens, name, prepared, by)).encode()).hexdigest()

    def _look_up(self, key: CacheKey | None, layers: bool, local: bool) -> ImageFeatures | None:
        if self.cache is None or key is None:
            return None
        known = self.cache.read(key, layers)
        if known is None:
            return None
        known = known if local else replace(known, patch_tokens=known.patch_tokens[:, :0])
        return known.map(lambda tensor: tensor.to(self.device))

    def token_ids(self, text: str, first: bool = True) -> list[int]:
        """Return the tokens of `text`, without start and end; `first` says whether it begins a prompt."""
        return self.tokenizer.encode(text, first)

    def prompt_ids(self, text: str, first: bool = True) -> list[int]:
        """Return the tokens of `text` as a whole prompt, with start and end; not `first`: vectors come before it."""
        return [*self.tokenizer.start, *self.token_ids(text, first), *self.tokenizer.end]
