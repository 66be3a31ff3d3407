"""The command line, `promptad` and its commands; the ancestor's scripts go over it."""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from promptad.arguments import Arguments, chosen_system, leave_out_what_does_not_apply, make_seeds, parse, settings_of
from promptad.backbone.clip import Backbone
from promptad.backbone.feature_cache import FeatureCache, default_cache_folder
from promptad.backbone.loading import choose_device, load_backbone
from promptad.comparison.differences import compare
from promptad.comparison.figure import draw_comparison
from promptad.comparison.report import print_comparison, write_csv, write_markdown
from promptad.comparison.rows import Choice, comparable_rows
from promptad.data.demo import DEFECT_FOLDERS, DEMO_CLASSES, make_demo_class, write_sheet
from promptad.data.layouts import class_names, dataset_folder, default_data_root, no_classes, read_class
from promptad.data.pictures import find_pictures
from promptad.data.support import choose_support, read_support_list
from promptad.detection import Subject
from promptad.detector import Detector
from promptad.errors import InputError, check_choice
from promptad.files import writable_folder
from promptad.inspection import LINES, ONE_PICTURE, Inspection, tell
from promptad.measuring import Run
from promptad.options import names
from promptad.progress import add_task, progress_bar
from promptad.records import ANOMALY, ClassPictures
from promptad.report.findings import gather
from promptad.report.gallery import make_galleries
from promptad.report.page import write_page
from promptad.result_folder import OWN_CHECKPOINT, OwnFolder, ResultFolder
from promptad.runs import Job, print_seeds, test_class, train_all, train_one
from promptad.settings import Settings
from promptad.systems import load_detector

REJECTED = 3  # exit code of predict --fail-on-anomaly
MOST_OWN = 8  # good pictures that are learned from where --k-shot does not say


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
    own = _read_own(given) if given["good"] else None
    if own is None and given["name"]:
        raise InputError(f"--name {given['name']!r} is of your own pictures: give them with --good")
    seeds = make_seeds(given)
    for settings in seeds:
        _result_folder(given, settings).check_writable()
    train_one(_make_jobs(given, seeds, [own or _read_one_class(given, console)], console))
    if own:
        folder = _result_folder(given, seeds[0]).folder
        if seeds[0].training.k_shot == 1:
            console.print(ONE_PICTURE, soft_wrap=True)
        console.print(f"judge pictures with: promptad predict {shlex.quote(str(folder))} PICTURES", soft_wrap=True)


def run_predict(given: Arguments, console: Console) -> int:
    """Judge pictures without labels; return the exit code."""
    path = given["checkpoint"] / OWN_CHECKPOINT if given["checkpoint"].is_dir() else given["checkpoint"]
    _check_batch_size(given)
    pictures = find_pictures(given["pictures"], besides=given["output"])
    detector = load_detector(path, _find_device(given, console), weights=given["pretrained_dataset"])
    assert isinstance(detector, Detector)
    if detector.normal_scores is None:
        raise InputError(f"{path} was saved before its training ended and has no threshold: train the class again")
    if (rate := given["false_alarm_rate"]) is not None:
        detector = detector.deciding(detector.normal_scores, rate)
    if len(detector.subject.support_images) == 1:
        console.print(ONE_PICTURE, soft_wrap=True)
    lines = Inspection(detector, given["output"], console, given["batch_size"], given["overlays"]).judge(pictures)
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
        _result_folder(given, settings).check_writable()
    folder = _find_data(given, given["classes"] or DEMO_CLASSES, console)
    found = given["classes"] or class_names(given["dataset"], folder)
    if left_out := no_classes(given["dataset"], folder):
        console.print(f"left out, for they hold no good/: {', '.join(left_out)}", soft_wrap=True)
    classes = [read_class(given["dataset"], folder, name) for name in found]
    jobs = _make_jobs(given, seeds, classes, console)
    on_gpu = jobs[0].run.backbone.device.type == "cuda"
    train_all(jobs, together=on_gpu if given["together"] is None else given["together"])


