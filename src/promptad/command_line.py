"""The command line, `promptad` and its commands; the ancestor's scripts go over it."""

import argparse
import difflib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any, NoReturn

import torch
from rich.console import Console

from promptad.backbone.clip import Backbone, choose_device, load_backbone
from promptad.comparison.differences import compare
from promptad.comparison.figure import draw_comparison
from promptad.comparison.report import print_comparison, write_csv, write_markdown
from promptad.comparison.rows import Choice, comparable_rows
from promptad.data.demo import DEFECT_FOLDERS, DEMO_CLASSES, make_demo_class
from promptad.data.layouts import class_names, dataset_folder, default_data_root, read_class
from promptad.data.support import choose_support, read_support_list
from promptad.detector import load_detector, read_checkpoint
from promptad.errors import InputError, check_choice
from promptad.files import writable_folder
from promptad.options import COMMANDS, LEARNING, Option, truth
from promptad.progress import add_task, progress_bar
from promptad.records import ClassPictures
from promptad.result_folder import ResultFolder
from promptad.runs import Run, test_class, train_all, train_class
from promptad.settings import EMBEDDED, Settings

Arguments = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 2 after a user's mistake, which is printed in one line (130 after Ctrl-C)."""
    console = Console(highlight=False, markup=False)
    try:
        command, given = parse(sys.argv[1:] if arguments is None else arguments)
        RUNNERS[command](given, console)
    except InputError as error:
        return _complain(str(error), 2)
    except torch.OutOfMemoryError:
        return _complain("the GPU is out of memory: lower --batch-size or --resolution, or use --use-cpu True", 2)
    except KeyboardInterrupt:
        return _complain("interrupted; what was finished is kept", 130)
    return 0


def _complain(line: str, code: int) -> int:
    Console(stderr=True, highlight=False, markup=False).print(f"promptad: {' '.join(line.split())}", soft_wrap=True)
    return code


