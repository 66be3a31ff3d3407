"""The data sets by name, and their classes."""

import os
from collections.abc import Iterable
from pathlib import Path

from promptad.data.loco import LocoReader
from promptad.data.mvtec import MVTecReader
from promptad.data.mvtec2 import MVTec2Reader
from promptad.data.reader import DatasetReader
from promptad.data.visa import VisaReader
from promptad.errors import InputError, check_choice
from promptad.structures import ClassDataset

# To add a data set, add a line.
READERS: tuple[DatasetReader, ...] = (
    MVTecReader("mvtec", "no MVTec AD at {0}: unpack it there ({0}/carpet/train/good/000.png), or try `dataset` demo"),
    MVTec2Reader(),
    LocoReader(),
    VisaReader(),
    MVTecReader("demo", "no demo data at {0}: draw it there with promptad demo-data"),
    MVTecReader(
        "folder",
        "no folder at {0}: give the folder that holds good/, or the one above it",
        expected=Path("<class>", "good"),
        has_own_folder=False,
    ),
)
DATASETS = {reader.name: reader for reader in READERS}


def default_data_root() -> Path:
    """The folder above the data sets: the environment variable PROMPTAD_DATA, else `data`."""
    return Path(os.environ.get("PROMPTAD_DATA") or "data")


def dataset_folder(dataset: str, data_root: Path) -> Path:
    """The data set's own folder: `data_root/<dataset>`, or `data_root` if that already is the data set.

    Raises:
        InputError: an unknown data set, or a missing one, with the path where it is expected.
    """
    reader = _reader(dataset)
    usual = data_root / dataset if reader.has_own_folder else data_root
    if usual.is_dir():
        return usual
    if reader.has_own_folder and _is_under_another_name(reader, data_root):
        return data_root
    _check_layout(data_root)
    raise InputError(reader.missing.format(usual.as_posix()))


def class_names(dataset: str, folder: Path) -> tuple[str, ...]:
    """The classes in the `folder` of a `dataset`, sorted; a plain folder that holds good/ is one class of its name.

    Raises:
        InputError: an unknown data set, a missing folder, or one without a class.
    """
    reader = _reader(dataset)
    if not folder.is_dir():
        raise InputError(reader.missing.format(folder.as_posix()))
    if not _has_layout_of(reader, folder):
        _check_layout(folder)
    names = reader.class_names(folder)
    if not names:
        wanted = (folder / reader.expected).as_posix()
        raise InputError(f"no class of data set {dataset} in {folder}: put pictures into {wanted}")
    return tuple(sorted(names))


def no_classes(dataset: str, folder: Path) -> tuple[str, ...]:
    """The sub-folders of a `folder` of parts that are not classes, because they hold no good/, sorted.

    Only a `dataset` of the user's own parts has such.
    """
    return _reader(dataset).left_out(folder)


def read_class(dataset: str, folder: Path, class_name: str) -> ClassDataset:
    """The images of one class, sorted.

    A plain folder that holds good/ is the class itself, under any name; without ground_truth/ it needs no masks.

    Args:
        dataset: its name, such as "mvtec" or "folder".
        folder: the data set's own, as `dataset_folder` gives it.
        class_name: one of `class_names`.

    Raises:
        InputError: as of `class_names`, or an unknown class, no normal image, or an anomalous one without its mask.
    """
    check_classes(dataset, folder, (class_name,))
    return _reader(dataset).read_class(folder, class_name)


def check_classes(dataset: str, folder: Path, named: Iterable[str]) -> None:
    """Check that a data set's folder has classes; a plain folder that holds good/ is itself one, under any name.

    Raises InputError as `class_names` does, and for an unknown class.
    """
    known = class_names(dataset, folder)
    if not _reader(dataset).is_one_class(folder):
        for name in named:
            check_choice(f"class in {folder}", name, known)


def _reader(dataset: str) -> DatasetReader:
    check_choice("data set", dataset, DATASETS)
    return DATASETS[dataset]


def _is_plain(reader: DatasetReader) -> bool:
    """Whether a reader's layout is MVTec AD's, with nothing that tells which data set it is."""
    return isinstance(reader, MVTecReader) and not reader.signs


def _has_layout_of(reader: DatasetReader, folder: Path) -> bool:
    """Whether a folder has a data set's layout; MVTec AD's it has only without the signs of another one."""
    if _is_plain(reader) and any(_has_signs_of(other, folder) for other in DATASETS.values()):
        return False
    return reader.looks_like(folder)


def _has_signs_of(reader: DatasetReader, folder: Path) -> bool:
    return isinstance(reader, MVTecReader) and not _is_plain(reader) and reader.looks_like(folder)


def _check_layout(folder: Path) -> None:
    """Refuse a folder that has a known layout where another data set is expected."""
    if not folder.is_dir():
        return
    for reader in DATASETS.values():
        if _has_layout_of(reader, folder):
            plain = _is_plain(reader)
            layout, name = ("MVTec AD's layout", "folder") if plain else (f"the layout of {reader.name}", reader.name)
            raise InputError(f"{folder} has {layout}: read it by `dataset` {name} `data_root` {folder}")


def _is_under_another_name(reader: DatasetReader, folder: Path) -> bool:
    """Whether the folder itself is the data set, under any name but, in MVTec AD's layout, that of another data set.

    The demo has MVTec AD's layout, so only the folder's name keeps drawn images from being reported as MVTec AD.
    """
    if not folder.is_dir() or not _has_layout_of(reader, folder):
        return False
    return not _is_plain(reader) or folder.resolve().name not in set(DATASETS) - {reader.name}
