"""The summary of predictions: unlabelled images, the detector that predicted them, and what the page shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from promptad.data.fingerprints import file_sha256
from promptad.errors import InputError
from promptad.models.registry import load_with_thresholds
from promptad.reports.gallery import GalleryItem, render_item
from promptad.reports.run_summary import read_diagnostics
from promptad.runtime.engines import SUFFIXES
from promptad.runtime.predict import Predictor
from promptad.runtime.predictions import AGAIN, PredictionRun
from promptad.runtime.records import PredictionRecord
from promptad.runtime.session import Session
from promptad.structures import LIKE_DEFECT, UNLIKE, Explanation
from promptad.utils.numbers import decimal
from promptad.utils.progress import add_task, progress_bar

MOST_REJECTED, MOST_PASSED = 12, 4  # images in the gallery
DIAGNOSTICS_FILE = "diagnostics.json"  # beside the detector of a user's own part


@dataclass(frozen=True)
class PredictionsSummary:
    """Predicted images, in the order of their prediction, and their run."""

    run: PredictionRun
    records: tuple[PredictionRecord, ...]

    @cached_property
    def folder(self) -> str:
        """The common folder of all images, or "" if there is none."""
        return common_folder([record.path for record in self.records])

    def name(self, record: PredictionRecord) -> str:
        """Return the displayed name of an image: its path below that folder."""
        return str(Path(record.path).relative_to(self.folder)) if self.folder else record.path

    def path(self, record: PredictionRecord) -> str:
        """Return where an image is, whatever the working directory."""
        return str(Path(self.run.folder, record.place))

    @cached_property
    def readable(self) -> list[PredictionRecord]:
        """The images that could be read, highest score first."""
        return sorted((record for record in self.records if not record.error), key=lambda record: -record.raw_score)

    @property
    def unreadable(self) -> list[PredictionRecord]:
        """The images that could not be read."""
        return [record for record in self.records if record.error]

    @property
    def rejected(self) -> list[PredictionRecord]:
        """The images predicted anomalous, highest score first."""
        return [record for record in self.readable if record.is_anomalous]

    def rejected_above(self, level: float) -> int:
        """Return how many images a threshold of raw scores rejects.

        Those unlike the part, or like a known defect, are rejected whatever it is.
        """
        always = UNLIKE, LIKE_DEFECT
        return sum(record.raw_score > level or record.reason.startswith(always) for record in self.readable)

    @property
    def with_place(self) -> list[PredictionRecord]:
        """The images predicted anomalous whose maps show where, or whose reasons say why not."""
        return [record for record in self.rejected if not record.is_without_place]

    @property
    def without_place(self) -> list[PredictionRecord]:
        """The images predicted anomalous whose maps show no place."""
        return [record for record in self.rejected if record.is_without_place]

    @property
    def passed(self) -> list[PredictionRecord]:
        """The images predicted normal, those closest to the threshold first."""
        return [record for record in self.readable if record.is_good]

    @property
    def unsure(self) -> list[PredictionRecord]:
        """The images that are left to people, highest score first."""
        return [record for record in self.readable if record.is_unsure]


@dataclass(frozen=True)
class PredictionsGallery:
    """The images that are shown with their maps, or why none are."""

    rejected: tuple[GalleryItem, ...] = ()
    without_place: tuple[GalleryItem, ...] = ()  # rejected, too
    unsure: tuple[GalleryItem, ...] = ()
    passed: tuple[GalleryItem, ...] = ()
    by_rate: tuple[tuple[float, float, int], ...] = ()  # false-alarm rates, the threshold at each, how many it rejects
    why_empty: str = ""


@dataclass(frozen=True)
class Health:
    """The diagnostics of the detector's prototypes, or why there are none."""

    diagnostics: Mapping[str, Any] | None = None
    note: str = ""


