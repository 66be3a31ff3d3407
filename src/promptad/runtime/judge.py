"""Judge pictures from a command line: write a line for each, say what was found, and give the exit code."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from PIL import Image

from promptad.data.images import read_image
from promptad.data.reading import Reading
from promptad.data.search import FoundImages
from promptad.errors import InputError
from promptad.runtime.drift import Drift, follow
from promptad.runtime.metadata import Metadata
from promptad.runtime.overlay import faded
from promptad.runtime.predict import Predictor, predict
from promptad.runtime.predictions import LINES, ONE_IMAGE, PredictionRun, discard_part, predictions_file, read_lines
from promptad.runtime.records import Match, PredictionRecord
from promptad.runtime.table import TABLE, write_table
from promptad.structures import NO_PLACE

REJECTED, UNDECIDED = 3, 4  # exit codes after an anomaly, or else an unsure picture, where that is asked for
MAX_NAMED = 20  # anomalous or unreadable images that are named in the terminal
MAX_STEM = 60  # letters of an image's name that the name of its overlay has

Draw = Callable[[PredictionRecord, np.ndarray, Path], PredictionRecord]  # of a record with its map, into a file
Drawing = Callable[[Metadata, PredictionRecord, Image.Image, np.ndarray, Path], None]  # the same, of the image too


@dataclass(frozen=True)
class Listener:
    """Who is told what happens."""

    tell: Callable[[str], None]  # a line for the user
    advance: Callable[[int], None]  # how many squares more are done: an image is one, a tiled one several
    draw: Draw | None = None  # draws an overlay, and returns the record with its name, or with an error


def reading_again(
    known: Metadata,
    draw: Drawing,
    masks: Path | None = None,
) -> Draw:
    """Return what reads a record's image again and draws it into a file, by `draw`; what does not count is faded."""
    reading = Reading.of(known.settings, masks)

    def drawn(record: PredictionRecord, anomaly_map: np.ndarray, file: Path) -> PredictionRecord:
        try:
            image = faded(read_image(record.path, reading.bit_depth), reading.region_of(record.path))
        except InputError as error:  # the image has gone by now
            return PredictionRecord(record.path, error=str(error))
        draw(known, record, image, anomaly_map, file)
        return replace(record, overlay=str(file))

    return drawn


def check_decides(known: Metadata, file: Path) -> None:
    """Check that the detector of a file decides.

    Raises:
        InputError: it has no threshold.
    """
    if known.threshold is None:
        raise InputError(f"{file} decides nothing, for it has no threshold: use its scores from Python")


def judge(
    predictor: Predictor,
    file: Path,
    found: FoundImages,
    output: Path,
    batch_size: int,
    listener: Listener,
    *,
    fail_on_anomaly: bool = False,
    masks: Path | None = None,
) -> int:
    """Predict the images that were found with the detector of a file, and return the exit code.

    Args:
        predictor: the detector.
        file: its file.
        found: the images, and what was left out.
        output: the folder for the lines and overlays.
        batch_size: images that are predicted together.
        listener: is told what happens.
        fail_on_anomaly: whether an image that is rejected or cannot be read makes the exit code 3, and one that is
            unsure 4, if there are no such ones.
        masks: the folder of the images' regions, where each has its own.

    Raises:
        InputError: the folder cannot be written to, the detector has no threshold, or no image could be read.
    """
    tally = tally_of(predictor, file, found, output, batch_size, listener, masks=masks)
    return tally.exit_code(found.unread) if fail_on_anomaly else 0


def tally_of(
    predictor: Predictor,
    file: Path,
    found: FoundImages,
    output: Path,
    batch_size: int,
    listener: Listener,
    matches: Mapping[Path, Match] | None = None,
    masks: Path | None = None,
) -> "Tally":
    """Predict images as `judge` does, and return how many there were of each kind.

    `matches` are kept in their lines: that their part was found by the images themselves.
    """
    check_decides(predictor.metadata, file)
    tell = listener.tell
    if predictor.metadata.settings.training.k_shot == 1:
        tell(ONE_IMAGE)
    records = _write_predictions(predictor, file, found.images, output, batch_size, listener, matches or {}, masks)
    tally = tell_of(records, tell)
    for note in found.notes():
        tell(note)
    write_table(read_lines(output / LINES), output / TABLE)
    tell(f"written: {output / LINES} and {TABLE}")
    for line in follow(Drift(predictor.metadata.looks), records)[:1]:
        tell(line)
    if all(record.error for record in records):
        raise InputError("none of the pictures could be read: see their lines above")
    return tally


