"""The command sweep: a grid of settings, or a search through ranges, trained and measured, in one table and figure."""

from rich.console import Console

from promptad.cli.commands.search import run_search
from promptad.cli.datasets import read_classes
from promptad.cli.given import Arguments
from promptad.cli.grid import grid_points
from promptad.cli.jobs import decide_tiles
from promptad.cli.main import FlagConsole
from promptad.cli.sweep_jobs import check_folders, check_measurable, load_silent, plan_point
from promptad.cli.sweep_results import show_results
from promptad.cli.workers import find_workers
from promptad.engine.context import RunContext
from promptad.engine.sweep import SweepSetting, run_settings
from promptad.settings import BackboneSettings
from promptad.structures import ClassDataset


def run_sweep(given: Arguments, console: Console) -> None:
    """Train and measure all settings of a grid, those excepted that are finished, and compare them with the first."""
    if given["json"]:
        console = FlagConsole(stderr=True, highlight=False, markup=False)
    if given["search"]:
        run_search(given, console)
        return
    classes = read_classes(given, console)
    check_measurable(classes)
    settings, contexts = _make_settings(given, classes, console)
    workers = find_workers(given, [job for setting in settings for job in setting.jobs], contexts, console)
    failures = run_settings(settings, contexts, console, workers)
    show_results(settings, failures, given, console)


def _make_settings(
    given: Arguments, classes: list[ClassDataset], console: Console
) -> tuple[list[SweepSetting], dict[BackboneSettings, RunContext]]:
    """Return the settings with their jobs, and what those of each backbone run with: without a word."""
    planned = [(point, plan_point(point, given["root_dir"], classes)) for point in grid_points(given)]
    check_folders([job for _, jobs in planned for job in jobs])
    needed = dict.fromkeys(job.settings.backbone for _, jobs in planned for job in jobs)
    contexts = {backbone: load_silent(given, backbone, console) for backbone in needed}
    settings = [
        SweepSetting(
            dict(point.values),
            point.folder,
            tuple(decide_tiles(jobs, contexts[jobs[0].settings.backbone].backbone)),
        )
        for point, jobs in planned
    ]
    return settings, contexts