def run_test(given: Arguments, console: Console) -> None:
    """Test a trained detector, or one of each seed, with the settings that it was trained with."""
    pictures = _read_one_class(given, console)
    device = _find_device(given, console)
    runs: list[Run] = []
    for asked in make_seeds(given):
        path = given["checkpoint"] or _result_folder(given, asked).checkpoint(pictures.class_name)
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
        run = _make_run(given, settings, console, detector.backbone)
        run = replace(run, splits=runs[0].splits) if runs else run
        test_class(run, detector, pictures)
        runs.append(run)
    if len(runs) > 1:
        print_seeds(runs, {pictures.class_name})


def run_compare(given: Arguments, console: Console) -> None:
    """Compare two systems in saved results."""
    choice = _make_choice(given, given["k_shot"] or ())
    comparison = compare(comparable_rows(choice), choice)
    print_comparison(comparison, console)
    if given["output"]:
        draw_comparison(comparison, given["output"] / "comparison.png")
        write_csv(comparison, given["output"] / "comparison.csv")
        write_markdown(comparison, "comparison.png", given["output"] / "comparison.md")
        console.print(f"written: comparison.md, .csv and .png in {given['output']}", soft_wrap=True)


def run_report(given: Arguments, console: Console) -> None:
    """Write saved results as one page."""
    if given["output"].is_dir():
        raise InputError(f"--output {given['output']} is a folder: name the page, such as report.html")
    findings = gather(_make_choice(given, () if given["k_shot"] is None else (given["k_shot"],)))
    write_page(findings, make_galleries(findings, _find_device(given, console), console), given["output"])
    console.print(f"report: {given['output']}", soft_wrap=True)


def run_demo_data(given: Arguments, console: Console) -> None:
    """Draw the demo data set."""
    classes = given["classes"] or DEMO_CLASSES
    _draw_demo(given["output"], classes, given["line"], given["difficulty"], console, "--output")
    if given["sheet"]:
        _draw_sheet(given["sheet"], classes, given["line"], given["difficulty"], console)


RUNNERS: dict[str, Callable[[Arguments, Console], int | None]] = {
    "train": run_train,
    "predict": run_predict,
    "test": run_test,
    "train-all": run_train_all,
    "compare": run_compare,
    "report": run_report,
    "demo-data": run_demo_data,
}


def _make_choice(given: Arguments, k_shot: tuple[int, ...]) -> Choice:
    """Return which saved results are asked for."""
    return Choice(
        given["dataset"],
        given["root_dir"] or (Path("result"),),
        given["baseline"],
        given["ours"],
        k_shot,
        given["seeds"] or (),
        given["classes"] or (),
        given["select"],
    )


def _read_own(given: Arguments) -> ClassPictures:
    """Return the user's own good pictures, and note among the options given how many are learned from."""
    for name, usual in (("dataset", "mvtec"), ("seeds", None), ("support_list", None), ("class_name", None)):
        if given[name] != usual:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"{flag} {given[name]} does not go with --good: leave it out (the part's name is --name)")
    if given["name"] is None:
        raise InputError("--name is missing: say what the part is, such as --name 'metal bracket'")
    _check_plain("--name", given["name"])
    named = [part for word in given["good"] for part in ([word] if Path(word).exists() else names(word))]
    pictures = find_pictures(named)
    given["dataset"] = "own"
    given.setdefault("k_shot", min(len(pictures), MOST_OWN))
    return ClassPictures("own", given["name"], pictures, ())


def _check_plain(flag: str, name: str) -> None:
    if not name.strip() or Path(name).name != name:
        raise InputError(f"{flag} {name!r}: give a plain name, such as carpet; files are called by it")


def _read_one_class(given: Arguments, console: Console) -> ClassPictures:
    name = given["class_name"]
    if name is None:
        raise InputError("--class-name is missing: name the part, such as --class-name carpet")
    _check_plain("--class-name", name)
    return read_class(given["dataset"], _find_data(given, (name,), console), name)


