"""Judge the pictures of many parts, each by its own detector, and sum up what was found of all."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from promptad.data.search import FoundImages, joined_names
from promptad.errors import InputError
from promptad.runtime.judge import Draw, Listener, Tally, tally_of
from promptad.runtime.metadata import Metadata
from promptad.runtime.parts import Finder, Part, divide_by_folder, divide_by_look
from promptad.runtime.predictions import LINES, PARTS, read_lines
from promptad.runtime.records import GUESS, UNLIKE_ALL, Match, PredictionRecord
from promptad.runtime.table import TABLE, write_parts_table
from promptad.utils.file_names import as_file_name
from promptad.utils.files import whole_file, writable_folder

HEADINGS = ("part", "pictures", "anomalies", "unsure", "unreadable", "threshold")


@dataclass(frozen=True)
class OpenedParts:
    """The detectors of a folder: those that could be opened, and why others could not."""

    parts: tuple[Part, ...]
    failures: tuple[str, ...]
    finders: Callable[[], Sequence[Finder]]  # what finds the part by the pictures themselves


@dataclass(frozen=True)
class Shares:
    """Which pictures are whose."""

    images: Mapping[str, FoundImages]  # by part
    unread: tuple[Path, ...] = ()  # found, and cannot be looked at
    matches: Mapping[Path, Match] = field(default_factory=dict)
    unreadable: tuple[PredictionRecord, ...] = ()  # whose part cannot be found

    def squares(self, parts: Sequence[Part]) -> int:
        """Return how many squares are to be judged: an image is one, a tiled one several."""
        tiles = {part.name: part.predictor.metadata.settings.tile_count for part in parts}
        return sum(tiles[name] * len(own.images) for name, own in self.images.items())


def share_by_folder(opened: OpenedParts, pictures: Sequence[str], output: Path, tell: Callable[[str], None]) -> Shares:
    """Find out which pictures, named as files or folders, are whose by their sub-folders.

    Raises:
        InputError: no part has any.
    """
    return Shares(divide_by_folder([part.name for part in opened.parts], pictures, output, tell))


def share_by_look(opened: OpenedParts, found: FoundImages, batch_size: int, listener: Listener) -> Shares:
    """Find out which pictures are whose by themselves.

    Raises:
        InputError: a detector cannot tell, or no picture can be read.
    """
    images: dict[str, list[Path]] = {part.name: [] for part in opened.parts}
    matches: dict[Path, Match] = {}
    unreadable = []
    for image, match in divide_by_look(opened.finders(), found.images, batch_size, listener.advance):
        if isinstance(match, InputError):
            unreadable.append(PredictionRecord(str(image), error=str(match)))
        else:
            matches[image] = match
            images[match.part].append(image)
    for note in found.notes():
        listener.tell(note)
    for words in (GUESS, UNLIKE_ALL):
        if such := [image for image, match in matches.items() if match.words == words]:
            listener.tell(f"{len(such)} whose part is unsure ({words}): {joined_names(such)}")
    if not matches:
        raise InputError(f"none of the pictures could be read: {unreadable[0].error}")
    shares = {name: FoundImages(tuple(own)) for name, own in images.items() if own}
    return Shares(shares, found.unread, matches, tuple(unreadable))


def judge_parts(
    opened: OpenedParts,
    shares: Shares,
    output: Path,
    batch_size: int,
    listener: Listener,
    draw: Callable[[Metadata], Draw] | None = None,
    *,
    fail_on_anomaly: bool = False,
) -> int:
    """Judge the pictures of each part into a folder of its own, and return the exit code.

    A part that fails does not lose the others' results. `draw` gives what draws the overlays of a detector.

    Raises:
        InputError: a detector could not be opened, or failed; or the folder cannot be written to.
    """
    _prepare(output)
    tallies: dict[str, Tally] = {}
    failures, tell = list(opened.failures), listener.tell
    for part in (part for part in opened.parts if part.name in shares.images):
        found = shares.images[part.name]
        tell(f"{part.name}:")
        own = replace(listener, draw=None if draw is None else draw(part.predictor.metadata))
        place = output / folder_of(part.name)
        try:
            tallies[part.name] = tally_of(part.predictor, part.file, found, place, batch_size, own, shares.matches)
        except InputError as error:
            failures.append(f"{part.name}: {error}")
    for record in shares.unreadable:
        tell(f"unreadable  {record.path}: {record.error}")
    _write(output, tallies, failures, shares.unreadable)
    for line in summary_lines(opened.parts, tallies, len(shares.unreadable)):
        tell(line)
    tell(f"written: {output / PARTS}, {TABLE} and a folder for each part")
    if failures:
        more = f"; and {len(failures) - 1} more, see {output / PARTS}" if len(failures) > 1 else ""
        raise InputError(f"not all parts were judged: {failures[0]}{more}")
    total = sum(tallies.values(), Tally(unreadable=len(shares.unreadable)))
    unread = [*shares.unread, *(path for own in shares.images.values() for path in own.unread)]
    return total.exit_code(unread) if fail_on_anomaly else 0


def folder_of(name: str) -> str:
    """Return the name of a part's folder.

    >>> folder_of("metal bracket")
    'metal_bracket'
    """
    return as_file_name("_".join(name.split()))


def summary_lines(parts: Sequence[Part], tallies: Mapping[str, Tally], unmatched: int) -> list[str]:
    """Return the table of what was found of each part, a line a row."""
    rows: list[tuple[str, ...]] = [HEADINGS]
    for part in (part for part in parts if part.name in tallies):
        tally = tallies[part.name]
        counts = tally.total, tally.anomalies, tally.unsure, tally.unreadable
        rows.append((part.name, *map(str, counts), f"{part.predictor.metadata.threshold:.4g}"))
    if unmatched:
        rows.append(("(no part)", str(unmatched), "0", "0", str(unmatched), ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]


def _prepare(output: Path) -> None:
    """Check that a folder may hold the predictions of many parts.

    Raises:
        InputError: it holds those of one detector, or cannot be written to.
    """
    if (output / LINES).exists():
        raise InputError(f"`output` {output} holds the predictions of one detector: choose another folder")
    with writable_folder(output, "output"):
        pass


def _write(
    output: Path, tallies: Mapping[str, Tally], failures: Sequence[str], unreadable: Sequence[PredictionRecord]
) -> None:
    """Write which parts were judged, and the table of all their pictures."""
    content = {
        "parts": {name: folder_of(name) for name in tallies},
        "failures": list(failures),
        "unreadable": [record.to_dict() for record in unreadable],
    }
    with whole_file(output / PARTS, "output") as temporary:
        temporary.write_bytes((json.dumps(content, indent=1) + "\n").encode())
    write_parts_table(_records(output, tallies, unreadable), output / TABLE)


def _records(
    output: Path, names: Mapping[str, Tally], unreadable: Sequence[PredictionRecord]
) -> Iterator[tuple[str, Iterator[PredictionRecord]]]:
    for name in names:
        yield name, read_lines(output / folder_of(name) / LINES)
    yield "", iter(unreadable)
