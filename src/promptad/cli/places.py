"""What a user names: looked for before anything that takes seconds is loaded."""

import glob
from collections.abc import Sequence
from pathlib import Path

from promptad.cli.given import Arguments, make_seeds
from promptad.cli.grid import grid_points
from promptad.cli.search import check_search, tuned_on
from promptad.cli.values import names
from promptad.data.datasets import check_classes, dataset_folder, default_data_root
from promptad.errors import InputError, no_checkpoint
from promptad.integrations.object_stores import is_stored
from promptad.results.paths import OWN_CHECKPOINT, check_plain_name
from promptad.runtime.engines import SUFFIXES

LEARNERS = ("train", "train-all", "test")  # commands that take settings and a data set


def check_given(command: str, given: Arguments) -> None:
    """Check that the settings of a command are valid, and that its detector, pictures and data set are there.

    Raises:
        InputError: a value is not, or there is no such file, folder, data set or class.
    """
    if command in LEARNERS:
        make_seeds(given)
    check_workers(given)
    if command == "sweep":
        check_search(given)
        for point in [] if given["search"] else grid_points(given):
            make_seeds(point.given)
    check_detector(given)
    if (pictures := given.get("pictures")) and not (given.get("cluster") and any(map(is_stored, pictures))):
        check_some_pictures(pictures)
    for setting in ("good", "defect"):
        check_all_pictures(setting, given.get(setting) or ())
    if command in (*LEARNERS, "sweep") and not (given.get("good") or given.get("name")):
        setting = "class_name" if command in ("train", "test") else "classes"
        check_dataset(given, setting, (given["class_name"],) if setting == "class_name" else given["classes"] or ())
    if command == "sweep" and (tuned := tuned_on(given)):
        check_dataset(given, "tune_on", tuned)


def check_workers(given: Arguments) -> None:
    """Check that it is clear who trains.

    Raises:
        InputError: no process does, or all classes are to be trained side by side in one, and in others, too.
    """
    count, cluster, together = (given.get(name) for name in ("workers", "cluster", "together"))
    if count is None:
        return
    if count < 1:
        raise InputError(f"`workers` {count}: must be at least 1")
    if count > 1 and together:
        raise InputError(f"`workers` {count}: leave out `together`, which trains all classes in one process")
    if cluster and (count > 1 or together):
        raise InputError(f"`cluster` {cluster}: leave out `{'together' if together else 'workers'}`, of this machine")


def check_detector(given: Arguments) -> None:
    """Check that the detector is there, if a command is given one.

    Raises:
        InputError: there is no such file or folder.
    """
    place = given.get("checkpoint") or given.get("detector")
    if place is None or place.suffix in SUFFIXES or place.exists():
        return
    if not find_checkpoint(place).exists():
        raise no_checkpoint(place)


def check_some_pictures(named: Sequence[str]) -> None:
    """Check that one of the pictures to judge may be there; each that is not gets a line of its own later.

    Raises:
        InputError: there is none.
    """
    if not any(map(_may_be_there, named)) and named[0].strip():
        raise InputError(f"no picture at {named[0]}: check the path")


def check_all_pictures(setting: str, named: Sequence[str]) -> None:
    """Check that a file, a folder or a pattern is named by each word, or by each of its parts at commas.

    Raises:
        InputError: there is no such file or folder.
    """
    for place in split_places(named):
        if not _may_be_there(place):
            raise InputError(f"`{setting}` {place}: there is no such file or folder")


def split_places(named: Sequence[str]) -> list[str]:
    """Return the places that words name: each word, or its parts at commas if there is nothing of its whole name."""
    return [place for word in named for place in ([word] if Path(word).exists() else names(word))]


def _may_be_there(place: str) -> bool:
    return Path(place).exists() or glob.has_magic(place)


def check_dataset(given: Arguments, setting: str, class_names: Sequence[str | None]) -> None:
    """Check that the folder of a data set is there, and classes in it, where they are not to be drawn.

    Raises:
        InputError: the data set is unknown or missing, or a class is unknown or missing.
    """
    for name in class_names:
        if name is None:
            raise InputError("`class_name` is missing: name the part, such as `class_name` carpet")
        check_plain_name(setting, name)
    if given["dataset"] == "demo":
        return
    folder = dataset_folder(given["dataset"], given["data_root"] or default_data_root())
    check_classes(given["dataset"], folder, [str(name) for name in class_names])


def find_checkpoint(place: Path) -> Path:
    """Return the checkpoint that a user names: its file, the folder of results that holds it, or a part in result/.

    Raises:
        InputError: the folder holds none, or several.
    """
    if not place.exists() and (part := Path("result") / "_".join(str(place).split()) / OWN_CHECKPOINT).is_file():
        return part
    if not place.is_dir():
        return place
    if (place / OWN_CHECKPOINT).is_file():
        return place / OWN_CHECKPOINT
    found = sorted(place.glob("checkpoint/*.pt")) or sorted(place.glob("*.pt"))
    if len(found) != 1:
        several = ", ".join(map(str, found or sorted(file.parent for file in place.glob(f"*/{OWN_CHECKPOINT}"))))
        raise InputError(f"{place} holds {several or 'no checkpoint'}: name the file of one detector")
    return found[0]
