"""The command sweep: a grid of settings, trained and measured, in one table and one figure."""

import sys
from dataclasses import replace

from rich.console import Console

from promptad.cli.datasets import read_classes
from promptad.cli.given import Arguments, make_seeds
from promptad.cli.grid import grid_points
from promptad.cli.jobs import decide_tiles, load_context, plan_jobs, result_folder
from promptad.cli.main import FlagConsole
from promptad.cli.workers import find_workers
from promptad.engine.context import Job, RunContext
from promptad.engine.sweep import SweepSetting, run_settings
from promptad.errors import InputError
from promptad.reports.sweep.figure import draw_sweep
from promptad.reports.sweep.lines import SweepTable, make_table
from promptad.reports.sweep.tables import as_json, print_sweep, write_csv, write_json, write_markdown
from promptad.settings import BackboneSettings
from promptad.structures import ClassDataset

SILENT = Console(quiet=True, force_terminal=False)  # trainings say nothing of themselves


def run_sweep(given: Arguments, console: Console) -> None:
    """Train and measure all settings of a grid, those excepted that are finished, and compare them with the first."""
    if given["json"]:
        console = FlagConsole(stderr=True, highlight=False, markup=False)
    classes = read_classes(given, console)
    if unmeasured := [dataset.class_name for dataset in classes if not dataset.can_be_evaluated]:
        raise InputError(
            f"{', '.join(unmeasured)}: no test pictures, good and defective ones, and a sweep measures: name others by"
            " `classes`"
        )
    settings, contexts = _make_settings(given, classes, console)
    workers = find_workers(given, [job for setting in settings for job in setting.jobs], contexts, console)
    failures = run_settings(settings, contexts, console, workers)
    count = sum(len(setting.jobs) for setting in settings)
    failed = InputError(f"{len(failures)} of {count} trainings failed; " + "; ".join(failures))
    measured = [setting.measured() for setting in settings]
    if failures and not measured[0].rows:  # nothing to compare with
        raise failed
    table = make_table(measured, given["dataset"])
    _write(table, given, console)
    if given["json"]:
        sys.stdout.write(as_json(table))
    else:
        print_sweep(table, console)
    if failures:
        raise failed


def _make_settings(
    given: Arguments, classes: list[ClassDataset], console: Console
) -> tuple[list[SweepSetting], dict[BackboneSettings, RunContext]]:
    """Return the settings with their jobs, and what those of each backbone run with: without a word."""
    planned: list[tuple[dict[str, str], str, list[Job]]] = []
    for point in grid_points(given):
        own = point.given | {"root_dir": given["root_dir"] / point.folder}
        seeds = make_seeds(own)
        for seed in seeds:
            result_folder(own, seed).check_writable()
        planned.append((dict(point.values), point.folder, plan_jobs(own, seeds, classes)))
    needed = dict.fromkeys(job.settings.backbone for _, _, jobs in planned for job in jobs)
    contexts = {backbone: replace(load_context(given, backbone, console), console=SILENT) for backbone in needed}
    settings = [
        SweepSetting(values, folder, tuple(decide_tiles(jobs, contexts[jobs[0].settings.backbone].backbone)))
        for values, folder, jobs in planned
    ]
    return settings, contexts


def _write(table: SweepTable, given: Arguments, console: Console) -> None:
    folder = given["output"] or given["root_dir"]
    draw_sweep(table, folder / "sweep.png")
    write_csv(table, folder / "sweep.csv")
    write_json(table, folder / "sweep.json")
    write_markdown(table, "sweep.png", folder / "sweep.md")
    console.print(f"written: sweep.md, .csv, .json and .png in {folder}", soft_wrap=True)
