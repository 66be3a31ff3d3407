"""The folder of a prediction in shards: which are there, which are missing, and the manifest over all."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from promptad.data.fingerprints import file_sha256
from promptad.errors import InputError
from promptad.integrations.shard_files import read_shard
from promptad.runtime.judge import Tally
from promptad.runtime.predictions import MANIFEST, PART, RUN, PredictionRun, check_holds_no_others, shard_files
from promptad.runtime.records import PredictionRecord
from promptad.utils.files import whole_file, writable_folder
from promptad.utils.json_text import parse_json

TRIED = ".tries"  # suffix of the files that count how often a shard's actor was killed
WORKING = f"shards{PART}"  # folder of the shards of a run that has not ended


@dataclass(frozen=True)
class ShardPlan:
    """What is judged, by what, into which shards; another plan gives other files."""

    run: PredictionRun
    names: Sequence[str]  # of all pictures
    inputs: Mapping[str, Any]  # what they are: plain data, which tells them from others
    size: int  # pictures of a shard; the last one may have fewer
    format: str  # of their files
    options: Mapping[str, Any]  # what else the lines depend on: plain data

    @property
    def count(self) -> int:
        """How many shards there are."""
        return -(-len(self.names) // self.size)

    def range_of(self, number: int) -> tuple[int, int]:
        """Return the number of the first picture of a shard, from 0, and that of the first behind it."""
        return number * self.size, min((number + 1) * self.size, len(self.names))

    def file_name(self, number: int) -> str:
        """Return the name of a shard's file."""
        return f"part-{number:05}.{self.format}"

    def to_dict(self) -> dict[str, Any]:
        """Return what tells this plan from others, as plain data."""
        plain = asdict(self.run) | {"settings": self.run.settings.to_dict()}
        own = {"inputs": dict(self.inputs), "shard_size": self.size, "format": self.format, **self.options}
        content: dict[str, Any] = json.loads(json.dumps({"detector": plain, **own}))
        return content


class ShardFolder:
    """The folder that a plan's shards are written to.

    Shards that are new go to a folder inside, and take the places of those of an earlier run at the end. What is there
    of the same plan is kept, after whatever end.

    Args:
        folder: that folder.
        plan: what is written to it.

    Attributes:
        missing: the numbers of the shards that are still to be judged.

    Raises:
        InputError: it cannot be written to, or holds predictions of another kind.
    """

    def __init__(self, folder: Path, plan: ShardPlan) -> None:
        check_holds_no_others(folder, MANIFEST)
        self.folder, self.plan, self._own = folder, plan, plan.to_dict()
        self.working, self._begun = folder / WORKING, folder / f"{MANIFEST}{PART}"
        begun = _content_of(self._begun)
        self._is_ours = _content_of(folder / MANIFEST).get("plan") == self._own
        is_same, is_moving = begun.get("plan") == self._own, begun.get("moving") is True
        with writable_folder(folder, "output"):
            if not is_same:
                shutil.rmtree(self.working, ignore_errors=True)
            self.working.mkdir(exist_ok=True)
            _delete(self.working.glob(f"*{TRIED}"))
        self._note(moving=is_same and is_moving)
        places = [self.working, *([folder] if self._is_ours or (is_same and is_moving) else [])]
        self._files = {number: file for number in range(plan.count) if (file := self._known(number, places))}
        self.missing = [number for number in range(plan.count) if number not in self._files]

    def new_file(self, number: int) -> Path:
        """Return the file that a missing shard is to be written to."""
        return self.working / self.plan.file_name(number)

    def records(self, tallies: list[Tally]) -> Iterator[PredictionRecord]:
        """Yield the records of all shards, and append the tally of each shard to a list; one shard is in memory.

        Raises:
            InputError: one is damaged.
        """
        for number in range(self.plan.count):
            file = self._files.get(number) or self.new_file(number)
            if (records := read_shard(file)) is None:
                raise InputError(f"{file} is missing or damaged: give the same command again, which judges it anew")
            tallies.append(Tally())
            for record in records:
                tallies[-1].add(record)
                yield record

    def finish(self, tallies: Sequence[Tally], more: Mapping[str, Any]) -> None:
        """Put the new shards in their places, and write the manifest over all, with `more` of its own.

        Raises:
            InputError: the folder cannot be written to.
        """
        manifest, stale = self.folder / MANIFEST, set[Path]()
        with writable_folder(self.folder, "output"):
            if manifest.exists() and not self._is_ours:
                stale = _overlays_in(self.folder)
                _delete(_shards_in(self.folder))
                manifest.unlink()
            self._note(moving=True)  # from here on, those in the folder are of this plan
            for file in sorted(self.working.glob(f"part-*.{self.plan.format}")):
                file.replace(self.folder / file.name)
            (self.folder / RUN).write_text(self.plan.run.to_json(), encoding="utf-8")
        shards = [self._described(number, tally) for number, tally in enumerate(tallies)]
        total = asdict(sum(tallies, Tally()))
        _write(manifest, {"plan": self._own, **more, "total": total, "shards": shards})
        self.discard()
        if stale:
            _delete(stale - _overlays_in(self.folder))

    def discard(self) -> None:
        """Delete what the run has written and not finished."""
        self._begun.unlink(missing_ok=True)
        shutil.rmtree(self.working, ignore_errors=True)

    def _note(self, *, moving: bool) -> None:
        """Note which run has begun, and whether it moves its shards already."""
        _write(self._begun, {"plan": self._own, "moving": moving})

    def _known(self, number: int, places: Sequence[Path]) -> Path | None:
        """Return the file of a shard that is whole and of these pictures; None if it is missing."""
        start, stop = self.plan.range_of(number)
        for file in (place / self.plan.file_name(number) for place in places):
            records = read_shard(file)
            if records is not None and [record.path for record in records] == list(self.plan.names[start:stop]):
                return file
        return None

    def _described(self, number: int, tally: Tally) -> dict[str, Any]:
        file = self.folder / self.plan.file_name(number)
        return {"file": file.name, **asdict(tally), "bytes": file.stat().st_size, "sha256": file_sha256(file)}


def _content_of(file: Path) -> dict[str, Any]:
    """Return what a file of JSON holds; nothing if there is none, or it is damaged."""
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(file: Path, content: Mapping[str, Any]) -> None:
    with whole_file(file, "output") as temporary:
        temporary.write_bytes((json.dumps(content, indent=1) + "\n").encode())


def _overlays_in(folder: Path) -> set[Path]:
    """Return the overlays that the shards of a folder name, those that are in it."""
    named = (read_shard(file) or [] for file in _shards_in(folder))
    overlays = {Path(record.overlay) for records in named for record in records if record.overlay}
    inside = (folder / "overlays").resolve()
    return {overlay for overlay in overlays if overlay.resolve().is_relative_to(inside)}


def _shards_in(folder: Path) -> list[Path]:
    """Return the shards of a finished run; none if it is not known which they are."""
    try:
        return shard_files(folder)
    except InputError:
        return []


def _delete(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
