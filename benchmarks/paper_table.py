"""The table of a paper: measured means over classes and seeds, each class, and published numbers beside them.

Published numbers are in published.json, each with its source and the places that it was read in. They are quoted, and
no mean counts them.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.table import Table

from promptad.data.demo import DEMO_CLASSES
from promptad.reports.comparison.rows import MEMORY
from promptad.results.terminal import mean_of
from promptad.settings import TEST_ORACLE
from promptad.utils.files import whole_file

PUBLISHED = Path(__file__).parent / "published.json"
METRICS = {"i_roc": "I-AUROC", "p_roc": "P-AUROC", "p_pro": "AUPRO"}
MEASURED, QUOTED = "measured", "quoted"
MEAN = "mean"  # of all classes, in the place of a class
ALL_CLASSES = {
    "mvtec": DEMO_CLASSES,  # which are drawn after it
    "demo": DEMO_CLASSES,
    "visa": (
        *("candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2"),
        *("pcb1", "pcb2", "pcb3", "pcb4", "pipe_fryum"),
    ),
    "mvtec2": ("can", "fabric", "fruit_jelly", "rice", "sheet_metal", "vial", "wallplugs", "walnuts"),
    "loco": ("breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors"),
}

SavedRow = Mapping[str, str]  # of results.table


@dataclass(frozen=True)
class Figure:
    """A mean in %, and its sample standard deviation, if there are several values."""

    mean: float
    deviation: float | None = None

    def __str__(self) -> str:
        """Both with one decimal, as papers print them."""
        return f"{self.mean:.1f}" if self.deviation is None else f"{self.mean:.1f} ± {self.deviation:.1f}"


@dataclass(frozen=True, order=True)
class Training:
    """One training that the table is made of."""

    class_name: str
    system: str  # with "+memory" where it has a memory bank
    k: int
    seed: int

    def __str__(self) -> str:
        """Its name in a list of what is missing."""
        return f"{self.class_name} ({self.system}, k = {self.k}, seed {self.seed})"


@dataclass(frozen=True)
class Line:
    """One line of the table: a method at one k, on one class or on the mean of all."""

    k: int
    method: str
    class_name: str
    kind: str  # measured or quoted
    figures: Mapping[str, Figure | None]
    source: str  # of quoted numbers: a key of `Published.sources`


@dataclass(frozen=True)
class Results:
    """Saved rows of the trainings that were asked for."""

    dataset: str
    asked: tuple[Training, ...]
    rows: tuple[SavedRow, ...]

    @cached_property
    def found(self) -> dict[Training, SavedRow]:
        """The row of each training that has one."""
        return {training_of(row): row for row in self.rows}

    @property
    def missing(self) -> tuple[Training, ...]:
        """The trainings without a row."""
        return tuple(training for training in self.asked if training not in self.found)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes with all their rows: means are over these alone, so that all lines are of the same classes."""
        incomplete = {training.class_name for training in self.missing}
        return tuple(name for name in self._each("class_name") if name not in incomplete)

    @property
    def left_out(self) -> tuple[str, ...]:
        """The classes of the data set, as published, that the means do not count."""
        asked = self._each("class_name")
        known = dict.fromkeys((*ALL_CLASSES.get(self.dataset, ()), *asked))
        return tuple(name for name in known if name not in self.classes)

    @property
    def unmasked(self) -> tuple[str, ...]:
        """The classes with a row without pixel AUROC."""
        return tuple(dict.fromkeys(row["class"] for row in self.rows if not row["p_roc"]))

    def lines(self) -> Iterator[Line]:
        """Yield the mean of each k and system, then each class."""
        for name in (MEAN, *self.classes):
            for k in self._each("k"):
                for system in self._each("system"):
                    figures = {metric: self._figure(name, system, k, metric) for metric in METRICS}
                    yield Line(k, system, name, MEASURED, figures, "")

    def _figure(self, name: str, system: str, k: int, metric: str) -> Figure | None:
        """Return mean and deviation over seeds, on one class or of the mean over all."""
        classes = self.classes if name == MEAN else (name,)
        by_seed = [
            mean_of([self.found[Training(own, system, k, seed)] for own in classes], metric)
            for seed in self._each("seed")
        ]
        return figure_of([mean for mean in by_seed if mean is not None])

    def _each(self, name: str) -> list[Any]:
        return list(dict.fromkeys(getattr(training, name) for training in self.asked))


