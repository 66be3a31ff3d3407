"""The commands: each turns its options into work of the engine, and draws, writes and prints the results."""

import shlex
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

from promptad.cli.builders import (
    check_alone,
    draw_demo,
    draw_sheet,
    find_corruptions,
    find_data,
    find_device,
    make_choice,
    make_context,
    make_jobs,
    print_notes,
    read_one_class,
    read_part,
    result_folder,
    settings_of,
)
from promptad.cli.confirm import run_confirm
from promptad.cli.detectors import (
    export_path,
    find_support,
    load_decided,
    load_for_export,
    save_again,
    size_in_words,
)
from promptad.cli.flags import with_flags
from promptad.cli.judging import run_predict, run_watch
from promptad.cli.options import CHOICE
from promptad.cli.parser import Arguments, chosen_system, make_seeds
from promptad.cli.places import find_checkpoint
from promptad.data.datasets import class_names, no_classes, read_class
from promptad.data.demo import DEMO_CLASSES
from promptad.engine.context import RunContext
from promptad.engine.robustness import measure_disturbed
from promptad.engine.runs import evaluate_class, print_seeds, train_all, train_one
from promptad.errors import InputError
from promptad.export.base import STAGES, ExportOptions
from promptad.export.registry import export
from promptad.models.base import Subject
from promptad.models.registry import load_detector
from promptad.reports.comparison.differences import compare
from promptad.reports.comparison.figure import draw_comparison
from promptad.reports.comparison.rows import comparable_rows
from promptad.reports.comparison.tables import print_comparison, write_csv, write_markdown
from promptad.reports.gallery import make_galleries
from promptad.reports.parts_page import is_of_parts, read_parts, render_parts_page
from promptad.reports.predictions_page import render_predictions_page
from promptad.reports.predictions_summary import PredictionsSummary, health_of, make_gallery
from promptad.reports.run_page import render_run_page
from promptad.reports.run_summary import summarize_run
from promptad.reports.template import write_page
from promptad.results.paths import ResultFolder, check_plain_name
from promptad.runtime.asked_region import in_region
from promptad.runtime.engines import SUFFIXES as GRAPH_SUFFIXES
from promptad.runtime.predictions import ONE_IMAGE, read_predictions
from promptad.serve.server import ServeOptions, serve
from promptad.settings import MULTI_PROTOTYPE, Settings
from promptad.utils.progress import add_task, progress_bar


def run_train(given: Arguments, console: Console) -> None:
    """Train one class, or a part of the user's own."""
    part = None
    if given["good"]:
        part, given = read_part(given, console)
    elif given["name"]:
        raise InputError(f"`name` {given['name']!r} is of your own pictures: give them with `good`")
    seeds = make_seeds(given)
    for settings in seeds:
        result_folder(given, settings).check_writable()
    jobs, context = make_jobs(given, seeds, [part or read_one_class(given, console)], console)
    train_one(jobs, context)
    if part:
        folder = result_folder(given, seeds[0]).folder
        if seeds[0].training.k_shot == 1:
            console.print(ONE_IMAGE, soft_wrap=True)
        if seeds[0].system == MULTI_PROTOTYPE:  # the baseline decides nothing
            console.print(f"judge pictures with: promptad predict {shlex.quote(str(folder))} PICTURES", soft_wrap=True)


def run_threshold(given: Arguments, console: Console) -> None:
    """Show the threshold of a detector, and set it if that is asked for."""
    path = find_checkpoint(given["checkpoint"])
    if path.suffix in GRAPH_SUFFIXES:
        raise InputError(f"{path} decides as it was exported: set the threshold of its checkpoint, and export it again")
    detector = load_decided(path, find_device(given, console), given)
    known = detector.metadata
    if any(given[name] is not None for name in ("false_alarm_rate", "threshold", "unsure")):
        save_again(detector, path)
        console.print(f"written: {path}", soft_wrap=True)
    console.print(f"{known.class_name}: a picture is rejected above a raw score of {known.threshold:.4g}")
    for finding in detector.findings()[-1:]:
        console.print(finding, soft_wrap=True)
    if (unsure := known.settings.scoring.unsure_rate) is not None:
        console.print(
            f"unsure above {known.unsure_threshold:.4g}: the threshold for {100 * unsure:g} %", soft_wrap=True
        )
    table = Table("false alarms asked for", "threshold")
    for rate, level in known.by_rate:
        table.add_row(f"{100 * rate:g} %", f"{level:.4g}")
    console.print(table)


def run_export(given: Arguments, console: Console) -> None:
    """Export a detector."""
    path = find_checkpoint(given["checkpoint"])
    if path.suffix in GRAPH_SUFFIXES:
        raise InputError(f"{path} is exported already: name the checkpoint that it was exported from")
    output = export_path(path, given)
    detector = load_for_export(path, given, console)
    support = find_support(detector, given["good"] or ())
    with progress_bar(console) as progress:
        bar = add_task(progress, "export", len(STAGES))
        options = ExportOptions(
            precision=given["precision"],
            tower=given["tower"],
            support=support,
            begins=lambda stage: progress.update(bar, completed=STAGES.index(stage), note=stage),
        )
        made = export(detector, output, options)
    for file in made.files:
        console.print(f"written: {file}, {size_in_words(file.stat().st_size)}", soft_wrap=True)
    if made.change is not None:
        console.print(made.change.in_words(), soft_wrap=True)
    if output.suffix in GRAPH_SUFFIXES and detector.metadata.threshold is not None:
        tower = given["tower"]
        apart = tower is not None and tower.parent.resolve() != output.parent.resolve()
        words = [str(output), "PICTURES", *(["--tower", str(tower)] if apart else [])]
        line = f"judge pictures without torch: python -m promptad.runtime predict {shlex.join(words)}"
        console.print(line, soft_wrap=True)


