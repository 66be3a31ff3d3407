"""The summary of a run: saved rows, scores and diagnostics, class by class, and what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np

from promptad.errors import InputError
from promptad.evaluation.metrics import below_chance
from promptad.reports.comparison.agreement import comparable_rows, saved_rows
from promptad.reports.comparison.differences import Comparison, Line, compare
from promptad.reports.comparison.rows import MEMORY, Choice, SavedRow, read_rows, result_folders
from promptad.reports.disturbed import Disturbed, read_disturbed
from promptad.results.paths import ResultFolder
from promptad.results.scores import ScoredImage, read_scores
from promptad.settings import SINGLE_ANCHOR
from promptad.structures import SCORE_THRESHOLD
from promptad.utils.json_text import is_number, parse_json

REQUIRED_DIAGNOSTICS = (
    "verdicts",
    "normal_prototype_frequencies",
    "abnormal_prototype_frequencies",
    "abnormal_to_mean_normal",
)


@dataclass(frozen=True)
class Counts:
    """The outcome of a threshold on labelled images."""

    good: int = 0
    false_alarms: int = 0  # normal images above the threshold
    defective: int = 0
    misses: int = 0  # anomalous images that are not above it

    @classmethod
    def of(cls, scored: Sequence[ScoredImage]) -> "Counts":
        """Count the decisions on scored images."""
        good = [one.score > SCORE_THRESHOLD for one in scored if not one.image.is_anomalous]
        defective = [one.score > SCORE_THRESHOLD for one in scored if one.image.is_anomalous]
        return cls(len(good), sum(good), len(defective), len(defective) - sum(defective))

    def __add__(self, other: "Counts") -> "Counts":
        """Return the counts of both."""
        return Counts(
            self.good + other.good,
            self.false_alarms + other.false_alarms,
            self.defective + other.defective,
            self.misses + other.misses,
        )


@dataclass(frozen=True)
class ClassSummary:
    """What is known of one class."""

    name: str
    line: Line | None  # its metrics; None if it was not measured
    folders: Mapping[int, ResultFolder]  # by seed
    scored: Mapping[int, tuple[ScoredImage, ...]]  # by seed
    diagnostics: Mapping[str, Any] | None
    notes: tuple[str, ...]  # what is missing
    disturbed: Disturbed | None = None  # None if it was not measured on disturbed pictures

    @cached_property
    def images(self) -> tuple[ScoredImage, ...]:
        """The scored images of all seeds."""
        return tuple(one for scored in self.scored.values() for one in scored)

    @cached_property
    def counts(self) -> Counts:
        """The decisions on them."""
        return Counts.of(self.images)

    @property
    def verdicts(self) -> Sequence[Mapping[str, Any]]:
        """The verdicts on the prototypes; empty if there are no diagnostics."""
        return () if self.diagnostics is None else self.diagnostics["verdicts"]

    @property
    def healthy(self) -> bool:
        """Whether all verdicts are good."""
        return all(verdict["healthy"] for verdict in self.verdicts)

    @property
    def findings(self) -> tuple[str, ...]:
        """What else a reader should know of it, in words."""
        found = () if self.diagnostics is None else self.diagnostics.get("findings", ())
        auroc = self.line and self.line.pairs.get("i_roc")
        return (*(below_chance(auroc.ours.mean / 100) if auroc else ()), *found)

    def kinds(self) -> dict[str, tuple[Counts, float]]:
        """Return for each kind of image, good first, the decisions on it and its mean score."""
        found = {}
        for kind in sorted({one.image.defect for one in self.images}, key=lambda kind: (kind != "good", kind)):
            own = [one for one in self.images if one.image.defect == kind]
            found[kind] = Counts.of(own), float(np.mean([one.score for one in own]))
        return found


@dataclass(frozen=True)
class RunSummary:
    """What is known of a run: one system on one data set, with one k and one seed or several."""

    choice: Choice
    rows: tuple[SavedRow, ...]  # that the page's numbers are from, of both systems where they are compared
    own: Comparison  # of the system with itself: its own numbers in the form of a comparison
    versus: Comparison | None  # with the baseline
    why_alone: str  # why there is no comparison
    classes: tuple[ClassSummary, ...]

    @property
    def system(self) -> str:
        """The system's name in settings and result folders."""
        return self.choice.ours.removesuffix(MEMORY)

    @property
    def decides(self) -> bool:
        """Whether 0.5 is a threshold: the scores of the single-anchor system are not calibrated."""
        return self.system != SINGLE_ANCHOR

    @property
    def measured(self) -> tuple[ClassSummary, ...]:
        """The classes with metrics."""
        return tuple(found for found in self.classes if found.line)

    @property
    def incomplete(self) -> bool:
        """Whether a measured class lacks a metric that another one has."""
        return any(found.line and len(found.line.pairs) < len(self.own.metrics) for found in self.measured)

    @property
    def diagnosed(self) -> tuple[ClassSummary, ...]:
        """The classes with diagnostics."""
        return tuple(found for found in self.classes if found.diagnostics)

    @cached_property
    def counts(self) -> Counts:
        """The decisions on all images of all classes and seeds."""
        return reduce(Counts.__add__, (found.counts for found in self.classes), Counts())