@dataclass(frozen=True)
class Published:
    """Published numbers of one data set, with their sources."""

    lines: tuple[Line, ...]
    sources: Mapping[str, str]
    notes: Mapping[str, Sequence[str]]  # by source

    def references(self) -> dict[str, str]:
        """Return source and notes of each number that is quoted, by its mark."""
        return {
            mark: " ".join([f"{self.sources[source]}.", *self.notes.get(source, ())])
            for source, mark in marks(self.lines).items()
        }


def training_of(row: SavedRow) -> Training:
    """Return the training of a saved row."""
    system = row["system"] + MEMORY * (row["memory"] == "yes")
    return Training(row["class"], system, int(row["k"]), int(row["seed"]))


def figure_of(values: Sequence[float]) -> Figure | None:
    """Return mean and sample standard deviation; None of no values."""
    if not values:
        return None
    return Figure(fmean(values), stdev(values) if len(values) > 1 else None)


def read_published(dataset: str, ks: Sequence[int], file: Path = PUBLISHED) -> Published:
    """Return what is published of a data set at these k; there may be nothing."""
    saved = json.loads(file.read_text(encoding="utf-8"))
    own = [row for row in saved["rows"] if row["dataset"] == dataset and row["k"] in ks]
    places = dict.fromkeys((row["k"], row["method"], row["source"]) for row in own)
    lines = tuple(
        Line(k, method, MEAN, QUOTED, {metric: _quoted(own, k, method, metric) for metric in METRICS}, source)
        for k, method, source in places
    )
    return Published(lines, saved["sources"], saved["notes"])


def _quoted(rows: Sequence[Mapping[str, Any]], k: int, method: str, metric: str) -> Figure | None:
    found = [row for row in rows if (row["k"], row["method"], row["metric"]) == (k, method, metric)]
    return Figure(found[0]["value"], found[0].get("deviation")) if found else None


def marks(lines: Sequence[Line]) -> dict[str, str]:
    """Return the mark of each source of quoted lines, such as [1]."""
    return {source: f"[{number}]" for number, source in enumerate(dict.fromkeys(line.source for line in lines), 1)}


def cells(line: Line) -> list[str]:
    """Return the texts of a line's metrics."""
    return ["-" if (found := line.figures[metric]) is None else str(found) for metric in METRICS]


def title_of(results: Results) -> str:
    """Return what the means are, with a warning where test labels chose the epoch."""
    warning = "TEST LABELS CHOSE THE EPOCH: " if any(row["select"] == TEST_ORACLE for row in results.rows) else ""
    return f"{warning}{results.dataset}: mean over classes in % ± deviation over seeds"


def means_rows(results: Results, published: Published) -> list[tuple[str, ...]]:
    """Return the rows of the means, header first: of each k what was measured, then what is quoted."""
    own, mark = [line for line in results.lines() if line.class_name == MEAN], marks(published.lines)
    rows: list[tuple[str, ...]] = [("k", "method", *METRICS.values(), "")]
    all_classes = len(results.classes) + len(results.left_out)
    measured = f"{MEASURED}, {len(results.classes)} of {all_classes} CLASSES" if results.left_out else MEASURED
    for k in dict.fromkeys(line.k for line in own):
        for line in (*own, *published.lines):
            if line.k == k:
                told = measured if line.kind == MEASURED else f"{QUOTED} {mark[line.source]}"
                rows.append((str(k), line.method, *cells(line), told))
    return rows


