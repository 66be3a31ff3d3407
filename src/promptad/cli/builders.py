"""From options to what a command works on: images, device, folders, jobs, the choice of saved results."""

import glob
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from promptad.backbones.clip import Backbone
from promptad.backbones.factory import choose_device, load_backbone
from promptad.backbones.feature_cache import FeatureCache, default_cache_folder
from promptad.backbones.open_clip_vit import weights_note
from promptad.cli.flags import with_flags
from promptad.cli.learning_options import LEARNING
from promptad.cli.parser import Arguments, chosen_system, setting_at
from promptad.cli.values import names
from promptad.data.corruptions import CORRUPTIONS, Corruption, corruptions_of
from promptad.data.datasets import dataset_folder, default_data_root, read_class
from promptad.data.demo import DEFECT_FOLDERS, make_demo_class, write_sheet
from promptad.data.few_shot import choose_support, read_support_list
from promptad.data.mvtec import normal_folder
from promptad.data.region_of_interest import masks_folder
from promptad.data.search import find_images
from promptad.data.stray_masks import sort_out_masks
from promptad.engine.context import Job, RunContext
from promptad.errors import InputError, check_choice
from promptad.export.tower_encoder import with_engine
from promptad.models.registry import read_checkpoint
from promptad.models.support import with_bit_depth, with_region, with_tiles
from promptad.reports.comparison.rows import Choice
from promptad.results.paths import PartFolder, ResultFolder, check_plain_name
from promptad.settings import Settings
from promptad.structures import ClassDataset
from promptad.utils.files import writable_folder
from promptad.utils.progress import add_task, progress_bar

MAX_SUPPORT = 8  # images of a user's part that are learned from, unless k_shot says otherwise


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


def read_part(given: Arguments, console: Console) -> tuple[ClassDataset, Arguments]:
    """Return the images of the user's own part, and the options with what follows from them."""
    usual = {"dataset": "mvtec", "seeds": None, "support_list": None, "class_name": None}
    check_alone(given, usual, "`good`: leave it out (the part's name is `name`)")
    if given["name"] is None:
        raise InputError("`name` is missing: say what the part is, such as `name` 'metal bracket'")
    check_plain_name("name", given["name"])
    named = [part for word in given["good"] for part in ([word] if Path(word).exists() else names(word))]
    for word in named:
        if not (Path(word).exists() or glob.has_magic(word)):
            raise InputError(f"`good` {word}: there is no such file or folder")
    found = find_images([str(_good_folder(Path(word)) or word) for word in named])
    sorted_out = sort_out_masks(found.images)
    images = sorted_out.images
    for note in (*found.notes(), *sorted_out.notes()):
        console.print(note, soft_wrap=True)
    more = {"dataset": "own", "k_shot": given.get("k_shot", min(len(images), MAX_SUPPORT))}
    return ClassDataset("own", given["name"], images, ()), given | more


def _good_folder(folder: Path) -> Path | None:
    """Return the folder of good images in a part's folder, if it is laid out as a data set is.

    Raises:
        InputError: it holds test images, but no folder of good ones.
    """
    if not folder.is_dir():
        return None
    good = normal_folder(folder)
    if good is None and (folder / "test").is_dir():
        raise InputError(f"`good` {folder} holds test/, which is not learned from: name the folder of good pictures")
    return good


def print_notes(classes: Sequence[ClassDataset], console: Console) -> None:
    """Print what a user should know of how the classes were read."""
    for note in dict.fromkeys(note for dataset in classes for note in dataset.notes):
        console.print(note, soft_wrap=True)


def check_alone(given: Arguments, usual: Mapping[str, Any], words: str) -> None:
    """Check that no options are given that do not go with another one, which the `words` name with the cure.

    `usual` are their defaults.
    """
    for name, default in usual.items():
        if given[name] != default:
            raise InputError(f"`{name}` {given[name]} does not go with {words}")


def read_one_class(given: Arguments, console: Console) -> ClassDataset:
    """Return the images of the class that is asked for."""
    name = given["class_name"]
    if name is None:
        raise InputError("`class_name` is missing: name the part, such as `class_name` carpet")
    check_plain_name("class_name", name)
    dataset = read_class(given["dataset"], find_data(given, (name,), console), name)
    print_notes([dataset], console)
    return dataset


def find_data(given: Arguments, demo_classes: Sequence[str], console: Console) -> Path:
    """Return the folder of the data set; the demo's classes are drawn if they are not there."""
    root = given["data_root"] or default_data_root()
    if given["dataset"] == "demo":
        draw_demo(root / "demo", demo_classes, 0, "normal", console)
    return dataset_folder(given["dataset"], root)


