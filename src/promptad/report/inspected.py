"""What an inspection found: pictures judged without labels, the detector that judged them, and what to show of both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from promptad.errors import InputError
from promptad.progress import add_task, progress_bar
from promptad.records import ANOMALY
from promptad.report.findings import read_diagnostics
from promptad.report.gallery import Shown, show
from promptad.saved_predictions import AGAIN, InspectionRun, Judged, file_sha256
from promptad.systems import load_deciding

MOST_REJECTED, MOST_PASSED = 12, 4  # pictures in the gallery
DIAGNOSTICS = "diagnostics.json"  # beside the detector of one's own part


@dataclass(frozen=True)
class Inspected:
    """Judged pictures, in the order in which they were judged, and their run."""

    run: InspectionRun
    lines: tuple[Judged, ...]

    @cached_property
    def folder(self) -> str:
        """The folder that all pictures lie in, if there is one."""
        return common_folder([line.path for line in self.lines])

    def name(self, line: Judged) -> str:
        """Return what a picture is called: its path below that folder."""
        return str(Path(line.path).relative_to(self.folder))

    @cached_property
    def judged(self) -> list[Judged]:
        """The pictures that could be read, the worst first."""
        return sorted((line for line in self.lines if not line.error), key=lambda line: -line.raw)

    @property
    def unreadable(self) -> list[Judged]:
        """The pictures that could not be read."""
        return [line for line in self.lines if line.error]

    @property
    def rejected(self) -> list[Judged]:
        """The rejected ones, the worst first."""
        return [line for line in self.judged if line.decision == ANOMALY]

    @property
    def passed(self) -> list[Judged]:
        """The ones found good, those closest to the threshold first."""
        return [line for line in self.judged if line.decision != ANOMALY]


@dataclass(frozen=True)
class InspectedGallery:
    """The pictures that are shown with their maps, or why none are."""

    rejected: tuple[Shown, ...] = ()
    passed: tuple[Shown, ...] = ()
    why_empty: str = ""


@dataclass(frozen=True)
class Health:
    """The diagnostics of the detector's prototypes, or why there are none."""

    diagnostics: Mapping[str, Any] | None = None
    note: str = ""


def health_of(run: InspectionRun) -> Health:
    """Read the diagnostics that training wrote beside the detector."""
    file = run.checkpoint_path.parent / DIAGNOSTICS
    try:
        check_unchanged(run)
        return Health(read_diagnostics(file, "No diagnostics lie beside the detector: train --good writes them there."))
    except InputError as error:
        return Health(note=str(error))


def make_gallery(found: Inspected, device: torch.device, console: Console) -> InspectedGallery:
    """Score the worst rejected pictures, and the good ones closest to the threshold, again to show their maps."""
    run = found.run
    try:
        check_unchanged(run)
        scoring, weights = run.settings.scoring, run.settings.backbone.pretrained
        detector = load_deciding(run.checkpoint_path, device, scoring.false_alarm_rate, weights)
    except InputError as error:
        return InspectedGallery(why_empty=str(error))
    rejected, passed = found.rejected[:MOST_REJECTED], found.passed[:MOST_PASSED]
    with progress_bar(console) as progress:
        task = add_task(progress, "pictures", len(rejected + passed))
        shown = []
        for line in rejected + passed:
            words = f"most like: {', '.join(line.most_like)}" if line.decision == ANOMALY else ""
            plain = Shown(found.name(line), Path(run.folder, line.path), line.score, line.peak, words)
            shown.append(show(detector, plain))
            progress.advance(task)
    return InspectedGallery(tuple(shown[: len(rejected)]), tuple(shown[len(rejected) :]))


def check_unchanged(run: InspectionRun) -> None:
    """Raise InputError if the detector has gone, or is another by now, so that it cannot speak for the predictions."""
    path = run.checkpoint_path
    if not path.is_file():
        raise InputError(f"The detector {path} is no longer there.")
    if file_sha256(path) != run.checkpoint_sha256:
        raise InputError(f"The detector {path} has changed since: {AGAIN}.")


def common_folder(paths: Sequence[str]) -> str:
    """Return the deepest folder that all paths lie in, or "" where they have none in common.

    >>> common_folder(["new/a/1.png", "new/2.png"]), common_folder(["1.png", "new/2.png"])
    ('new', '')
    """
    parents = [Path(path).parent.parts for path in paths]
    shared = 0
    while all(len(parts) > shared and parts[shared] == parents[0][shared] for parts in parents):
        shared += 1
    return str(Path(*parents[0][:shared])) if shared else ""