def health_of(run: PredictionRun) -> Health:
    """Read the diagnostics that training wrote beside the detector."""
    file = run.checkpoint_path.parent / DIAGNOSTICS_FILE
    try:
        check_unchanged(run)
        return Health(
            read_diagnostics(
                file, "There are no diagnostics beside the detector: promptad train --good writes them there."
            )
        )
    except InputError as error:
        return Health(note=str(error))


def make_gallery(found: PredictionsSummary, device: torch.device, console: Console) -> PredictionsGallery:
    """Score the rejected images with the highest scores and the passed ones nearest the threshold again, for maps."""
    run = found.run
    try:
        check_unchanged(run)
        predictor = _open(run, device)
    except InputError as error:
        return PredictionsGallery(why_empty=str(error))
    kinds = (
        found.with_place[:MOST_REJECTED],
        found.without_place[:MOST_REJECTED],
        found.unsure[:MOST_REJECTED],
        found.passed[:MOST_PASSED],
    )
    every = [record for kind in kinds for record in kind]
    with progress_bar(console) as progress:
        task = add_task(progress, "pictures", len(every))
        shown = []
        for record in every:
            plain = gallery_item(found, record)
            shown.append(render_item(predictor, plain, masks=Path(run.folder, run.masks) if run.masks else None))
            progress.advance(task)
    by_rate = tuple((rate, level, found.rejected_above(level)) for rate, level in predictor.metadata.by_rate)
    items = iter(shown)
    rejected, without_place, unsure, passed = (tuple(islice(items, len(kind))) for kind in kinds)
    return PredictionsGallery(rejected, without_place, unsure, passed, by_rate)


def gallery_item(found: PredictionsSummary, record: PredictionRecord) -> GalleryItem:
    """Return an image as the gallery names it, not drawn yet."""
    words, marked = "" if record.is_good else record.reason, record.is_without_place
    if marked and record.explanation is not None:
        words = f"{words}; {terms_in_words(record.explanation, record.raw_score, record.threshold)}"
    path = Path(found.run.folder, record.place)
    return GalleryItem(found.name(record), path, record.score, record.max_score, words, marks_highest=marked)


def terms_in_words(known: Explanation, raw_score: float, threshold: float | None) -> str:
    """Return what a raw score is made of, and where it would have passed."""
    terms = {"whole picture": known.class_token, "its places": known.patches, "memory bank": known.memory}
    found = " + ".join(f"{name} {decimal(term, 1)}" for name, term in terms.items() if term is not None)
    limit = "" if threshold is None else f", threshold {decimal(threshold, 1)}"
    return f"{found} = {decimal(raw_score, 1)}{limit}"


def _open(run: PredictionRun, device: torch.device) -> Predictor:
    """Open the detector of a run: a checkpoint, or an exported one."""
    if run.checkpoint_path.suffix in SUFFIXES:
        return Session(run.checkpoint_path).with_picture(run.settings.picture)
    scoring, backbone = run.settings.scoring, run.settings.backbone
    asked = scoring.false_alarm_rate, backbone.pretrained, scoring.threshold, scoring.unsure_rate
    memory = backbone.memory_pretrained if backbone.memory_backbone else None
    found = load_with_thresholds(run.checkpoint_path, device, *asked, memory_weights=memory)
    return found.with_picture(run.settings.picture)


def check_unchanged(run: PredictionRun) -> None:
    """Raise InputError if the detector file is missing or has changed."""
    path = run.checkpoint_path
    if not path.is_file():
        raise InputError(f"The detector {path} is no longer there.")
    if file_sha256(path) != run.checkpoint_sha256:
        raise InputError(f"The detector {path} has changed since: {AGAIN}.")


def common_folder(paths: Sequence[str]) -> str:
    """Return the deepest folder that contains all paths, or "" if there is none.

    >>> common_folder(["new/a/1.png", "new/2.png"]), common_folder(["1.png", "new/2.png"])
    ('new', '')
    """
    parents = [Path(path).parent.parts for path in paths]
    shared = 0
    while all(len(parts) > shared and parts[shared] == parents[0][shared] for parts in parents):
        shared += 1
    return str(Path(*parents[0][:shared])) if shared else ""
