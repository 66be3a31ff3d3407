"""The watcher: judges the pictures of a folder batch by batch, and does with each what its options say."""

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from promptad.data.batches import read_each
from promptad.runtime.arrivals import RESCAN, Arrivals, Picture, utc
from promptad.runtime.drift import Drift
from promptad.runtime.journal import Entry, Journal
from promptad.runtime.judge import Listener, Tally, line_of, overlay_file, remove_overlays
from promptad.runtime.predict import Predictor, load_image, predict_loaded
from promptad.runtime.records import PredictionRecord
from promptad.runtime.rejects import MOVE, FreeNames, Placement
from promptad.runtime.watch_options import WatchOptions
from promptad.runtime.webhook import Webhook

AGAIN = 30.0  # seconds until what could not be copied or moved is tried again


class Watcher:
    """Judges pictures batch by batch: its line first, then everything else."""

    def __init__(self, predictor: Predictor, journal: Journal, options: WatchOptions, listener: Listener) -> None:
        self._predictor, self._journal, self._options, self._listener = predictor, journal, options, listener
        self._tell = listener.tell
        outputs = [place for place in (options.output, options.rejected_to) if place is not None]
        self._arrivals = Arrivals(
            Path(os.path.abspath(options.folder)),  # noqa: PTH100 not through links
            outputs,
            options.settle,
            options.give_up,
            options.poll or RESCAN,
        )
        self._placement = Placement(options.output, self._tell)
        self._drift = Drift(predictor.metadata.looks)
        self._drift.recall(entry.record for entry in self._known())
        self._placement.retry()
        self._placement.save()
        self._overlays = Path(os.path.abspath(options.output))  # noqa: PTH100 not through links
        remove_overlays(self._overlays, journal.count)
        self._names = None if options.rejected_to is None else FreeNames(Path(os.path.abspath(options.rejected_to)))  # noqa: PTH100
        self._next_retry = time.monotonic() + AGAIN
        self._tally = Tally()
        self._unread: set[Path] = set()
        self._webhook: Webhook | None = None
        self._is_finished = False
        self._load = partial(load_image, known=predictor.metadata, masks=options.masks)
        self._together = max(1, options.batch_size // predictor.metadata.settings.tile_count)  # pictures

    def _known(self) -> Iterator[Entry]:
        """Yield the lines of before, and note whose they are."""
        for entry in self._placement.resume(self._journal.read()):
            self._arrivals.done.add(entry.picture.identity)
            yield entry

    def __enter__(self) -> "Watcher":
        """Start the threads."""
        self._pool = ThreadPoolExecutor()
        if self._options.webhook is not None:
            self._webhook = Webhook(self._options.webhook, self._journal, self._tell, every=self._options.webhook_all)
        return self

    def __exit__(self, *_: object) -> None:
        """End the threads."""
        self._pool.shutdown()
        if self._webhook is not None:
            self._webhook.close(drain=self._is_finished)

    def run(self, ticks: Iterable[Sequence[Path]], stop: threading.Event) -> None:
        """Judge until it is stopped, or with `once` until all that is there is judged.

        `ticks` come again and again, with the files that have changed as far as the system tells.
        """
        once = self._options.once
        if once:
            self._arrivals.look()
        else:
            self._tell(f"watching {self._options.folder}, until Ctrl-C")
        for changed in ticks:
            if not once:
                self._arrivals.note(changed)
                self._arrivals.look()
                self._tell_unread()
            while not stop.is_set() and (batch := self._arrivals.complete(self._together)):
                self._judge(batch)
                if not once:
                    self._arrivals.look()
            if once:
                self._arrivals.leave_changing()
                self._is_finished = not len(self._arrivals)
            if self._placement.waiting and time.monotonic() >= self._next_retry:
                self._retry()
            if self._is_finished:
                return

    def summarize(self) -> int:
        """Tell what was judged, and return the exit code."""
        if self._placement.waiting:
            self._retry()
            count = len(self._placement.waiting)
            self._tell(f"{count} rejected pictures are not yet where their lines say: the next start tries again")
        if left := self._arrivals.left:
            self._tell(f"{len(left)} still being written, and left for the next start: {left[0]}")
        self._tell(str(self._tally))
        for note in self._arrivals.found.notes():
            self._tell(note)
        self._tell(f"written: {self._journal.path}")
        return self._tally.exit_code(self._arrivals.found.unread) if self._options.fail_on_anomaly else 0

    def _judge(self, pictures: Sequence[Picture]) -> None:
        judged = zip(pictures, self._predicted(pictures), strict=True)
        entries = [
            self._entry(picture, record, anomaly_map, number)
            for number, (picture, record, anomaly_map) in enumerate(self._to_keep(judged), self._journal.count + 1)
        ]
        if not entries:
            return
        first = self._journal.count + 1
        self._journal.append(entries)
        for entry in entries:
            self._arrivals.finish(entry.picture)
            if self._tally.add(entry.record):
                self._tell(line_of(entry.record))
            if (news := self._drift.add(entry.record)) is not None:
                self._tell(news)
        if self._names is not None:
            self._placement.add(first, entries)
            self._placement.save()
        if self._webhook is not None:
            self._webhook.announce(self._journal.end)

    def _to_keep(
        self, judged: Iterator[tuple[Picture, tuple[PredictionRecord, np.ndarray | None]]]
    ) -> Iterator[tuple[Picture, PredictionRecord, np.ndarray | None]]:
        """Yield what is to be written: not of pictures that have changed since, or may be read later."""
        for picture, (record, anomaly_map) in judged:
            if self._arrivals.has_changed(picture) or (record.error and self._arrivals.may_recover(picture)):
                continue
            yield picture, record, anomaly_map

    def _predicted(self, pictures: Sequence[Picture]) -> list[tuple[PredictionRecord, np.ndarray | None]]:
        """Return the records of pictures with their maps; what fails one of them does not fail its neighbours."""
        paths = [picture.path for picture in pictures]
        try:
            loaded = list(read_each(self._pool, self._load, paths))
            return list(predict_loaded(self._predictor, list(map(str, paths)), loaded, self._options.batch_size))
        except Exception as error:
            if len(pictures) > 1:
                return [one for picture in pictures for one in self._predicted([picture])]
            reason = " ".join(f"{type(error).__name__} {error}".split())
            return [(PredictionRecord(str(paths[0]), error=f"could not be judged: {reason}"), None)]

    def _entry(self, picture: Picture, record: PredictionRecord, anomaly_map: np.ndarray | None, number: int) -> Entry:
        """Return the line of a picture, its overlay drawn, and where it is put if it is rejected."""
        if self._listener.draw is not None and anomaly_map is not None:
            drawn = self._listener.draw(record, anomaly_map, overlay_file(self._overlays, number, record))
            record = replace(record, overlay=drawn.overlay)
        target = ""
        if self._names is not None and record.is_anomalous:
            target = str(self._names.take(picture.path.name))
        judged = utc(time.time_ns() // 10**6 * 10**6).replace("000000Z", "Z")
        if self._options.rejected == MOVE:
            return Entry(replace(record, moved=target), picture, judged)
        return Entry(record, picture, judged, target)

    def _retry(self) -> None:
        self._placement.retry()
        self._placement.save()
        self._next_retry = time.monotonic() + AGAIN

    def _tell_unread(self) -> None:
        """Name, once, what is found and cannot be looked at."""
        unread = set(self._arrivals.found.unread)
        for path in sorted(unread - self._unread):
            self._tell(f"NOT LOOKED AT, as it cannot be read here: {path}")
        self._unread = unread