def class_rows(results: Results, k: int) -> list[tuple[str, ...]]:
    """Return the rows of each class at one k, header first: a line for each system."""
    lines = [line for line in results.lines() if line.k == k]
    rows: list[tuple[str, ...]] = [("class", "method", *METRICS.values())]
    for name in (*results.classes, MEAN):
        own = [line for line in lines if line.class_name == name]
        rows += [(name if line is own[0] else "", line.method, *cells(line)) for line in own]
    return rows


def remarks(results: Results, published: Published) -> list[str]:
    """Return lines on what the means count, and on what is quoted."""
    seeds = len({training.seed for training in results.asked})
    spread = f"± the sample standard deviation over {seeds} seeds" if seeds > 1 else "of one seed"
    found = [f"Means are over {len(results.classes)} classes, {spread}."]
    if results.left_out:
        found.append(f"NOT COUNTED, so not comparable with means over all classes: {', '.join(results.left_out)}.")
    if results.missing:
        counts = Counter(training.class_name for training in results.missing)
        told = ", ".join(f"{name} ({count})" for name, count in counts.items())
        found.append(f"Trainings without a result, by class: {told}.")
    if results.unmasked:
        found.append(f"Without masks, so P-AUROC and AUPRO do not count them: {', '.join(results.unmasked)}.")
    if published.lines:
        found.append("Quoted numbers were not measured here, and are of each paper's own protocol:")
        found += [f"{mark} {text}" for mark, text in published.references().items()]
    return found


def terminal_table(title: str, rows: Sequence[Sequence[str]]) -> Table:
    """Return rows, header first, as a table for the terminal."""
    table, (header, *lines) = Table(title=title), rows
    for name in header:
        table.add_column(name, overflow="fold", justify="right" if name.endswith(tuple(METRICS.values())) else "left")
    for row, after in pairwise([*lines, ()]):
        table.add_row(
            *(cell.replace(" ± ", "±") for cell in row),
            end_section=bool(after) and bool(after[0]) and row[0] != after[0],
        )
    return table


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows, header first, as a table in Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    rule = "|".join("---:" if name.endswith(tuple(METRICS.values())) else "---" for name in rows[0])
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def write_markdown(file: Path, title: str, results: Results, published: Published, protocol: Mapping[str, str]) -> None:
    """Write all tables with the protocol, whole or not at all."""
    parts = [f"# {title}", markdown_table(means_rows(results, published))]
    parts.append("\n".join(f"- {line}" for line in remarks(results, published)))
    parts.append("## Protocol\n\n" + "\n".join(f"- {name}: {value}" for name, value in protocol.items()))
    ks = dict.fromkeys(training.k for training in results.asked)
    parts += [f"## By class, k = {k}, in %\n\n{markdown_table(class_rows(results, k))}" for k in ks]
    with whole_file(file, "output") as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def write_csv(file: Path, results: Results, published: Published) -> None:
    """Write every number in a row of its own, whole or not at all; `kind` tells measured from quoted ones."""
    header = ("dataset", "k", "method", "kind", "class", "metric", "mean", "deviation", "source")
    with whole_file(file, "output") as temporary, temporary.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(header)
        for line in (*results.lines(), *published.lines):
            source = published.sources.get(line.source, "")
            for metric, figure in line.figures.items():
                numbers = ("", "") if figure is None else (f"{figure.mean:.2f}", _decimals(figure.deviation))
                named = (results.dataset, line.k, line.method, line.kind, line.class_name, metric)
                writer.writerow((*named, *numbers, source))


def _decimals(deviation: float | None) -> str:
    return "" if deviation is None else f"{deviation:.2f}"


def as_json(lines: Sequence[Line]) -> dict[str, Any]:
    """Return lines by k, method and class, each metric as mean and deviation."""
    found: dict[str, Any] = {}
    for line in lines:
        numbers = {
            metric: None if figure is None else [figure.mean, figure.deviation]
            for metric, figure in line.figures.items()
        }
        found.setdefault(f"k{line.k}", {}).setdefault(line.method, {})[line.class_name] = numbers
    return found