def draw_demo(
    folder: Path, classes: Sequence[str], line: int, difficulty: str, console: Console, setting: str = "data_root"
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
            with writable_folder(folder, setting):
                make_demo_class(folder, name, line=line, difficulty=difficulty)
            progress.advance(task)


def draw_sheet(file: Path, classes: Sequence[str], line: int, difficulty: str, console: Console) -> None:
    """Draw the contact sheet with a progress bar."""
    with progress_bar(console) as progress:
        task = add_task(progress, "sheet", len(classes))
        with writable_folder(file.parent, "sheet"):
            write_sheet(file, classes, line, difficulty, lambda name: progress.update(task, advance=1, note=name))
    console.print(f"contact sheet: {file}", soft_wrap=True)


def make_jobs(
    given: Arguments, seeds: Sequence[Settings], classes: Sequence[ClassDataset], console: Console
) -> tuple[list[Job], RunContext]:
    """Return the jobs of each class and seed, those of a class one after another, and what they run with."""
    jobs = [_make_job(given, dataset, settings) for dataset in classes for settings in seeds]
    if note := weights_note(seeds[0].backbone):
        console.print(note, soft_wrap=True)
    backbone = load_backbone(seeds[0].backbone, find_device(given, console))
    side = backbone.image_encoder.image_size
    jobs = [replace(job, settings=with_tiles(job.settings, job.support_images, side)) for job in jobs]
    return jobs, make_context(given, console, backbone)


def _make_job(given: Arguments, dataset: ClassDataset, settings: Settings) -> Job:
    support = _choose_support(given, settings, dataset)
    settings = with_bit_depth(with_region(settings, support, given["region"] or (), given["ignore"] or ()), support)
    return Job(dataset, settings, support, result_folder(given, settings))


def _choose_support(given: Arguments, settings: Settings, images: ClassDataset) -> tuple[Path, ...]:
    k, seed = settings.training.k_shot, settings.training.seed
    if given["support_list"]:
        return read_support_list(given["support_list"], images.class_name, images.normal, k)
    return choose_support(images.normal, k, seed)


def find_corruptions(given: Arguments) -> list[Corruption]:
    """Return the disturbances that are asked for; none by default."""
    if given["disturb"] is None:
        return []
    if not given["disturb"]:
        raise InputError(f"`disturb` is empty: choose from {', '.join(CORRUPTIONS)}")
    return corruptions_of(given["disturb"])


def result_folder(given: Arguments, settings: Settings) -> ResultFolder:
    """Return the folder that the results of these settings go to."""
    k, seed = settings.training.k_shot, settings.training.seed
    if given.get("good"):
        own = given["root_dir"] / "_".join(given["name"].split())
        return PartFolder(own, "own", k, seed, settings.system, settings.level)
    return ResultFolder(given["root_dir"], given["dataset"], k, seed, settings.system, settings.level)


def settings_of(path: Path, given: Arguments, asked: Settings) -> Settings:
    """Return the settings of a checkpoint, at the resolution, false-alarm rate and weights that are asked for now.

    An upstream checkpoint holds none: those `asked` for on the command line count.

    Raises:
        InputError: the user gave another value for a setting that the detector was trained with.
    """
    checkpoint = read_checkpoint(path, chosen_system(given))
    if "settings" not in checkpoint:
        return asked
    trained: Settings = checkpoint["settings"]
    plain = asdict(trained)
    free = ("scoring.resolution", "scoring.sigma", "scoring.false_alarm_rate", "backbone.pretrained")
    for option in LEARNING:
        if option.setting in free or not option.setting or option.name not in given:
            continue
        value = setting_at(plain, option.setting.split("."))
        if given[option.name] not in (value, None):  # None of `tiles` is auto
            raise InputError(
                f"{option.flag} {given[option.name]}: {path} was trained with {value}; leave it out, or train again"
            )
    changed = ("resolution", "sigma", "false_alarm_rate")
    scoring = {name: given.get(name, getattr(trained.scoring, name)) for name in changed}
    return replace(trained, scoring=replace(trained.scoring, **scoring))


def find_device(given: Arguments, console: Console) -> torch.device:
    """Return the GPU that is asked for, or GPU 0 if there is one; the CPU otherwise."""
    asked = given["gpu_id"]
    device, remark = choose_device(None if given["use_cpu"] else asked or 0)
    if remark and asked is not None:
        console.print(remark)
    return device


def check_batch_size(given: Arguments) -> None:
    """Check that a batch of that size can be made."""
    if given["batch_size"] < 1:
        raise InputError(f"`batch_size` {given['batch_size']}: must be at least 1")


def make_context(given: Arguments, console: Console, backbone: Backbone) -> RunContext:
    """Return what trainings and tests run with."""
    check_batch_size(given)
    if not given["cache_size"] >= 0:
        raise InputError(f"`cache_size` {given['cache_size']}: must be a number of at least 0")
    cache = FeatureCache(default_cache_folder(), given["cache_size"] * 2**30) if given["feature_cache"] else None
    return RunContext(
        replace(with_engine(backbone, given["engine"]), cache=cache),
        console,
        given["batch_size"],
        given["save_diagnostics"],
        given["vis"],
        masks_folder(given["region"] or ()),
        with_flags,
    )
