"""What pictures of any kind offer to a cluster: their names, and ranges that another machine reads by itself."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from promptad.data.search import FoundImages
from promptad.errors import InputError
from promptad.runtime.predict import Predictor
from promptad.runtime.records import PredictionRecord

Predicted: TypeAlias = Iterator[tuple[PredictionRecord, np.ndarray | None]]

NONE = FoundImages(())


class Picked(Protocol):
    """A range of pictures, as plain data that can be sent to another machine."""

    def predicted(self, predictor: Predictor, batch_size: int, masks: Path | None) -> Predicted:
        """Yield the record of each picture, in their order, with its anomaly map."""


class Pictures(Protocol):
    """All pictures that are to be judged."""

    @property
    def kind(self) -> str:
        """What they are, in a word."""

    @property
    def names(self) -> Sequence[str]:
        """What their records call them, in order."""

    @property
    def left_out(self) -> FoundImages:
        """The files beside them that are not judged."""

    def pick(self, start: int, stop: int) -> Picked:
        """Return those from the number `start` up to `stop`, which is exclusive."""


def refuse_masks(masks: Path | None) -> None:
    """Check that no picture has a region of its own, which is found by a file's name.

    Raises:
        InputError: they have.
    """
    if masks is not None:
        raise InputError(f"`region` {masks} is a folder of masks, for pictures in files: give one region for all")
