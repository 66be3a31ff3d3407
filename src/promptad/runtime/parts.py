"""Many parts as one thing: their detectors by name, which pictures are whose, and what was found of all."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from promptad.data.batches import read_each
from promptad.data.reading import Reading
from promptad.data.search import FoundImages, find_below, find_images, is_drawn, joined_names
from promptad.errors import InputError
from promptad.runtime.metadata import Metadata
from promptad.runtime.predict import Loaded, Predictor, load_image
from promptad.runtime.records import Match

Own = TypeVar("Own", bound=Predictor)

WHICH = "give `which`, which finds the part by the pictures themselves"


@dataclass(frozen=True)
class Part:
    """A detector under its name."""

    name: str
    file: Path
    predictor: Predictor


@dataclass(frozen=True)
class Finder:
    """Tells how much images lack of some parts, which read images alike."""

    names: tuple[str, ...]
    known: Metadata  # of one of them: how images are read
    lacks: Callable[[np.ndarray], np.ndarray]  # of RGB squares [N, S, S, 3] uint8: [N, part]


def make_finders(
    parts: Sequence[tuple[str, Own]],
    encoder_of: Callable[[Own], object],
    lacks: Callable[[Sequence[Own], np.ndarray], np.ndarray],
) -> list[Finder]:
    """Return what finds the part by the pictures: one for all detectors of an encoder that read images alike.

    Args:
        parts: the detectors by their names.
        encoder_of: gives what encodes the images of one.
        lacks: gives how much N squares lack of each of some that share an encoder [N, part].
    """
    groups: dict[tuple[int, Reading], list[tuple[str, Own]]] = {}
    for name, own in parts:
        groups.setdefault((id(encoder_of(own)), Reading.of(own.metadata.settings)), []).append((name, own))
    return [
        Finder(tuple(name for name, _ in group), group[0][1].metadata, partial(lacks, [own for _, own in group]))
        for group in groups.values()
    ]


def plain_name(name: str) -> str:
    """Return a part's name as it is compared: spaces and underscores are alike, and so are large and small letters.

    >>> plain_name("Metal_Bracket ") == plain_name("metal bracket")
    True
    """
    return " ".join(name.replace("_", " ").split()).casefold()


def name_parts(files: Sequence[tuple[Path, str, str]]) -> list[str]:
    """Return what parts are called: as their class, or, where several are of one class, by another name of each.

    `files` are a file, its class, and that other name.

    Raises:
        InputError: two have one name.
    """
    count = Counter(plain_name(class_name) for _, class_name, _ in files)
    named: dict[str, Path] = {}
    names = []
    for file, class_name, other in files:
        name = class_name if count[plain_name(class_name)] == 1 else other
        if (same := named.setdefault(plain_name(name), file)) != file:
            raise InputError(f"{same} and {file} would both be called {name!r}: rename one of the files")
        names.append(name)
    return names


def divide_by_folder(
    names: Sequence[str], places: Sequence[str], besides: Path, tell: Callable[[str], None]
) -> dict[str, FoundImages]:
    """Return the images of each part: those below the sub-folders that are named as it is; tell what is left out.

    Raises:
        InputError: no part has images.
    """
    by_name = {plain_name(name): name for name in names}
    found: dict[str, list[FoundImages]] = {}
    strange: list[Path] = []
    loose: list[Path] = []
    for place in map(Path, places):
        if not place.is_dir():
            loose += find_images([str(place)]).images
            continue
        for child in _folders_in(place, besides):
            if not (inside := find_below(child, (besides,))).images:
                continue
            if (name := by_name.get(plain_name(child.name))) is None:
                strange.append(child)
            else:
                found.setdefault(name, []).append(inside)
        loose += find_below(place, (besides, *_folders_in(place, besides))).images
    if strange:
        tell(f"NOT JUDGED, as no part is called so: {joined_names(strange)}: name them as parts, or {WHICH}")
    if loose:
        tell(f"NOT JUDGED, as they are in no sub-folder of a part: {joined_names(loose)}: put them there, or {WHICH}")
    if not found:
        raise InputError(
            f"no sub-folder of {places[0]} is named as a part ({', '.join(names)}): name one so, name the file of one"
            f" detector, or {WHICH}"
        )
    if missing := [name for name in names if name not in found]:
        tell(f"no pictures of {', '.join(missing)}")
    return {name: _joined(found[name]) for name in names if name in found}


def divide_by_look(
    finders: Sequence[Finder], images: Sequence[Path], batch_size: int, advance: Callable[[int], None]
) -> Iterator[tuple[Path, Match | InputError]]:
    """Yield each image with the part that it lacks least of, or with the error if none can read it.

    A part whose region is of pictures of another size is none of its parts.
    """
    names = [name for finder in finders for name in finder.names]
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            columns = [_lacks(pool, finder, batch) for finder in finders]
            for row, image in enumerate(batch):
                of_each = [column[row] for column in columns]
                errors = [one for one in of_each if isinstance(one, InputError)]
                if len(errors) == len(of_each):
                    yield image, errors[0]
                    continue
                known = zip(finders, of_each, strict=True)
                lacks = [np.full(len(f.names), np.inf) if isinstance(own, InputError) else own for f, own in known]
                yield image, match_of(names, np.concatenate(lacks))
            advance(len(batch))


def _lacks(pool: ThreadPoolExecutor, finder: Finder, images: Sequence[Path]) -> list[np.ndarray | InputError]:
    """Return how much each image lacks of a finder's parts [part], the mean over its tiles; or the error."""
    loaded = list(read_each(pool, partial(load_image, known=finder.known), images))
    squares = [read.squares for read in loaded if isinstance(read, Loaded)]
    tiles = finder.known.settings.tile_count
    of_tiles = finder.lacks(np.concatenate(squares)) if squares else np.empty((0, len(finder.names)))
    rows = iter(of_tiles.reshape(-1, tiles, len(finder.names)).mean(1))
    return [next(rows) if isinstance(read, Loaded) else read for read in loaded]


def match_of(names: Sequence[str], lacks: np.ndarray) -> Match:
    """Return the part that an image lacks least of [part], and how surely it is that one.

    >>> match_of(["nut", "bolt"], np.array([0.8, 0.2])), match_of(["nut", "bolt"], np.array([1.2, 1.3])).words
    (Match(part='bolt', sureness=0.75, is_like=True), 'unlike all parts')
    """
    order = np.argsort(lacks, kind="stable")
    best = float(lacks[order[0]])
    second = float(lacks[order[1]]) if len(order) > 1 else 1.0  # at 1 it is no longer like the part
    return Match(names[order[0]], max(0.0, 1 - best / second) if second > 0 else 0.0, best <= 1)


def _folders_in(place: Path, besides: Path) -> list[Path]:
    return sorted(
        child
        for child in place.iterdir()
        if child.is_dir()
        and not child.name.startswith(".")
        and child.resolve() != besides.resolve()
        and not is_drawn(child.resolve())
    )


def _joined(found: Sequence[FoundImages]) -> FoundImages:
    """Return what was found in several places, each once."""
    kinds = zip(*((own.images, own.unread, own.others) for own in found), strict=True)
    return FoundImages(*(tuple(dict.fromkeys(path for paths in kind for path in paths)) for kind in kinds))
