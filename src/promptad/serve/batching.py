"""Images that wait are predicted together, in one thread for each open tower."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeAlias

import numpy as np

from promptad.errors import InputError
from promptad.runtime.predict import Loaded, Predictor, predict_loaded
from promptad.runtime.records import PredictionRecord

MAX_BATCH = 8  # images that are predicted together

Predicted: TypeAlias = tuple[PredictionRecord, np.ndarray | None]  # with its map, if it could be read


class NoPlaceError(Exception):
    """As many images wait as may."""


class Places:
    """Places for the images that are read, wait or are predicted; for one thread alone."""

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Take places for some images until the end of the body.

        Raises:
            NoPlaceError: so many are not free.
        """
        if self.taken + count > self.most:
            raise NoPlaceError
        self.taken += count
        try:
            yield
        finally:
            self.taken -= count


@dataclass(frozen=True)
class _Waiting:
    predictor: Predictor
    name: str
    loaded: Loaded | InputError
    done: Future[Predicted] = field(default_factory=Future)


class Worker:
    """A thread that predicts what waits, up to 8 images together, without waiting for more of them to come."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="promptad predict", daemon=True)
        self._thread.start()

    def submit(self, predictor: Predictor, name: str, loaded: Loaded | InputError) -> Future[Predicted]:
        """Let an image wait to be predicted; one that could not be read gets its error."""
        waiting = _Waiting(predictor, name, loaded)
        self._waiting.put(waiting)
        return waiting.done

    def close(self) -> None:
        """Predict all that waits, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first, *self._others()]
            for together in _of_one_predictor(batch):
                _predict(together)

    def _others(self) -> Iterator[_Waiting]:
        for _ in range(MAX_BATCH - 1):
            try:
                waiting = self._waiting.get_nowait()
            except Empty:
                return
            if waiting is None:
                self._waiting.put(None)  # nothing comes after it
                return
            yield waiting


def _of_one_predictor(batch: Sequence[_Waiting]) -> Iterator[list[_Waiting]]:
    """Yield what waits for each predictor, without what nobody waits for any more."""
    groups: dict[int, list[_Waiting]] = defaultdict(list)
    for waiting in batch:
        if waiting.done.set_running_or_notify_cancel():
            groups[id(waiting.predictor)].append(waiting)
    yield from groups.values()


def _predict(together: Sequence[_Waiting]) -> None:
    try:
        names, loaded = [one.name for one in together], [one.loaded for one in together]
        found = list(predict_loaded(together[0].predictor, names, loaded))
    except Exception as error:  # the thread goes on
        if len(together) == 1:
            together[0].done.set_exception(error)
        else:  # what fails one image is not to fail its neighbours
            for waiting in together:
                _predict([waiting])
        return
    for waiting, predicted in zip(together, found, strict=True):
        waiting.done.set_result(predicted)