def parse(arguments: Sequence[str]) -> tuple[str, Arguments]:
    """Return the command and what was given for it, with the defaults of what sets nothing saved.

    Every flag works with - and with _ alike.

    Raises:
        InputError: an unknown command or flag, or a value that cannot be read.
    """
    parser = _Parser(prog="promptad", description="Few-shot anomaly detection with text prototypes.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command, (purpose, options) in COMMANDS.items():
        sub = commands.add_parser(command, help=purpose, description=purpose, allow_abbrev=False)
        for option in options:
            _add_option(sub, option)
    known, unknown = parser.parse_known_args([_dashed(word) for word in arguments])
    if unknown:
        flags = [option.flag for option in COMMANDS[known.command][1]]
        near = difflib.get_close_matches(unknown[0], flags, n=1)
        cure = f"did you mean {near[0]}?" if near else f"promptad {known.command} --help lists all"
        raise InputError(f"unknown option {unknown[0]!r}: {cure}")
    given = vars(known)
    return given.pop("command"), given


def make_settings(given: Mapping[str, Any]) -> Settings:
    """Return the settings that the given options make; the demo data's own backbone is `tiny`."""
    plain = Settings().to_dict()
    if given["dataset"] == "demo":
        plain["backbone"]["name"] = EMBEDDED
    for path, value in _given_settings(given).items():
        section, _, name = path.rpartition(".")
        _setting(plain, section)[name] = value
    return Settings.from_dict(plain)


def run_train(given: Arguments, console: Console) -> None:
    """Train one class."""
    settings = make_settings(given)
    _result_folder(given, settings).check_writable()
    pictures = _read_one_class(given, console)
    support = _choose_support(given, settings, pictures)
    train_class(_start_run(given, settings, console), pictures, support)


def run_train_all(given: Arguments, console: Console) -> None:
    """Train all classes of a data set."""
    settings = make_settings(given)
    if given["class_name"]:
        raise InputError(f"--class-name {given['class_name']}: train-all takes --classes {given['class_name']}")
    _result_folder(given, settings).check_writable()
    folder = _find_data(given, given["classes"] or DEMO_CLASSES, console)
    names = given["classes"] or class_names(given["dataset"], folder)
    classes = [read_class(given["dataset"], folder, name) for name in names]
    with_support = [(pictures, _choose_support(given, settings, pictures)) for pictures in classes]
    train_all(_start_run(given, settings, console), with_support)


def run_test(given: Arguments, console: Console) -> None:
    """Test a trained detector, with the settings that it was trained with."""
    pictures = _read_one_class(given, console)
    path = given["checkpoint"] or _result_folder(given, make_settings(given)).checkpoint(pictures.class_name)
    settings = _settings_of(path, given)
    detector = load_detector(path, _find_device(given, console), weights=given.get("pretrained_dataset"))
    if detector.class_name != pictures.class_name:
        raise InputError(f"{path} is a detector of {detector.class_name!r}, not of {pictures.class_name!r}")
    run = _make_run(given, settings, console, detector.backbone)
    test_class(run, replace(detector, settings=settings), pictures)


def run_compare(given: Arguments, console: Console) -> None:
    """Compare two systems in saved results."""
    filters = {name: given[name] or () for name in ("k_shot", "seeds", "classes")}
    roots = given["root_dir"] or (Path("result"),)
    choice = Choice(given["dataset"], roots, given["baseline"], given["ours"], **filters, select=given["select"])
    comparison = compare(comparable_rows(choice), choice)
    print_comparison(comparison, console)
    if given["output"]:
        draw_comparison(comparison, given["output"] / "comparison.png")
        write_csv(comparison, given["output"] / "comparison.csv")
        write_markdown(comparison, "comparison.png", given["output"] / "comparison.md")
        console.print(f"written: comparison.md, .csv and .png in {given['output']}", soft_wrap=True)


def run_demo_data(given: Arguments, console: Console) -> None:
    """Draw the demo data set."""
    classes = given["classes"] or DEMO_CLASSES
    _draw_demo(given["output"], classes, given["line"], given["difficulty"], console, "--output")


RUNNERS: dict[str, Callable[[Arguments, Console], None]] = {
    "train": run_train,
    "test": run_test,
    "train-all": run_train_all,
    "compare": run_compare,
    "demo-data": run_demo_data,
}


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, like all others of ours."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def _dashed(word: str) -> str:
    """Return a flag with - in the place of _, and any other word as it is."""
    flag, equals, value = word.partition("=")
    return flag.replace("_", "-") + equals + value if flag.startswith("--") else word


def _add_option(parser: argparse.ArgumentParser, option: Option) -> None:
    default = _setting(Settings().to_dict(), option.setting) if option.setting else option.default
    told = "" if default in (None, ()) or "(default" in option.help else f" (default: {default})"
    bare: dict[str, Any] = {"nargs": "?", "const": True} if option.read is truth else {}
    parser.add_argument(
        option.flag,
        type=option.read,
        dest=option.name,
        help=option.help + told,
        metavar=option.name.upper(),
        default=argparse.SUPPRESS if option.setting else option.default,
        **bare,
    )


def _given_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return path and value of every setting that the user gave."""
    return {option.setting: given[option.name] for option in LEARNING if option.setting and option.name in given}


def _setting(plain: Mapping[str, Any], path: str) -> Any:
    """Look up a setting such as "training.lr"."""
    return reduce(lambda section, name: section[name], path.split("."), plain)


def _settings_of(path: Path, given: Arguments) -> Settings:
    """Return the settings of a checkpoint, at the resolution and with the weight file that are asked for now.

    Raises:
        InputError: the user gave another value for a setting that the detector was trained with.
    """
    trained: Settings = read_checkpoint(path)["settings"]
    plain = trained.to_dict()
    free = ("scoring.resolution", "scoring.sigma", "backbone.pretrained")
    for option in LEARNING:
        if option.setting in free or not option.setting or option.name not in given:
            continue
        if given[option.name] != (value := _setting(plain, option.setting)):
            raise InputError(
                f"{option.flag} {given[option.name]}: {path} was trained with {value}; leave it out, or train again"
            )
    scoring = {name: given.get(name, getattr(trained.scoring, name)) for name in ("resolution", "sigma")}
    return replace(trained, scoring=replace(trained.scoring, **scoring))


def _read_one_class(given: Arguments, console: Console) -> ClassPictures:
    name = given["class_name"]
    if name is None:
        raise InputError("--class-name is missing: name the part, such as --class-name carpet")
    if not name.strip() or Path(name).name != name:
        raise InputError(f"--class-name {name!r}: give a plain name, such as carpet; files are called by it")
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


def _choose_support(given: Arguments, settings: Settings, pictures: ClassPictures) -> tuple[Path, ...]:
    k, seed = settings.training.k_shot, settings.training.seed
    if given["support_list"]:
        return read_support_list(given["support_list"], pictures.class_name, pictures.normal, k)
    return choose_support(pictures.normal, k, seed)


def _result_folder(given: Arguments, settings: Settings) -> ResultFolder:
    return ResultFolder(given["root_dir"], given["dataset"], settings.training.k_shot, settings.training.seed)


def _find_device(given: Arguments, console: Console) -> torch.device:
    """Return the GPU that is asked for, or GPU 0 if there is one; the CPU otherwise."""
    asked = given["gpu_id"]
    device, remark = choose_device(None if given["use_cpu"] else asked or 0)
    if remark and asked is not None:
        console.print(remark)
    return device


def _start_run(given: Arguments, settings: Settings, console: Console) -> Run:
    return _make_run(given, settings, console, load_backbone(settings.backbone, _find_device(given, console)))


def _make_run(given: Arguments, settings: Settings, console: Console, backbone: Backbone) -> Run:
    if given["batch_size"] < 1:
        raise InputError(f"--batch-size {given['batch_size']}: must be at least 1")
    return Run(
        backbone,
        settings,
        _result_folder(given, settings),
        console,
        given["batch_size"],
        given["save_diagnostics"],
        given["vis"],
    )
