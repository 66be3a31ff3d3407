"""The command line, `promptad` and its commands; the ancestor's scripts go over it."""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from rich.console import Console

from promptad.arguments import Arguments, chosen_system, leave_out_what_does_not_apply, make_seeds, parse, settings_of
from promptad.comparison.differences import compare
from promptad.comparison.figure import draw_comparison
from promptad.comparison.report import print_comparison, write_csv, write_markdown
from promptad.comparison.rows import comparable_rows
from promptad.data.demo import DEMO_CLASSES
from promptad.data.layouts import class_names, no_classes, read_class
from promptad.data.pictures import find_pictures
from promptad.detection import Subject
from promptad.errors import InputError
from promptad.inspection import Inspection, tell
from promptad.measuring import Run
from promptad.options import CHOICE
from promptad.preparation import (
    check_alone,
    check_batch_size,
    draw_demo,
    draw_sheet,
    find_data,
    find_device,
    make_choice,
    make_jobs,
    make_run,
    read_one_class,
    read_own,
    result_folder,
)
from promptad.records import ANOMALY
from promptad.report.findings import gather
from promptad.report.gallery import make_galleries
from promptad.report.inspected import Inspected, health_of, make_gallery
from promptad.report.inspection_page import render_inspection
from promptad.report.page import render
from promptad.report.template import write_page
from promptad.result_folder import OWN_CHECKPOINT
from promptad.runs import print_seeds, test_class, train_all, train_one
from promptad.saved_predictions import LINES, ONE_PICTURE, InspectionRun, read_predictions
from promptad.systems import load_deciding, load_detector

REJECTED = 3  # exit code of predict --fail-on-anomaly


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 2 after a user's mistake, which is printed in one line (130 after Ctrl-C).

    `predict` may return 3, for what it rejected.
    """
    console = Console(highlight=False, markup=False)
    try:
        command, given = parse(sys.argv[1:] if arguments is None else arguments)
        leave_out_what_does_not_apply(given, console)
        return RUNNERS[command](given, console) or 0
    except InputError as error:
        return _complain(str(error), 2)
    except torch.OutOfMemoryError:
        return _complain("the GPU is out of memory: lower --batch-size or --resolution, or use --use-cpu True", 2)
    except KeyboardInterrupt:
        return _complain("interrupted; what was finished is kept", 130)


def _complain(line: str, code: int) -> int:
    Console(stderr=True, highlight=False, markup=False).print(f"promptad: {' '.join(line.split())}", soft_wrap=True)
    return code


def run_train(given: Arguments, console: Console) -> None:
    """Train one class, or a part of the user's own."""
    own = read_own(given) if given["good"] else None
    if own is None and given["name"]:
        raise InputError(f"--name {given['name']!r} is of your own pictures: give them with --good")
    seeds = make_seeds(given)
    for settings in seeds:
        result_folder(given, settings).check_writable()
    train_one(make_jobs(given, seeds, [own or read_one_class(given, console)], console))
    if own:
        folder = result_folder(given, seeds[0]).folder
        if seeds[0].training.k_shot == 1:
            console.print(ONE_PICTURE, soft_wrap=True)
        console.print(f"judge pictures with: promptad predict {shlex.quote(str(folder))} PICTURES", soft_wrap=True)


def run_predict(given: Arguments, console: Console) -> int:
    """Judge pictures without labels; return the exit code."""
    path = given["checkpoint"] / OWN_CHECKPOINT if given["checkpoint"].is_dir() else given["checkpoint"]
    check_batch_size(given)
    pictures = find_pictures(given["pictures"], besides=given["output"])
    device = find_device(given, console)
    detector = load_deciding(path, device, given["false_alarm_rate"], given["pretrained_dataset"])
    if len(detector.subject.support_images) == 1:
        console.print(ONE_PICTURE, soft_wrap=True)
    run = InspectionRun.of(path, detector)
    lines = Inspection(detector, run, given["output"], console, given["batch_size"], given["overlays"]).judge(pictures)
    tell(lines, console)
    console.print(f"written: {given['output'] / LINES}", soft_wrap=True)
    if all("error" in line for line in lines):
        raise InputError("none of the pictures could be read: see their lines above")
    bad = any(line.get("decision") == ANOMALY or "error" in line for line in lines)
    return REJECTED if bad and given["fail_on_anomaly"] else 0