def _find_data(given: Arguments, demo_classes: Sequence[str], console: Console) -> Path:
    """Return the folder of the data set; the demo's classes are drawn if they are not there."""
    root = given["data_root"] or default_data_root()
    if given["dataset"] == "demo":
        _draw_demo(root / "demo", demo_classes, 0, "normal", console)
    return dataset_folder(given["dataset"], root)


def _draw_demo(
    folder: Path, classes: Sequence[str], line: int, difficulty: str, console: Console, flag: str = "--data-root"
) -> None:
    """Draw the demo classes that are not there yet, with a progress bar."""
    for name in classes:
        check_choice("demo class", name, DEFECT_FOLDERS)
    missing = [name for name in classes if not (folder / name).is_dir()]
    if missing:
        console.print(
            f"drawing demo data for {len(missing)} class{'es' * (len(missing) > 1)} in {folder}", soft_wrap=True
        )
    with progress_bar(console) as progress:
        task = add_task(progress, "draw", len(classes))
        for name in classes:
            progress.update(task, note=name)
            with writable_folder(folder, flag):
                make_demo_class(folder, name, line=line, difficulty=difficulty)
            progress.advance(task)


def _draw_sheet(file: Path, classes: Sequence[str], line: int, difficulty: str, console: Console) -> None:
    """Draw the contact sheet with a progress bar."""
    with progress_bar(console) as progress:
        task = add_task(progress, "sheet", len(classes))
        with writable_folder(file.parent, "--sheet"):
            write_sheet(file, classes, line, difficulty, lambda name: progress.update(task, advance=1, note=name))
    console.print(f"contact sheet: {file}", soft_wrap=True)


def _make_jobs(
    given: Arguments, seeds: Sequence[Settings], classes: Sequence[ClassPictures], console: Console
) -> list[Job]:
    """Return the jobs of each class and seed, those of a class one after another."""
    support = [[_choose_support(given, settings, pictures) for settings in seeds] for pictures in classes]
    backbone = load_backbone(seeds[0].backbone, _find_device(given, console))
    first = _make_run(given, seeds[0], console, backbone)
    runs = [replace(first, settings=settings, results=_result_folder(given, settings)) for settings in seeds]
    return [
        Job(run, pictures, images)
        for pictures, chosen in zip(classes, support, strict=True)
        for run, images in zip(runs, chosen, strict=True)
    ]


def _choose_support(given: Arguments, settings: Settings, pictures: ClassPictures) -> tuple[Path, ...]:
    k, seed = settings.training.k_shot, settings.training.seed
    if given["support_list"]:
        return read_support_list(given["support_list"], pictures.class_name, pictures.normal, k)
    return choose_support(pictures.normal, k, seed)


def _result_folder(given: Arguments, settings: Settings) -> ResultFolder:
    k, seed = settings.training.k_shot, settings.training.seed
    if given.get("good"):
        own = given["root_dir"] / "_".join(given["name"].split())
        return OwnFolder(own, "own", k, seed, settings.system, settings.level)
    return ResultFolder(given["root_dir"], given["dataset"], k, seed, settings.system, settings.level)


def _find_device(given: Arguments, console: Console) -> torch.device:
    """Return the GPU that is asked for, or GPU 0 if there is one; the CPU otherwise."""
    asked = given["gpu_id"]
    device, remark = choose_device(None if given["use_cpu"] else asked or 0)
    if remark and asked is not None:
        console.print(remark)
    return device


def _check_batch_size(given: Arguments) -> None:
    if given["batch_size"] < 1:
        raise InputError(f"--batch-size {given['batch_size']}: must be at least 1")


def _make_run(given: Arguments, settings: Settings, console: Console, backbone: Backbone) -> Run:
    _check_batch_size(given)
    if not given["cache_size"] >= 0:
        raise InputError(f"--cache-size {given['cache_size']}: must be a number of at least 0")
    cache = FeatureCache(default_cache_folder(), given["cache_size"] * 2**30) if given["feature_cache"] else None
    return Run(
        replace(backbone, cache=cache),
        settings,
        _result_folder(given, settings),
        console,
        given["batch_size"],
        given["save_diagnostics"],
        given["vis"],
    )
