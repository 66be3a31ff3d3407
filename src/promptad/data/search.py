"""Find image files: in a folder, below folders, by patterns; and name what is left out."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from promptad.data.images import IMAGE_SUFFIXES, UNREADABLE_SUFFIXES
from promptad.errors import InputError

MAX_NAMED = 5  # files that are left out


@dataclass(frozen=True)
class FoundImages:
    """The images that a user named, and what was left out beside them."""

    images: tuple[Path, ...]
    unread: tuple[Path, ...] = ()  # folders that cannot be read, and images of kinds that are not read
    others: tuple[Path, ...] = ()  # files that are no images by their suffix

    def notes(self) -> list[str]:
        """Return a line for each kind of file that is left out."""
        kinds = (
            (self.unread, "NOT LOOKED AT, as they cannot be read here"),
            (self.others, "left out, as they are no pictures by their suffix"),
        )
        return [f"{len(paths)} {words}: {joined_names(paths)}" for paths, words in kinds if paths]


def list_images(folder: Path) -> tuple[Path, ...]:
    """The image files directly in the folder, by suffix and sorted by name; hidden files are left out."""
    if not folder.is_dir():
        raise InputError(f"no folder of pictures at {folder}: check the path")
    images = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    return tuple(sorted(images, key=lambda path: path.name))


def mask_files(path: Path) -> tuple[Path, ...]:
    """The file of a mask itself, or the files in a folder that has one for each defect of an image, sorted by name.

    Raises InputError for a folder without any.
    """
    if not path.is_dir():
        return (path,)
    if files := list_images(path):
        return files
    raise InputError(f"no mask in {path}: put one there for each defect of the picture of that name")


def images_below(folder: Path) -> tuple[Path, ...]:
    """The image files in the folder and all its sub-folders, linked ones too, sorted by path; hidden ones are left out.

    Raises InputError for a sub-folder that cannot be read, and for an image of a kind that is not read.
    """
    found = find_below(folder)
    if found.unread:
        raise InputError(f"{found.unread[0]} cannot be read: move it away, or convert it to PNG")
    return found.images


def find_images(named: Sequence[str], besides: Path | None = None) -> FoundImages:
    """The images that a user names, each once: as files, folders (with all sub-folders) or patterns with *.

    A folder's images are found by their suffix, and sorted; hidden files and everything below `besides` are left out.
    Linked sub-folders are followed, each once. A named file is included even if it does not exist: reading it raises
    the error. Raises InputError for a folder or a pattern without images.
    """
    found: dict[Path, None] = {}
    unread: dict[Path, None] = {}
    others: dict[Path, None] = {}
    for name in named:
        place = Path(name)
        if not name.strip():
            raise InputError("the name of a picture is empty: name files or folders, such as . for this one")
        if place.is_dir():
            inside = find_below(place, () if besides is None else (besides,))
        elif glob.has_magic(name) and not place.exists():
            inside = FoundImages(tuple(_matches(name)))
        else:
            inside = FoundImages((place,))
        if not inside.images and inside.unread:
            raise InputError(f"{inside.unread[0]} cannot be read, and nothing else is in {name!r}: check its rights")
        if not inside.images:
            suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
            raise InputError(f"no pictures in {name!r}: name files, a folder that holds some ({suffixes}) or a pattern")
        found |= dict.fromkeys(inside.images)
        unread |= dict.fromkeys(inside.unread)
        others |= dict.fromkeys(inside.others)
    return FoundImages(tuple(found), tuple(unread), tuple(others))


def _matches(pattern: str) -> list[Path]:
    # pathlib's own patterns cannot be absolute.
    return [path for match in sorted(glob.glob(pattern, recursive=True)) if (path := Path(match)).is_file()]  # noqa: PTH207


def find_below(folder: Path, besides: Sequence[Path] = ()) -> FoundImages:
    """The image files in the folder and all its sub-folders, as `find_images` gives them; there may be none."""
    images: list[Path] = []
    unread: list[Path] = []
    others: list[Path] = []
    visited: set[Path] = set()
    excluded = [place.resolve() for place in besides]
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            real, children = place.resolve(strict=True), sorted(place.iterdir())
        except (OSError, RuntimeError):  # no right to read it, or links that lead to each other
            unread.append(place)
            continue
        if real in visited or any(map(real.is_relative_to, excluded)) or is_drawn(real):
            continue
        visited.add(real)
        for child in (child for child in children if not child.name.startswith(".")):
            suffix = child.suffix.lower()
            if os.path.isdir(child):  # noqa: PTH112 Path.is_dir raises where it may not look
                waiting.append(child)
            elif child.is_symlink() and not os.path.exists(child):  # noqa: PTH110 as above
                unread.append(child)
            elif suffix in IMAGE_SUFFIXES:
                images.append(child)
            else:
                (unread if suffix in UNREADABLE_SUFFIXES else others).append(child)
    return FoundImages(*(tuple(sorted(paths, key=Path.as_posix)) for paths in (images, unread, others)))


def is_drawn(folder: Path) -> bool:
    """Whether a folder holds the overlays of predictions."""
    beside = ("predictions.jsonl", "manifest.json")
    return folder.name == "overlays" and any((folder.parent / name).is_file() for name in beside)


def joined_names(paths: Sequence[Path]) -> str:
    """Return the first paths, and how many more there are."""
    more = f" and {len(paths) - MAX_NAMED} more" if len(paths) > MAX_NAMED else ""
    return ", ".join(map(str, paths[:MAX_NAMED])) + more