def _write_predictions(
    predictor: Predictor,
    file: Path,
    images: Sequence[Path],
    output: Path,
    batch_size: int,
    listener: Listener,
    matches: Mapping[Path, Match],
    masks: Path | None,
) -> list[PredictionRecord]:
    """Write a record for each image, drawn if asked; return them without their regions."""
    with predictions_file(output, PredictionRun.of(file, predictor.metadata, masks), images) as lines:
        records = [replace(record, regions=()) for record in lines.known]
        if records:
            listener.tell(f"going on behind {len(records)} pictures of an interrupted run")
        listener.advance(len(records) * predictor.metadata.settings.tile_count)
        coming = predict(predictor, images[len(records) :], batch_size, masks, listener.advance)
        for number, (record, anomaly_map) in enumerate(coming, len(records) + 1):
            written = replace(record, match=matches.get(Path(record.path)))
            if listener.draw is not None and anomaly_map is not None:
                written = listener.draw(written, anomaly_map, overlay_file(output, number, record))
            lines.write(written)
            records.append(replace(written, regions=()))
        if all(record.error for record in records) and (output / LINES).is_file():
            discard_part(output)
            tell_of(records, listener.tell)
            raise InputError("none of the pictures could be read: see above; the earlier predictions are kept")
    return records


def overlay_file(output: Path, number: int, record: PredictionRecord) -> Path:
    """Return the file for the overlay of a record, whose line has that number."""
    return output / "overlays" / f"{number:04}_{Path(record.path).stem[:MAX_STEM]}.png"


def remove_overlays(output: Path, behind: int) -> None:
    """Delete the overlays of lines behind the last one, whose number is given: a kill came before them."""
    for file in (output / "overlays").glob("*_*.png"):
        number = file.name.partition("_")[0]
        if number.isdecimal() and int(number) > behind:
            file.unlink(missing_ok=True)


@dataclass
class Tally:
    """How many images there were, of each kind."""

    total: int = 0
    anomalies: int = 0
    unsure: int = 0
    unreadable: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        """Return the counts of both."""
        return Tally(*(getattr(self, own.name) + getattr(other, own.name) for own in fields(Tally)))

    def add(self, record: PredictionRecord) -> bool:
        """Count a record; return whether it is named in the terminal: it is not good, or could not be read."""
        self.total += 1
        self.anomalies += record.is_anomalous
        self.unsure += record.is_unsure
        self.unreadable += bool(record.error)
        return not record.is_good

    def exit_code(self, unread: Sequence[Path]) -> int:
        """Return the exit code where an anomaly is to be a failure; `unread` was found, and could not be looked at."""
        if self.anomalies or self.unreadable or unread:
            return REJECTED
        return UNDECIDED if self.unsure else 0

    def __str__(self) -> str:
        undecided = f" {self.unsure} unsure," if self.unsure else ""
        good = self.total - self.anomalies - self.unsure - self.unreadable
        return (
            f"{self.total} pictures: {self.anomalies} anomalies,{undecided} {good} good, {self.unreadable} unreadable"
        )


def tell_of(records: Iterable[PredictionRecord], tell: Callable[[str], None]) -> Tally:
    """Name what is not good or could not be read, and count all."""
    tally, named = Tally(), 0
    for record in records:
        if tally.add(record):
            named += 1
            if named <= MAX_NAMED:
                tell(line_of(record))
    if named > MAX_NAMED:
        tell(f"… and {named - MAX_NAMED} more")
    tell(str(tally))
    return tally


def line_of(record: PredictionRecord) -> str:
    """Return the line for the user of an image that is not good, or cannot be read."""
    if record.error:
        return f"unreadable  {record.path}: {record.error}"
    line = f"{record.label} {record.score:.2f}  {record.path}, {record.reason}"
    return f"{line}; {NO_PLACE}" if record.is_without_place else line
