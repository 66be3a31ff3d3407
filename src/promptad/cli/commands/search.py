"""The search of the command sweep: settings that are proposed and tuned on some classes, and reported on others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from promptad.cli.datasets import find_data, read_classes
from promptad.cli.given import Arguments, make_seeds
from promptad.cli.grid import GridPoint, grid_point
from promptad.cli.jobs import decide_tiles
from promptad.cli.search import first_values, of_search, search_space, space_in_words, tuned_on, words_of
from promptad.cli.sweep_jobs import LastContext, check_folders, check_measurable, plan_point
from promptad.cli.sweep_results import show_results
from promptad.data.datasets import class_names
from promptad.data.demo import DEMO_CLASSES
from promptad.engine.context import Job
from promptad.engine.proposals import Proposals
from promptad.engine.search import Planned, run_trials
from promptad.engine.sweep import SweepSetting, run_settings
from promptad.errors import InputError
from promptad.reports.sweep.files import write_trials
from promptad.results.search import Objective, Range, Search, Trial
from promptad.structures import ClassDataset

TRIALS = "trials"  # folder of the trials' results, apart from what is reported


def run_search(given: Arguments, console: Console) -> None:
    """Try proposed settings on the classes that choose; train the first and the best on those that are reported."""
    tuning, reported = _read_both(given, console)
    check_measurable([*tuning, *reported])
    contexts = LastContext(given, console)
    planner = Planner(given, tuning, contexts, Path(TRIALS))
    search = _try_settings(given, planner, console)
    write_trials(search, given["output"] or given["root_dir"])
    if not search.objective.is_of_reported:
        planner = Planner(given, reported, contexts, Path(), planner.asked)
    chosen = dict.fromkeys((search.first.number, search.chosen.number))  # of which there is one, if none is better
    settings = [planner.setting(number) for number in chosen]
    names = ", ".join(dataset.class_name for dataset in reported)
    console.print(f"trial {search.chosen.number} is {search.objective.choice}; now measured on {names}", soft_wrap=True)
    failures = run_settings(settings, contexts, console)
    show_results(settings, failures, given, console, search)


@dataclass
class Planner:
    """Makes trials of proposed values, on some classes, with results in folders of one place."""

    given: Arguments
    classes: Sequence[ClassDataset]
    contexts: LastContext
    place: Path  # below the folder of results
    asked: dict[int, Mapping[str, Any]] = field(default_factory=dict)  # values by trial

    def __call__(self, number: int, values: Mapping[str, Any]) -> Planned:
        """Return the trial of these values; values that do not go together make one that says so.

        Raises:
            InputError: what it starts from cannot be; or it is not the values: the folder cannot be written to, or the
                backbone not be loaded. That ends the search, whose later proposals would hang on a trial left out.
        """
        self.asked[number] = values
        point = self.point(number)
        trial = Trial(number, dict(point.values), (self.place / point.folder).as_posix())
        try:
            jobs = self._jobs(point)
        except InputError as error:
            if number == 1:
                raise
            return Planned(replace(trial, failure=str(error)), SweepSetting(trial.values, trial.folder, ()))
        return Planned(trial, self._setting(point, jobs))

    def point(self, number: int) -> GridPoint:
        """Return the point of a trial that was asked for."""
        return grid_point(self.given, dict(self.asked[number]))

    def setting(self, number: int) -> SweepSetting:
        """Return the setting of a trial that was asked for, with its jobs on the classes."""
        point = self.point(number)
        return self._setting(point, self._jobs(point))

    def _jobs(self, point: GridPoint) -> list[Job]:
        return plan_point(point, self.given["root_dir"] / self.place, self.classes)

    def _setting(self, point: GridPoint, jobs: Sequence[Job]) -> SweepSetting:
        check_folders(jobs)
        backbone = self.contexts[jobs[0].settings.backbone].backbone
        folder = (self.place / point.folder).as_posix()
        return SweepSetting(dict(point.values), folder, tuple(decide_tiles(jobs, backbone)))


def _try_settings(given: Arguments, planner: Planner, console: Console) -> Search:
    """Run the trials."""
    space = search_space(given)
    first = first_values(given, space)
    seeds = tuple(settings.training.seed for settings in make_seeds(grid_point(given, first).given))
    names = tuple(dataset.class_name for dataset in planner.classes)
    objective = Objective(of_search(given, "objective"), names, seeds, is_of_reported=not tuned_on(given))
    seed = of_search(given, "search_seed")
    proposals = Proposals(space, first, seed, lower_is_better=objective.metric.lower_is_better)
    trials = run_trials(proposals, planner, given["trials"], objective, planner.contexts, console)
    scales = {name: values if isinstance(values, Range) else words_of(name, values) for name, values in space.items()}
    return Search(objective, space_in_words(space), scales, seed, tuple(trials))


def _read_both(given: Arguments, console: Console) -> tuple[list[ClassDataset], list[ClassDataset]]:
    """Return the classes that choose, and those that are reported: without `classes` all others.

    Raises:
        InputError: none is left to report, or both have pictures in common.
    """
    tuned = tuned_on(given)
    if not tuned:
        classes = read_classes(given, console)
        return classes, classes
    tuning = read_classes(given | {"classes": tuned}, console)
    if not (names := given["classes"]):
        names = tuple(name for name in _all_classes(given, console) if name not in tuned)
        if not names:
            raise InputError(f"`tune_on` {', '.join(tuned)}: no class is left to report, leave one out")
    reported = read_classes(given | {"classes": names}, console)
    if both := _pictures(tuning) & _pictures(reported):
        raise InputError(f"{min(both)} is of a class in `tune_on` and of one in `classes`: leave either out")
    return tuning, reported


def _all_classes(given: Arguments, console: Console) -> Sequence[str]:
    if given["dataset"] == "demo":
        return DEMO_CLASSES
    return class_names(given["dataset"], find_data(given, (), console))


def _pictures(classes: Sequence[ClassDataset]) -> set[Path]:
    return {image.path.resolve() for dataset in classes for image in dataset.test}
