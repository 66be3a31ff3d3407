"""From uploaded files to records: decoded in a pool of threads, predicted in batches."""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Lock
from typing import BinaryIO, NamedTuple

from PIL import Image

from promptad.data.images import is_large, read_image_bytes
from promptad.data.reading import region_of
from promptad.errors import InputError
from promptad.runtime.overlay import faded, fitted, overlay_png
from promptad.runtime.predict import Loaded, load_image
from promptad.runtime.records import PredictionRecord
from promptad.serve.batching import Places, Worker
from promptad.serve.parts import Part


class Upload(NamedTuple):
    """An uploaded file."""

    name: str
    file: BinaryIO


class Judged(NamedTuple):
    """The record of an image, and its overlay as a PNG file, if it is asked for and the image could be read."""

    record: PredictionRecord
    overlay: bytes | None


class Service:
    """The parts with the threads that work for them.

    Args:
        parts: at least one, under different names.
        queue: the most images that are read, wait or are judged at a time.

    Attributes:
        parts: by their names.
        places: for those images.
    """

    def __init__(self, parts: Sequence[Part], queue: int) -> None:
        self.parts = {part.name: part for part in parts}
        self.places = Places(queue)
        self._decoding = ThreadPoolExecutor(os.cpu_count(), "promptad decode")
        self._one_large = Lock()
        # A tower uses all cores by itself, so that one thread is enough for all of its heads.
        towers = {part.name: id(part.session.tower or part.session) for part in parts}
        workers = {tower: Worker() for tower in towers.values()}
        self._workers = {name: workers[tower] for name, tower in towers.items()}

    async def judge(self, part: Part, uploads: Sequence[Upload], overlays: bool) -> list[Judged]:
        """Judge uploaded images, in their order; those that cannot be read have their errors in their records."""
        return await asyncio.gather(*(self._judge(part, upload, overlays) for upload in uploads))

    def close(self) -> None:
        """Judge all that waits, and end the threads."""
        for worker in set(self._workers.values()):
            worker.close()
        self._decoding.shutdown()

    async def _judge(self, part: Part, upload: Upload, overlay: bool) -> Judged:
        loop, worker = asyncio.get_running_loop(), self._workers[part.name]
        loaded, shown = await loop.run_in_executor(self._decoding, self._load, part, upload, overlay)
        record, anomaly_map = await asyncio.wrap_future(worker.submit(part.session, upload.name, loaded))
        if shown is None or anomaly_map is None:
            return Judged(record, None)
        drawn = shown, anomaly_map, part.session.metadata.frame, record.is_without_place
        return Judged(record, await loop.run_in_executor(self._decoding, overlay_png, *drawn))

    def _load(self, part: Part, upload: Upload, overlay: bool) -> tuple[Loaded | InputError, Image.Image | None]:
        """Return an image as it is predicted, and as it is drawn."""
        known, content = part.session.metadata, upload.file.read()
        with self._one_large if is_large(content) else nullcontext():
            try:
                image = read_image_bytes(content, upload.name, known.settings.bit_depth)
            except InputError as error:
                return error, None
            region = region_of(known.settings.picture)
            loaded = load_image(image, known)
            shows = overlay and isinstance(loaded, Loaded)
            return loaded, fitted(faded(image, region)) if shows else None