def run_serve(given: Arguments, console: Console) -> None:
    """Judge pictures over HTTP."""
    options = ServeOptions(**given | {"detectors": tuple(given["detectors"])})
    serve(options, lambda line: console.print(line, soft_wrap=True))


def run_train_all(given: Arguments, console: Console) -> None:
    """Train all classes of a data set."""
    seeds = make_seeds(given)
    if given["class_name"]:
        raise InputError(f"`class_name` {given['class_name']}: train-all takes `classes` {given['class_name']}")
    for settings in seeds:
        result_folder(given, settings).check_writable()
    folder = find_data(given, given["classes"] or DEMO_CLASSES, console)
    found = given["classes"] or class_names(given["dataset"], folder)
    if left_out := no_classes(given["dataset"], folder):
        console.print(f"left out, for they hold no good/: {', '.join(left_out)}", soft_wrap=True)
    for name in found:
        check_plain_name("classes", name)
    classes = [read_class(given["dataset"], folder, name) for name in found]
    print_notes(classes, console)
    jobs, context = make_jobs(given, seeds, classes, console)
    on_gpu = context.backbone.device.type == "cuda"
    train_all(jobs, context, together=on_gpu if given["together"] is None else given["together"])


def run_test(given: Arguments, console: Console) -> None:
    """Evaluate a trained detector, or one of each seed, with the settings that it was trained with."""
    corruptions = find_corruptions(given)
    dataset, device = read_one_class(given, console), find_device(given, console)
    context: RunContext | None = None
    tested: list[tuple[Settings, ResultFolder]] = []
    for asked in make_seeds(given):
        path = given["checkpoint"] or result_folder(given, asked).checkpoint(dataset.class_name)
        settings = settings_of(path, given, asked)
        detector = load_detector(
            path,
            device,
            chosen_system(given),
            backbone=None if context is None else context.backbone,
            weights=given.get("pretrained_dataset"),
            settings=settings,
            subject=Subject(dataset.dataset, dataset.class_name, (), ""),
        )
        if detector.class_name != dataset.class_name:
            raise InputError(f"{path} is a detector of {detector.class_name!r}, not of {dataset.class_name!r}")
        context = context or make_context(given, console, detector.backbone)
        detector, _ = in_region(detector, given["region"] or (), given["ignore"] or ())
        tested.append((settings, result_folder(given, settings)))
        record = evaluate_class(detector, dataset, tested[-1][1], context)
        if corruptions:
            measure_disturbed(record, corruptions, tested[-1][1], context)
    if len(tested) > 1:
        print_seeds(tested[0][0], [folder for _, folder in tested], {dataset.class_name}, console)


def run_compare(given: Arguments, console: Console) -> None:
    """Compare two systems in saved results."""
    choice = make_choice(given, given["k_shot"] or ())
    comparison = compare(comparable_rows(choice), choice)
    print_comparison(comparison, console)
    if given["output"]:
        draw_comparison(comparison, given["output"] / "comparison.png")
        write_csv(comparison, given["output"] / "comparison.csv")
        write_markdown(comparison, "comparison.png", given["output"] / "comparison.md")
        console.print(f"written: comparison.md, .csv and .png in {given['output']}", soft_wrap=True)


def run_report(given: Arguments, console: Console) -> None:
    """Write saved results, or predictions, as one page."""
    if given["output"].is_dir():
        raise InputError(f"`output` {given['output']} is a folder: name the page, such as report.html")
    device = find_device(given, console)
    page = _page_of_predictions if given["predictions"] else _page_of_run
    write_page(with_flags(page(given, device, console)), given["output"])
    console.print(f"report: {given['output']}", soft_wrap=True)


def _page_of_run(given: Arguments, device: torch.device, console: Console) -> str:
    summary = summarize_run(make_choice(given, () if given["k_shot"] is None else (given["k_shot"],)))
    return render_run_page(summary, make_galleries(summary, device, console))


def _page_of_predictions(given: Arguments, device: torch.device, console: Console) -> str:
    usual = {option.name: option.default for option in CHOICE}
    check_alone(given, usual, "`predictions`: leave it out (it chooses among saved results)")
    if is_of_parts(given["predictions"]):
        written = read_parts(given["predictions"])
        every = [found for _, found in written.found]
        galleries = [make_gallery(found, device, console) for found in every]
        return render_parts_page(written, galleries, [health_of(found.run) for found in every])
    found = PredictionsSummary(*read_predictions(given["predictions"]))
    return render_predictions_page(found, make_gallery(found, device, console), health_of(found.run))


def run_demo_data(given: Arguments, console: Console) -> None:
    """Draw the demo data set."""
    classes = given["classes"] or DEMO_CLASSES
    draw_demo(given["output"], classes, given["line"], given["difficulty"], console, "output")
    if given["sheet"]:
        draw_sheet(given["sheet"], classes, given["line"], given["difficulty"], console)


RUNNERS: dict[str, Callable[[Arguments, Console], int | None]] = {
    "train": run_train,
    "predict": run_predict,
    "threshold": run_threshold,
    "confirm": run_confirm,
    "watch": run_watch,
    "export": run_export,
    "serve": run_serve,
    "test": run_test,
    "train-all": run_train_all,
    "compare": run_compare,
    "report": run_report,
    "demo-data": run_demo_data,
}