def summarize_run(choice: Choice) -> RunSummary:
    """Read everything saved of the system `choice.ours`, and compare it with the baseline if that has rows.

    Raises:
        InputError: the system has no rows, they are of several k, or they differ in what must agree.
    """
    alone = replace(choice, baseline=choice.ours)
    rows = saved_rows(alone)
    if len(ks := sorted({row.k for row in rows})) > 1:
        raise InputError(f"there are results of k = {', '.join(map(str, ks))}: choose one with `k_shot` {ks[-1]}")
    choice, alone = replace(choice, k_shot=(ks[0],)), replace(alone, k_shot=(ks[0],))
    own = compare(rows, alone)
    versus, why_alone, shown = _compared(choice, rows)
    (block,) = own.blocks
    measured = tuple(_measured(line, [row for row in rows if row.class_name == line.name]) for line in block.classes)
    return RunSummary(choice, shown, own, versus, why_alone, measured + _unmeasured(alone))


def _compared(choice: Choice, own: tuple[SavedRow, ...]) -> tuple[Comparison | None, str, tuple[SavedRow, ...]]:
    """Return the comparison with the baseline, or why there is none, and the rows of all that is shown."""
    try:
        rows = comparable_rows(choice)
        return compare(rows, choice), "", rows
    except InputError as error:
        return None, str(error), own


def _measured(line: Line, rows: Sequence[SavedRow]) -> ClassSummary:
    """Gather what is known of a class with rows; those trained for images come before those trained for pixels."""
    level = min(row.level for row in rows)
    folders, scored, notes = {}, {}, []
    for row in (row for row in rows if row.level == level):
        folders[row.seed] = row.folder
        try:
            scored[row.seed] = read_scores(row.folder.scores(row.class_name), row.run)
        except InputError as error:
            notes.append(f"seed {row.seed}: {error}")
    disturbed = None
    try:
        disturbed = read_disturbed([row for row in rows if row.level == level])
    except InputError as error:
        notes.append(str(error))
    return _diagnosed(ClassSummary(line.name, line, folders, scored, None, tuple(notes), disturbed))


def _unmeasured(choice: Choice) -> tuple[ClassSummary, ...]:
    """Gather the classes that were trained and have no row at all."""
    system, found = choice.ours.removesuffix(MEMORY), dict[str, dict[int, ResultFolder]]()
    for folder in (replace(folder, system=system) for folder in result_folders(choice)):
        before, after = folder.checkpoint("*").name.split("*")
        names = {
            file.name[len(before) : -len(after)] for file in folder.checkpoint("").parent.glob(f"{before}*{after}")
        }
        for name in names - {row.class_name for row in read_rows(folder)}:
            found.setdefault(name, {})[folder.seed] = folder
    note = "This class was trained but not measured: that needs test pictures, good and defective ones."
    return tuple(
        _diagnosed(ClassSummary(name, None, found[name], {}, None, (note,)))
        for name in sorted(found)
        if not choice.classes or name in choice.classes
    )


def _diagnosed(found: ClassSummary) -> ClassSummary:
    """Add the diagnostics of a class, or why there are none."""
    folder = next(iter(found.folders.values()))
    if folder.system == SINGLE_ANCHOR:
        return replace(found, notes=(*found.notes, "No diagnostics: the single-anchor system has no prototypes."))
    lacking = "No diagnostics were saved: measure the class again, with promptad test --save-diagnostics True."
    try:
        return replace(found, diagnostics=read_diagnostics(folder.diagnostics(found.name), lacking))
    except InputError as error:
        return replace(found, notes=(*found.notes, str(error)))


def read_diagnostics(file: Path, lacking: str) -> dict[str, Any]:
    """Return diagnostics that a page can show.

    Raises:
        InputError: they are damaged, incomplete or missing; `lacking` is the message if they are missing.
    """
    try:
        diagnostics: dict[str, Any] = parse_json(file.read_text(encoding="utf-8"))
        missing = [name for name in REQUIRED_DIAGNOSTICS if name not in diagnostics]
        if not missing:
            _check_types(diagnostics)
    except FileNotFoundError as error:
        raise InputError(lacking) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"The diagnostics in {file.name} cannot be read ({error}).") from error
    if missing:
        raise InputError(f"The diagnostics in {file.name} lack {', '.join(missing)}.")
    return diagnostics


def _check_types(diagnostics: Mapping[str, Any]) -> None:
    """Raise TypeError, KeyError or AttributeError for diagnostics that were edited into something else."""
    for name in REQUIRED_DIAGNOSTICS[1:]:
        if not _are_numbers(diagnostics[name]):
            raise TypeError(f"{name} is no list of numbers")
    findings, range_ = diagnostics.get("findings", []), diagnostics.get("false_alarm_range")
    if not (isinstance(findings, list) and all(isinstance(finding, str) and finding for finding in findings)):
        raise TypeError("findings are no texts")
    if range_ is not None and not (_are_numbers(range_) and len(range_) == 2):
        raise TypeError("false_alarm_range is no range")
    for side, names in diagnostics.get("prototype_words", {}).items():
        words = [word for name in names for word in name["words"]]
        cosines = [name["cosine"] for name in names]
        counted = len(names) == len(diagnostics[f"{side}_prototype_frequencies"])
        if not (counted and _are_numbers(cosines) and all(isinstance(word, str) for word in words)):
            raise TypeError("prototype_words are damaged")
    for verdict in diagnostics["verdicts"]:
        value, limit = verdict["value"], verdict["limit"]
        texts = isinstance(verdict["name"], str) and isinstance(verdict["advice"], str)
        band = is_number(limit) or (_are_numbers(limit) and len(limit) == 2)
        if not (texts and isinstance(verdict["healthy"], bool) and band and (value is None or is_number(value))):
            raise TypeError("a verdict is damaged")


def _are_numbers(values: object) -> bool:
    return isinstance(values, list) and len(values) > 0 and all(map(is_number, values))
