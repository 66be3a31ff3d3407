"""Choose the k support images: by a seed, or from a list."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from promptad.errors import InputError

_ID_LINE = re.compile(r"#(\d+):(.*)")


def choose_support(normal: Sequence[Path], k: int, seed: int) -> tuple[Path, ...]:
    """The first `k` images in the order of sha256("<seed>/<file name>").

    The choice depends on the `seed` and the file names only: not on the platform, a library's random numbers, the
    folder, or the order of `normal`. The k images of one seed are among the k + 1 images of the same seed.

    Raises:
        InputError: k is below 1, or there are fewer than k images.
    """
    _check_count(normal, k)
    return tuple(sorted(normal, key=lambda path: (_digest(path.name, seed), path.as_posix()))[:k])


def read_support_list(file: Path, class_name: str, normal: Sequence[Path], k: int) -> tuple[Path, ...]:
    """The k images that a support list names, in its order.

    A line is either an image (a path from the list's folder or from the working directory, or a bare file name) or,
    as in the original PromptAD's lists, `#2: 12 57`: for k = 2 the images with these indices, from 0, in the sorted
    `normal`. Blank lines and other lines that start with # are comments. Only images in `normal` may be named, so
    that no test image is used for training.

    Args:
        file: the list.
        class_name: the part, for errors.
        normal: the training images, of which it names some.
        k: how many it has to name.

    Raises:
        InputError: a line, which is named by its number, or the number of images is not as it should be.
    """
    _check_count(normal, k)
    lines = list(_read_lines(file))
    id_lines = [(number, match) for number, line in lines if (match := _ID_LINE.fullmatch(line))]
    paths = [(number, line) for number, line in lines if not line.startswith("#")]
    if id_lines and paths:
        raise InputError(f"{file} line {paths[0][0]}: a path among lines of ids; keep one of the two kinds")
    if id_lines:
        chosen = _images_of_ids(file, id_lines, normal, k)
    else:
        chosen = [(number, _find(file, number, line, class_name, normal)) for number, line in paths]
    return _check_chosen(file, chosen, k)


def _digest(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).hexdigest()


def _check_count(normal: Sequence[Path], k: int) -> None:
    if k < 1:
        raise InputError(f"`k_shot` must be at least 1, not {k}")
    if len(normal) < k:
        place = f" in {normal[0].parent}" if normal else ""
        raise InputError(f"`k_shot` {k} needs {k} normal pictures, found {len(normal)}{place}: add some or lower k")


def _read_lines(file: Path) -> Iterator[tuple[int, str]]:
    """Each line that is not blank, stripped, with its number from 1."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"no support list at {file}: check the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read support list {file}: give a text file with one picture path a line") from error
    return ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip())


def _images_of_ids(
    file: Path, id_lines: list[tuple[int, re.Match[str]]], normal: Sequence[Path], k: int
) -> list[tuple[int, Path]]:
    mine = [(number, match[2].split()) for number, match in id_lines if int(match[1]) == k]
    if not mine:
        found = ", ".join(f"#{match[1]}:" for _, match in id_lines)
        raise InputError(f"{file} has no line #{k}: for k = {k}; it has {found}; add one or change `k_shot`")
    if len(mine) > 1:
        raise InputError(f"{file} line {mine[1][0]}: a second line for k = {k}; keep one")
    number, ids = mine[0]
    listing = sorted(normal, key=lambda path: path.name)
    for word in ids:
        if not (word.isascii() and word.isdigit() and int(word) < len(listing)):
            raise InputError(f"{file} line {number}: no picture has id {word}; ids go from 0 to {len(listing) - 1}")
    return [(number, listing[int(word)]) for word in ids]


def _find(file: Path, number: int, line: str, class_name: str, normal: Sequence[Path]) -> Path:
    """The image of `normal` that the line names."""
    by_place = {path.resolve(): path for path in normal}
    for folder in (file.parent, Path.cwd()):
        if (place := (folder / line).resolve()) in by_place:
            return by_place[place]
    by_name = {path.name: path for path in normal}
    if line in by_name:
        return by_name[line]
    raise InputError(f'{file} line {number}: "{line}" is no normal training picture of {class_name}; correct the path')


def _check_chosen(file: Path, chosen: list[tuple[int, Path]], k: int) -> tuple[Path, ...]:
    seen: set[Path] = set()
    for number, path in chosen:
        if path in seen:
            raise InputError(f"{file} line {number}: {path.name} stands in the list twice; name {k} different pictures")
        seen.add(path)
    if len(chosen) != k:
        where = f" line {chosen[min(k, len(chosen) - 1)][0]}" if chosen else ""
        raise InputError(f"{file}{where}: the list names {len(chosen)} pictures, `k_shot` is {k}; make them agree")
    return tuple(path for _, path in chosen)
