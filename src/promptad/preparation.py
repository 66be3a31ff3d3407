"""From options to what a command works on: pictures, device, folders, jobs, the choice of saved results."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from promptad.arguments import Arguments
from promptad.backbone.clip import Backbone
from promptad.backbone.feature_cache import FeatureCache, default_cache_folder
from promptad.backbone.loading import choose_device, load_backbone
from promptad.comparison.rows import Choice
from promptad.data.demo import DEFECT_FOLDERS, make_demo_class, write_sheet
from promptad.data.layouts import dataset_folder, default_data_root, read_class
from promptad.data.pictures import find_pictures
from promptad.data.support import choose_support, read_support_list
from promptad.errors import InputError, check_choice
from promptad.files import writable_folder
from promptad.measuring import Run
from promptad.options import names
from promptad.progress import add_task, progress_bar
from promptad.records import ClassPictures
from promptad.result_folder import OwnFolder, ResultFolder
from promptad.runs import Job
from promptad.settings import Settings

MOST_OWN = 8  # good pictures that are learned from where --k-shot does not say


def make_choice(given: Arguments, k_shot: tuple[int, ...]) -> Choice:
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


def read_own(given: Arguments) -> ClassPictures:
    """Return the user's own good pictures, and note among the options given how many are learned from."""
    usual = {"dataset": "mvtec", "seeds": None, "support_list": None, "class_name": None}
    check_alone(given, usual, "--good: leave it out (the part's name is --name)")
    if given["name"] is None:
        raise InputError("--name is missing: say what the part is, such as --name 'metal bracket'")
    _check_plain("--name", given["name"])
    named = [part for word in given["good"] for part in ([word] if Path(word).exists() else names(word))]
    pictures = find_pictures(named)
    given["dataset"] = "own"
    given.setdefault("k_shot", min(len(pictures), MOST_OWN))
    return ClassPictures("own", given["name"], pictures, ())


def check_alone(given: Arguments, usual: Mapping[str, Any], words: str) -> None:
    """Raise InputError if options are given that do not go with another, which the `words` name with the cure.

    `usual` are their defaults.
    """
    for name, default in usual.items():
        if given[name] != default:
            raise InputError(f"--{name.replace('_', '-')} {given[name]} does not go with {words}")


def _check_plain(flag: str, name: str) -> None:
    if not name.strip() or Path(name).name != name:
        raise InputError(f"{flag} {name!r}: give a plain name, such as carpet; files are called by it")


def read_one_class(given: Arguments, console: Console) -> ClassPictures:
    """Return the pictures of the class that is asked for."""
    name = given["class_name"]
    if name is None:
        raise InputError("--class-name is missing: name the part, such as --class-name carpet")
    _check_plain("--class-name", name)
    return read_class(given["dataset"], find_data(given, (name,), console), name)


def find_data(given: Arguments, demo_classes: Sequence[str], console: Console) -> Path:
    """Return the folder of the data set; the demo's classes are drawn if they are not there."""
    root = given["data_root"] or default_data_root()
    if given["dataset"] == "demo":
        draw_demo(root / "demo", demo_classes, 0, "normal", console)
    return dataset_folder(given["dataset"], root)


def draw_demo(
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


def draw_sheet(file: Path, classes: Sequence[str], line: int, difficulty: str, console: Console) -> None:
    """Draw the contact sheet with a progress bar."""
    with progress_bar(console) as progress:
        task = add_task(progress, "sheet", len(classes))
        with writable_folder(file.parent, "--sheet"):
            write_sheet(file, classes, line, difficulty, lambda name: progress.update(task, advance=1, note=name))
    console.print(f"contact sheet: {file}", soft_wrap=True)


def make_jobs(
    given: Arguments, seeds: Sequence[Settings], classes: Sequence[ClassPictures], console: Console
) -> list[Job]:
    """Return the jobs of each class and seed, those of a class one after another."""
    support = [[_choose_support(given, settings, pictures) for settings in seeds] for pictures in classes]
    backbone = load_backbone(seeds[0].backbone, find_device(given, console))
    first = make_run(given, seeds[0], console, backbone)
    runs = [replace(first, settings=settings, results=result_folder(given, settings)) for settings in seeds]
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


def result_folder(given: Arguments, settings: Settings) -> ResultFolder:
    """Return the folder that the results of these settings go to."""
    k, seed = settings.training.k_shot, settings.training.seed
    if given.get("good"):
        own = given["root_dir"] / "_".join(given["name"].split())
        return OwnFolder(own, "own", k, seed, settings.system, settings.level)
    return ResultFolder(given["root_dir"], given["dataset"], k, seed, settings.system, settings.level)


def find_device(given: Arguments, console: Console) -> torch.device:
    """Return the GPU that is asked for, or GPU 0 if there is one; the CPU otherwise."""
    asked = given["gpu_id"]
    device, remark = choose_device(None if given["use_cpu"] else asked or 0)
    if remark and asked is not None:
        console.print(remark)
    return device


def check_batch_size(given: Arguments) -> None:
    """Raise InputError if no batch of that size can be made."""
    if given["batch_size"] < 1:
        raise InputError(f"--batch-size {given['batch_size']}: must be at least 1")


def make_run(given: Arguments, settings: Settings, console: Console, backbone: Backbone) -> Run:
    """Return what a training or a test runs with."""
    check_batch_size(given)
    if not given["cache_size"] >= 0:
        raise InputError(f"--cache-size {given['cache_size']}: must be a number of at least 0")
    cache = FeatureCache(default_cache_folder(), given["cache_size"] * 2**30) if given["feature_cache"] else None
    return Run(
        replace(backbone, cache=cache),
        settings,
        result_folder(given, settings),
        console,
        given["batch_size"],
        given["save_diagnostics"],
        given["vis"],
    )
