"""From a point of a sweep to its jobs, and what those of each backbone run with."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from promptad.cli.given import Arguments, make_seeds
from promptad.cli.grid import GridPoint
from promptad.cli.jobs import load_context, plan_jobs
from promptad.engine.context import Job, RunContext
from promptad.errors import InputError
from promptad.settings import BackboneSettings
from promptad.structures import ClassDataset


def check_measurable(classes: Sequence[ClassDataset]) -> None:
    """Check that all classes have test pictures.

    Raises:
        InputError: some have none.
    """
    if unmeasured := [dataset.class_name for dataset in classes if not dataset.can_be_evaluated]:
        raise InputError(
            f"{', '.join(unmeasured)}: no test pictures, good and defective ones, and a sweep measures: add them, as in"
            " test/good and test/hole, or name other classes by `classes`"
        )


def plan_point(point: GridPoint, root: Path, classes: Sequence[ClassDataset]) -> list[Job]:
    """Return the jobs of a point, whose folder of results is below `root`, as far as no backbone is needed.

    Raises:
        InputError: its settings cannot be.
    """
    own = point.given | {"root_dir": root / point.folder}
    return plan_jobs(own, make_seeds(own), classes)


def check_folders(jobs: Sequence[Job]) -> None:
    """Check that the results of jobs can be written.

    Raises:
        InputError: they cannot.
    """
    for folder in dict.fromkeys(job.results for job in jobs):
        folder.check_writable()


def load_silent(given: Arguments, backbone: BackboneSettings, console: Console) -> RunContext:
    """Load a backbone, and return what jobs run with without a word."""
    return replace(load_context(given, backbone, console), console=Console(quiet=True, force_terminal=False))


class LastContext(dict[BackboneSettings, RunContext]):
    """What jobs run with by their backbone, which is loaded when it is asked for, and left for the next one."""

    def __init__(self, given: Arguments, console: Console) -> None:
        super().__init__()
        self.given, self.console = given, console

    def __missing__(self, backbone: BackboneSettings) -> RunContext:
        self.clear()  # before another one is loaded: a search may ask for many
        self[backbone] = load_silent(self.given, backbone, self.console)
        return self[backbone]
