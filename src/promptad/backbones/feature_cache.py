"""The feature cache: the image encoder's features, stored on disk for later runs."""

import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from promptad.features import ImageFeatures

CHECKSUM = 4  # bytes before a file's tensors


class FeatureCache:
    """Features of single images in a folder, keyed by everything that they depend on.

    A key covers the image's content, its preprocessing, the backbone and its weights. Class and patch tokens are in
    one file, the larger intermediate layers in a second one that is read only if needed. Files are written whole, with
    a checksum: a damaged one counts as absent. A folder that cannot be written to is ignored: the cache may cost time
    but never a result. Above the size limit, the least recently used files are deleted first.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        """Store up to `limit` bytes in a folder."""
        self.folder, self.limit = folder, limit

    def read(self, key: str, layers: bool) -> ImageFeatures | None:
        """Return the features of one image, with intermediate layers if `layers`; None if they are not stored."""
        tokens = _read_file(self._file(key, "tokens"))
        intermediate = _read_file(self._file(key, "layers")) if layers and tokens else {}
        if tokens is None or intermediate is None:
            return None
        in_order = tuple(intermediate[str(number)] for number in range(len(intermediate)))
        return ImageFeatures(tokens["class_token"], tokens["patch_tokens"], in_order)

    def write(self, key: str, features: ImageFeatures) -> None:
        """Store the features of one image."""
        _write_file(
            self._file(key, "tokens"), {"class_token": features.class_token, "patch_tokens": features.patch_tokens}
        )
        if features.layers:
            _write_file(self._file(key, "layers"), {str(n): layer for n, layer in enumerate(features.layers)})

    def prune(self) -> None:
        """Delete the least recently used files until all together are within the limit."""
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


def default_cache_folder() -> Path:
    """The cache folder: $PROMPTAD_CACHE, else `promptad` in the user's cache folder."""
    if own := os.environ.get("PROMPTAD_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "promptad"


def _read_file(file: Path) -> dict[str, Tensor] | None:
    """Return the tensors of a file and update its time of last use; None if it is absent or damaged."""
    try:
        content = file.read_bytes()
        if zlib.crc32(content[CHECKSUM:]).to_bytes(CHECKSUM, "big") != content[:CHECKSUM]:
            return None
        with suppress(OSError):  # another user's folder can still be read
            os.utime(file)
        return load(content[CHECKSUM:])
    except (OSError, SafetensorError):
        return None


def _write_file(file: Path, tensors: Mapping[str, Tensor]) -> None:
    content = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
    temporary = file.with_name(f".{file.name}.{uuid4().hex}")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(zlib.crc32(content).to_bytes(CHECKSUM, "big") + content)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
