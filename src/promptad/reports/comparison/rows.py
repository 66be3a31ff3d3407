"""Read and choose the saved rows of a comparison."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from promptad.data.datasets import DATASETS
from promptad.errors import InputError, check_choice
from promptad.results.columns import METRIC_TITLES
from promptad.results.paths import ResultFolder
from promptad.results.table import HASH_DIGITS, read_results
from promptad.settings import MULTI_PROTOTYPE, SINGLE_ANCHOR
from promptad.utils.json_text import flat_paths, parse_json
from promptad.utils.provenance import package_version

MEMORY = "+memory"  # suffix of the name of a system with a memory bank
BASELINE, OURS = SINGLE_ANCHOR + MEMORY, MULTI_PROTOTYPE
# Draws, what is checked by itself, and what follows from the images.
FREE = ("training.seed", "training.k_shot", "training.select", "backbone.pretrained", "bit_depth")
MARK = "\N{DAGGER}"  # beside results of another version


@dataclass(frozen=True)
class Choice:
    """What to compare; an empty filter selects everything found."""

    dataset: str
    roots: tuple[Path, ...]
    baseline: str  # a system, such as "single-anchor+memory"
    ours: str
    k_shot: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    select: str | None = None

    @property
    def is_alone(self) -> bool:
        """Whether it is of one system, whose own numbers take the form of a comparison."""
        return self.baseline == self.ours


@dataclass(frozen=True)
class SavedRow:
    """One row of a results file."""

    root: Path
    folder: ResultFolder  # where the files of the row are stored
    class_name: str
    system: str  # with "+memory" where it has one
    level: str  # what it was trained on: "image" or "pixel"
    select: str  # which epoch was kept
    data: str  # names the test images
    k: int
    seed: int
    settings: tuple[str, str, str]  # normal prototypes, abnormal prototypes, epochs
    backbone: str
    weights: str
    run: str  # names settings and support images
    test_images: int
    metrics: Mapping[str, float]  # in percent; those that were measured
    support: str  # names the support images; this and the following are empty of an older version
    version: str
    commit: str
    protocol: str  # how pixels were counted
    configuration: Mapping[str, str]  # by path, what else must agree within a system: it is no draw and no image
    picture: str  # names region and tiles

    @property
    def is_of_another_version(self) -> bool:
        """Whether another version than the running one measured it."""
        return self.version != package_version()

    @property
    def package(self) -> str:
        """Which promptad measured it, in words."""
        return package_in_words(self.version, self.commit)

    def __str__(self) -> str:
        """Its name in an error."""
        return f"{self.class_name} of {self.system}, k = {self.k}, seed {self.seed}"


def result_folders(choice: Choice) -> list[ResultFolder]:
    """Return the result folders of the chosen data set, k and seeds.

    Raises:
        InputError: there are none at all, or none of a chosen k or seed.
    """
    check_choice("data set", choice.dataset, DATASETS)
    found = [folder for root in choice.roots for folder in _folders_in(root, choice.dataset)]
    if not found:
        raise no_results(choice)
    for setting, wanted, known in (
        ("k_shot", choice.k_shot, {folder.k for folder in found}),
        ("seeds", choice.seeds, {folder.seed for folder in found}),
    ):
        if missing := set(wanted) - known:
            raise InputError(f"`{setting}` {listed(missing)}: no results of it; there are those of {listed(known)}")
    return [
        folder
        for folder in found
        if (not choice.k_shot or folder.k in choice.k_shot) and (not choice.seeds or folder.seed in choice.seeds)
    ]


def read_rows(folder: ResultFolder) -> list[SavedRow]:
    """Return the rows of one results file.

    Raises:
        InputError: the file is damaged, or holds a row of another data set, k or seed.
    """
    rows = []
    for cells in read_results(folder.csv):
        place = (folder.dataset, str(folder.k), str(folder.seed))
        counted = cells["test_images"].isdecimal() and int(cells["test_images"]) > 0
        if (cells["dataset"], cells["k"], cells["seed"]) != place or not counted:
            raise InputError(
                f"{str(folder.csv)!r}: the row of {cells['class']} does not belong there, by its data set, k, seed or "
                "test_images: delete the row, and train again"
            )
        rows.append(_typed(cells, folder))
    return rows


def choose_rows(rows: Sequence[SavedRow], choice: Choice) -> list[SavedRow]:
    """Return the rows of the two systems that pass the filters.

    Raises:
        InputError: a filter or a system has no row.
    """
    for setting, column, wanted in (
        ("classes", "class_name", choice.classes),
        ("select", "select", (choice.select,) if choice.select else ()),
    ):
        known = {getattr(row, column) for row in rows}
        if missing := set(wanted) - known:
            raise InputError(f"`{setting}` {listed(missing)}: no results of it; there are those of {listed(known)}")
        rows = [row for row in rows if not wanted or getattr(row, column) in wanted]
    known = {row.system for row in rows}
    for system, setting in {choice.baseline: "baseline", choice.ours: "ours"}.items():  # of a single one, "ours"
        if system not in known:
            cure = f"name another, or make them with {training_command(choice, system)}"
            raise InputError(f"`{setting}` {system}: no results of it; there are those of {listed(known)}: {cure}")
    return [row for row in rows if row.system in (choice.baseline, choice.ours)]


def used_levels(rows: Sequence[SavedRow], choice: Choice) -> list[SavedRow]:
    """Leave out rows that were trained for pixels, unless both systems have some at every k that both have."""
    ks = {system: {row.k for row in rows if row.system == system} for system in (choice.baseline, choice.ours)}
    shared = set.intersection(*ks.values())
    trained = {(row.system, row.k) for row in rows if row.level == "pixel"}
    if shared and {(system, k) for system in ks for k in shared} <= trained:
        return list(rows)
    return [row for row in rows if row.level == "image"]


def no_results(choice: Choice) -> InputError:
    """The error if there is no row at all."""
    places = " or ".join(str(root / choice.dataset) for root in choice.roots)
    if any(file for root in choice.roots for file in (root / choice.dataset).glob("k_*/checkpoint/**/*.pt")):
        return InputError(
            f"no class in {places} was measured, though some are trained: that needs test pictures, good and defective"
            " ones; with them, measure by promptad test"
        )
    measured = sorted({file.parts[-4] for root in choice.roots for file in root.glob("*/k_*/csv/Seed_*-results.csv")})
    commands = [training_command(choice, system) for system in dict.fromkeys((choice.baseline, choice.ours))]
    other = f", or choose those of {listed(measured)} with `dataset`" if measured else ""
    return InputError(f"no such results in {places}: make them with {' and '.join(commands)}{other}")


def training_command(choice: Choice, system: str) -> str:
    """The command that makes the rows of a system."""
    name, memory = system.removesuffix(MEMORY), system.endswith(MEMORY)
    options = [f"`dataset` {choice.dataset}", f"`system` {name}", f"`memory` {memory}"]
    options += [f"`k_shot` {choice.k_shot[0]}"] if choice.k_shot else []
    options += [f"`seeds` {listed(choice.seeds, ',')}"] if choice.seeds else []
    options += [f"`select` {choice.select}"] if choice.select else []
    return f"promptad train-all {' '.join(options)}"


def package_in_words(version: str, commit: str) -> str:
    """Return which promptad a row is of; versions before 0.2 did not write theirs."""
    if not (version or commit):
        return "promptad before 0.2"
    return f"promptad {version or 'of unknown version'}{f' (commit {commit})' if commit else ''}"


def _folders_in(root: Path, dataset: str) -> list[ResultFolder]:
    names = ["/".join(file.parts[-3:]) for file in (root / dataset).glob("k_*/csv/Seed_*-results.csv")]
    numbers = [re.fullmatch(r"k_(\d+)/csv/Seed_(\d+)-results\.csv", name) for name in names]
    return [ResultFolder(root, dataset, k, seed) for k, seed in sorted((int(m[1]), int(m[2])) for m in numbers if m)]


def _typed(cells: Mapping[str, str], folder: ResultFolder) -> SavedRow:
    settings = {path: str(value) for path, value in flat_paths(parse_json(cells["settings"] or "{}"))}
    picture = {path: value for path, value in settings.items() if path.startswith("picture.")}
    return SavedRow(
        root=folder.root,
        folder=replace(folder, system=cells["system"], level=cells["level"]),
        class_name=cells["class"],
        system=cells["system"] + MEMORY * (cells["memory"] == "yes"),
        level=cells["level"],
        select=cells["select"],
        data=cells["data"],
        k=folder.k,
        seed=folder.seed,
        settings=(cells["n_pro"], cells["n_pro_ab"], cells["epochs"]),
        backbone=cells["backbone"],
        weights=cells["weights"],
        run=cells["run"],
        test_images=int(cells["test_images"]),
        metrics={metric: float(cells[metric]) for metric in METRIC_TITLES if cells[metric]},
        **{name: cells[name] for name in ("support", "version", "commit", "protocol")},
        configuration={path: value for path, value in settings.items() if path not in (*FREE, *picture)},
        picture=_digest(picture),
    )


def _digest(values: Mapping[str, str]) -> str:
    """Return a name of some settings; empty for none."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS] if values else ""


def listed(values: Any, separator: str = ", ") -> str:
    """Return values in their order, as a text."""
    return separator.join(map(str, sorted(values)))
