"""The feature cache: what the image encoder said of an image, kept on disk for the next run."""

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

CHECKSUM = 4  # bytes in front of a file's tensors


class FeatureCache:
    """Features of single images in a folder, found by what they were computed from.

    A key says all that decides features: the image's content, how it is prepared, the backbone and its weights. Class
    and patch tokens are in one file, the larger intermediate layers in a second one, read only if they are asked for. A
    file appears whole and carries a checksum: a damaged one counts as absent. A folder that cannot be written to is
    left alone, for a cache may cost time but never a result. Of too many files those least recently used go first.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        """Keep up to `limit` bytes in a folder."""
        self.folder, self.limit = folder, limit

    def read(self, key: str, layers: bool) -> ImageFeatures | None:
        """Return the features of one image, with layers if they are asked for, or None."""
        tokens = _read_file(self._file(key, "tokens"))
        intermediate = _read_file(self._file(key, "layers")) if layers and tokens else {}
        if tokens is None or intermediate is None:
            return None
        in_order = tuple(intermediate[str(number)] for number in range(len(intermediate)))
        return ImageFeatures(tokens["class_token"], tokens["patch_tokens"], in_order)

    def write(self, key: str, features: ImageFeatures) -> None:
        """Keep the features of one image."""
        _write_file(
            self._file(key, "tokens"), {"class_token": features.class_token, "patch_tokens": features.patch_tokens}
        )
        if features.layers:
            _write_file(self._file(key, "layers"), {str(n): layer for n, layer in enumerate(features.layers)})

    def prune(self) -> None:
        """Delete the files least recently used as long as all together are over the limit."""
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
    """The folder of the cache: $PROMPTAD_CACHE, else `promptad` in the user's folder for caches."""
    if own := os.environ.get("PROMPTAD_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "promptad"


def _read_file(file: Path) -> dict[str, Tensor] | None:
    """Return the tensors of a file, and note that it was used; None where it is absent or damaged."""
    try:
        content = file.read_bytes()
        if zlib.crc32(content[CHECKSUM:]).to_bytes(CHECKSUM, "big") != content[:CHECKSUM]:
            return None
        with suppress(OSError):  # a folder of another user may be read all the same
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