def run_train_all(given: Arguments, console: Console) -> None:
    """Train all classes of a data set."""
    seeds = make_seeds(given)
    if given["class_name"]:
        raise InputError(f"--class-name {given['class_name']}: train-all takes --classes {given['class_name']}")
    for settings in seeds:
        result_folder(given, settings).check_writable()
    folder = find_data(given, given["classes"] or DEMO_CLASSES, console)
    found = given["classes"] or class_names(given["dataset"], folder)
    if left_out := no_classes(given["dataset"], folder):
        console.print(f"left out, for they hold no good/: {', '.join(left_out)}", soft_wrap=True)
    classes = [read_class(given["dataset"], folder, name) for name in found]
    jobs = make_jobs(given, seeds, classes, console)
    on_gpu = jobs[0].run.backbone.device.type == "cuda"
    train_all(jobs, together=on_gpu if given["together"] is None else given["together"])


def run_test(given: Arguments, console: Console) -> None:
    """Test a trained detector, or one of each seed, with the settings that it was trained with."""
    pictures = read_one_class(given, console)
    device = find_device(given, console)
    runs: list[Run] = []
    for asked in make_seeds(given):
        path = given["checkpoint"] or result_folder(given, asked).checkpoint(pictures.class_name)
        settings = settings_of(path, given, asked)
        detector = load_detector(
            path,
            device,
            chosen_system(given),
            backbone=runs[0].backbone if runs else None,
            weights=given.get("pretrained_dataset"),
            settings=settings,
            subject=Subject(pictures.dataset, pictures.class_name, (), ""),
        )
        if detector.class_name != pictures.class_name:
            raise InputError(f"{path} is a detector of {detector.class_name!r}, not of {pictures.class_name!r}")
        run = make_run(given, settings, console, detector.backbone)
        run = replace(run, splits=runs[0].splits) if runs else run
        test_class(run, detector, pictures)
        runs.append(run)
    if len(runs) > 1:
        print_seeds(runs, {pictures.class_name})


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
        raise InputError(f"--output {given['output']} is a folder: name the page, such as report.html")
    device = find_device(given, console)
    write_page(
        _page_of_predictions(given, device, console) if given["predictions"] else _page_of_run(given, device, console),
        given["output"],
    )
    console.print(f"report: {given['output']}", soft_wrap=True)


def _page_of_run(given: Arguments, device: torch.device, console: Console) -> str:
    findings = gather(make_choice(given, () if given["k_shot"] is None else (given["k_shot"],)))
    return render(findings, make_galleries(findings, device, console))


def _page_of_predictions(given: Arguments, device: torch.device, console: Console) -> str:
    usual = {option.name: option.default for option in CHOICE}
    check_alone(given, usual, "--predictions: leave it out (it chooses among saved results)")
    found = Inspected(*read_predictions(given["predictions"]))
    return render_inspection(found, make_gallery(found, device, console), health_of(found.run))


def run_demo_data(given: Arguments, console: Console) -> None:
    """Draw the demo data set."""
    classes = given["classes"] or DEMO_CLASSES
    draw_demo(given["output"], classes, given["line"], given["difficulty"], console, "--output")
    if given["sheet"]:
        draw_sheet(given["sheet"], classes, given["line"], given["difficulty"], console)


RUNNERS: dict[str, Callable[[Arguments, Console], int | None]] = {
    "train": run_train,
    "predict": run_predict,
    "test": run_test,
    "train-all": run_train_all,
    "compare": run_compare,
    "report": run_report,
    "demo-data": run_demo_data,
}
