"""The feature cache: the image encoder's features, stored on disk for later runs."""

import os
import tempfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias, Union
from uuid import uuid4

from platformdirs import user_cache_path
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from promptad.features import ImageFeatures
from promptad.utils.files import remove_partials

CHECKSUM = 4  # bytes before a file's tensors
USUAL_LIMIT = 4.0 * 2**30  # bytes of all files

CacheLike: TypeAlias = Union["FeatureCache", str, Path, bool, None]


class CacheKey(NamedTuple):
    """What the features of one image are stored by: its tokens, and its layers, which may be of a second encoder."""

    tokens: str
    layers: str


@dataclass(frozen=True)
class FeatureCache:
    """Features of single images in a folder, keyed by everything that they depend on.

    A key covers the image's content, its preprocessing, the backbone and its weights. Class and patch tokens are in
    one file, the larger intermediate layers in a second one that is read only if needed. Files are written whole, with
    a checksum of name and content: one that is damaged, or of something else, counts as absent. A folder that cannot be
    written to is ignored: the cache may cost time but never a result. Above the size limit, the least recently used
    files are deleted first.
    """

    folder: Path
    limit: float = USUAL_LIMIT  # bytes of all files

    def read(self, key: CacheKey, layers: bool) -> ImageFeatures | None:
        """Return the features of one image, with intermediate layers if `layers`; None if they are not stored."""
        tokens = _read_file(self._file(key.tokens, "tokens"))
        intermediate = _read_file(self._file(key.layers, "layers")) if layers and tokens else {}
        if tokens is None or intermediate is None:
            return None
        try:
            in_order = tuple(intermediate[str(number)] for number in range(len(intermediate)))
            features = ImageFeatures(tokens["class_token"], tokens["patch_tokens"], in_order)
        except KeyError:
            return None
        return features if _is_of_one_image(features, one_grid=key.tokens == key.layers) else None

    def write(self, key: CacheKey, features: ImageFeatures) -> None:
        """Store the features of one image."""
        tokens = {"class_token": features.class_token, "patch_tokens": features.patch_tokens}
        _write_file(self._file(key.tokens, "tokens"), tokens)
        if features.layers:
            _write_file(self._file(key.layers, "layers"), {str(n): layer for n, layer in enumerate(features.layers)})

    def prune(self) -> None:
        """Delete the least recently used files until all together are within the limit, and abandoned partial files."""
        remove_partials(self.folder.glob("*/.*"))
        found = []
        for file in self.folder.glob("*/*"):
            try:
                state = file.stat()
            except OSError:
                continue  # another process deleted it
            found.append((state.st_mtime, state.st_size, file))
        size = sum(row[1] for row in found)
        for _, bytes_, file in sorted(found):
            if size <= self.limit:
                return
            with suppress(OSError):  # of another user, or deleted by another process
                file.unlink()
                size -= bytes_

    def _file(self, key: str, part: str) -> Path:
        return self.folder / key[:2] / f"{key}.{part}"


def as_cache(cache: CacheLike) -> FeatureCache | None:
    """Return a cache: itself, one in a folder, for True the one of the command line; None for False and None."""
    if isinstance(cache, str | Path):
        return FeatureCache(Path(cache))
    if isinstance(cache, bool):
        return FeatureCache(default_cache_folder()) if cache else None
    return cache


def default_cache_folder() -> Path:
    """The cache folder: $PROMPTAD_CACHE, else the user's on this system, or without a home one for temporary files."""
    if own := os.environ.get("PROMPTAD_CACHE"):
        return Path(own)
    with suppress(RuntimeError):  # containers may run as a user of no name
        folder = user_cache_path("promptad", appauthor=False)
        if folder.is_absolute():  # older versions answer ~
            return folder
    return Path(tempfile.gettempdir()) / f"promptad-{os.getuid()}"


def _read_file(file: Path) -> dict[str, Tensor] | None:
    """Return the tensors of a file and update its time of last use; None if it is absent or damaged."""
    try:
        content = file.read_bytes()
        if _checksum(file, content[CHECKSUM:]) != content[:CHECKSUM]:
            return None
        with suppress(OSError):  # another user's folder can still be read
            os.utime(file)
        return load(content[CHECKSUM:])
    except (OSError, SafetensorError):
        return None


def _checksum(file: Path, content: bytes) -> bytes:
    """Return the checksum of a content under its name: what was written for another image does not pass for it."""
    return zlib.crc32(content, zlib.crc32(file.name.encode())).to_bytes(CHECKSUM, "big")


def _is_of_one_image(features: ImageFeatures, one_grid: bool) -> bool:
    """Whether features have the shapes of one image's, and finite numbers; layers may have a grid of their own."""
    tensors = (features.patch_tokens, *features.layers)
    grid = features.patch_tokens if one_grid or not features.layers else features.layers[0]
    alike = all(layer.shape[:2] == grid.shape[:2] for layer in features.layers)
    shapes = alike and len(grid) == len(features.patch_tokens) and all(tensor.dim() == 3 for tensor in tensors)
    windows, _, dimensions = features.patch_tokens.shape if shapes else (0, 0, 0)
    sizes = windows > 0 and features.class_token.shape == (windows, dimensions)
    return shapes and sizes and all(bool(tensor.isfinite().all()) for tensor in (features.class_token, *tensors))


def _write_file(file: Path, tensors: Mapping[str, Tensor]) -> None:
    content = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
    temporary = file.with_name(f".{file.name}.{uuid4().hex}")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(_checksum(file, content) + content)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
