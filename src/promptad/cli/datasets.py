"""From options to the images of classes, or of the user's own part."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from promptad.cli.choice import check_alone
from promptad.cli.given import Arguments
from promptad.cli.places import split_places
from promptad.data.datasets import class_names, dataset_folder, default_data_root, no_classes, read_class
from promptad.data.demo import DEFECT_FOLDERS, DEMO_CLASSES, make_demo_class, write_sheet
from promptad.data.mvtec import normal_folder
from promptad.data.search import find_images
from promptad.data.stray_masks import sort_out_masks
from promptad.errors import InputError, check_choice
from promptad.results.paths import check_plain_name
from promptad.structures import ClassDataset
from promptad.utils.files import writable_folder
from promptad.utils.progress import add_task, progress_bar

MAX_SUPPORT = 8  # images of a user's part that are learned from, unless k_shot says otherwise


def read_part(given: Arguments, console: Console) -> tuple[ClassDataset, Arguments]:
    """Return the images of the user's own part, and the options with what follows from them."""
    usual = {"dataset": "mvtec", "seeds": None, "support_list": None, "class_name": None}
    check_alone(given, usual, "`good`: leave it out (the part's name is `name`)")
    if given["name"] is None:
        raise InputError("`name` is missing: say what the part is, such as `name` 'metal bracket'")
    check_plain_name("name", given["name"].strip())
    found = find_images([str(_good_folder(Path(place)) or place) for place in split_places(given["good"])])
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


def read_one_class(given: Arguments, console: Console) -> ClassDataset:
    """Return the images of the class that is asked for."""
    name = given["class_name"]
    dataset = read_class(given["dataset"], find_data(given, (name,), console), name)
    print_notes([dataset], console)
    return dataset


def read_classes(given: Arguments, console: Console) -> list[ClassDataset]:
    """Return the images of the classes that are asked for, or of all."""
    folder = find_data(given, given["classes"] or DEMO_CLASSES, console)
    found = given["classes"] or class_names(given["dataset"], folder)
    if left_out := no_classes(given["dataset"], folder):
        console.print(f"left out, for they hold no good/: {', '.join(left_out)}", soft_wrap=True)
    for name in found:
        check_plain_name("classes", name)
    classes = [read_class(given["dataset"], folder, name) for name in found]
    print_notes(classes, console)
    return classes


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


def print_notes(classes: Sequence[ClassDataset], console: Console) -> None:
    """Print what a user should know of how the classes were read."""
    for note in dict.fromkeys(note for dataset in classes for note in dataset.notes):
        console.print(note, soft_wrap=True)
