"""Where each data set keeps its pictures: MVTec AD (and the demo in its layout), VisA, and a plain folder."""

import csv
import os
from pathlib import Path

from promptad.data.pictures import list_pictures
from promptad.errors import InputError, check_choice
from promptad.records import ClassPictures, TestPicture

DATASETS = ("mvtec", "visa", "demo", "folder")

# Where a class's normal pictures lie in its folder. VisA keeps a table instead.
_NORMAL_FOLDERS = {"mvtec": Path("train", "good"), "demo": Path("train", "good"), "folder": Path("good")}

_VISA_TABLE = Path("split_csv", "1cls.csv")
_VISA_COLUMNS = ("object", "split", "label", "image", "mask")
_VISA_KINDS = (("train", "normal"), ("test", "normal"), ("test", "anomaly"))

_MISSING = {
    "mvtec": "no MVTec AD at {0}: unpack it there ({0}/carpet/train/good/000.png), or try --dataset demo",
    "visa": "no VisA at {0}: unpack it there ({0}/split_csv/1cls.csv), or try --dataset demo",
    "demo": "no demo data at {0}: draw it there with promptad demo-data",
    "folder": "no folder at {0}: give the folder that holds good/, or the one above it",
}


def default_data_root() -> Path:
    """The folder above the data sets: the environment variable PROMPTAD_DATA, else `data`."""
    return Path(os.environ.get("PROMPTAD_DATA") or "data")


def dataset_folder(dataset: str, data_root: Path) -> Path:
    """The data set's own folder: `data_root/<dataset>`, or `data_root` where that is the data set already.

    Raises InputError for an unknown data set, and for a missing one with the place to put it.
    """
    check_choice("data set", dataset, DATASETS)
    usual = data_root if dataset == "folder" else data_root / dataset
    if usual.is_dir():
        return usual
    if dataset != "folder" and _looks_like(dataset, data_root):
        return data_root
    raise InputError(_MISSING[dataset].format(usual.as_posix()))


def class_names(dataset: str, folder: Path) -> tuple[str, ...]:
    """The classes in the data set's folder, sorted; a plain folder that holds good/ is one class of its own name.

    Raises InputError for an unknown data set, a missing folder, or one without a class.
    """
    check_choice("data set", dataset, DATASETS)
    if not folder.is_dir():
        raise InputError(_MISSING[dataset].format(folder.as_posix()))
    if dataset == "visa":
        names = {row["object"] for _, row in _read_visa_table(folder)} - {""}
    elif _is_one_class(dataset, folder):
        names = {folder.resolve().name}
    else:
        first = _NORMAL_FOLDERS[dataset].parts[0]
        names = {
            child.name for child in folder.iterdir() if not child.name.startswith(".") and (child / first).is_dir()
        }
    if not names:
        wanted = _VISA_TABLE if dataset == "visa" else Path("<class>") / _NORMAL_FOLDERS[dataset]
        raise InputError(
            f"no class of data set {dataset} in {folder}: put pictures into {(folder / wanted).as_posix()}"
        )
    return tuple(sorted(names))


def no_classes(dataset: str, folder: Path) -> tuple[str, ...]:
    """The sub-folders of a tree of own parts that are no class, as they hold no good/: a misspelt name may hide there.

    Other data sets come with folders of their own.
    """
    if dataset != "folder" or _is_one_class(dataset, folder):
        return ()
    children = {child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")}
    return tuple(sorted(children - set(class_names(dataset, folder))))


def read_class(dataset: str, folder: Path, class_name: str) -> ClassPictures:
    """The pictures of one class, sorted, in the data set's own folder (as `dataset_folder` gives it).

    A plain folder that holds good/ is the class itself, under whatever name. Raises InputError for what
    `class_names` raises it for, an unknown class, no normal picture, and a defective picture without its mask; a
    plain folder may do without masks altogether, by having no ground_truth/.
    """
    names = class_names(dataset, folder)
    one_class = _is_one_class(dataset, folder)
    if not one_class:
        check_choice(f"class in {folder}", class_name, names)
    if dataset == "visa":
        return _read_visa_class(folder, class_name)
    class_folder = folder if one_class else folder / class_name
    normal_folder = class_folder / _NORMAL_FOLDERS[dataset]
    normal = list_pictures(normal_folder) if normal_folder.is_dir() else ()
    if not normal:
        raise InputError(f"no pictures in {normal_folder}: put normal pictures of {class_name} there")
    needs_masks = dataset != "folder" or (class_folder / "ground_truth").is_dir()
    return ClassPictures(dataset, class_name, normal, _read_test_split(class_folder, needs_masks))


def _is_one_class(dataset: str, folder: Path) -> bool:
    return dataset == "folder" and (folder / "good").is_dir()


def _looks_like(dataset: str, folder: Path) -> bool:
    """Whether the folder itself is the data set, under another name than that of another data set.

    The demo has MVTec AD's layout, so only the folder's name keeps drawn pictures from being reported as MVTec AD.
    """
    if not folder.is_dir() or folder.resolve().name in set(DATASETS) - {dataset}:
        return False
    if dataset == "visa":
        return (folder / _VISA_TABLE).is_file()
    return any((child / _NORMAL_FOLDERS[dataset]).is_dir() for child in folder.iterdir())


def _read_test_split(class_folder: Path, needs_masks: bool) -> tuple[TestPicture, ...]:
    """test/<defect>/ by defect and file name; empty where there is no test folder."""
    test_folder = class_folder / "test"
    if not test_folder.is_dir():
        return ()
    if loose := list_pictures(test_folder):
        raise InputError(f"{loose[0]} has no label: move it into {test_folder / 'good'} or {test_folder / '<defect>'}")
    pictures: list[TestPicture] = []
    for defect_folder in sorted(filter(Path.is_dir, test_folder.iterdir()), key=lambda path: path.name):
        defect = defect_folder.name
        if defect.startswith("."):
            continue
        if defect != "good" and defect.lower() == "good":
            raise InputError(f"{defect_folder} would count as a defect: rename it to good")
        paths = list_pictures(defect_folder)
        if defect == "good":
            pictures += [TestPicture(path, defect, None) for path in paths]
        else:
            masks = _masks_by_stem(class_folder / "ground_truth" / defect)
            pictures += [_defective(path, defect, masks.get(path.stem), class_folder, needs_masks) for path in paths]
    return tuple(pictures)


def _masks_by_stem(folder: Path) -> dict[str, Path]:
    """Each mask under its picture's stem. 003_mask sorts after 003, and so wins where both are there."""
    masks = list_pictures(folder) if folder.is_dir() else ()
    return {mask.stem.removesuffix("_mask"): mask for mask in masks}


def _defective(path: Path, defect: str, mask: Path | None, class_folder: Path, needs_mask: bool) -> TestPicture:
    if mask is None and needs_mask:
        wanted = class_folder / "ground_truth" / defect / f"{path.stem}_mask.png"
        raise InputError(f"no mask for {path}: put it at {wanted}")
    return TestPicture(path, defect, mask)


def _read_visa_table(folder: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of split_csv/1cls.csv, each with its line number."""
    table = folder / _VISA_TABLE
    if not table.is_file():
        raise InputError(f"no table {table}: unpack VisA there in its original layout")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [column for column in _VISA_COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"table {table} lacks the column {', '.join(missing)}: restore VisA's own table")
            return [(reader.line_num, {name: row[name] or "" for name in _VISA_COLUMNS}) for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"table {table} is no CSV file: restore VisA's own table") from error


def _read_visa_class(folder: Path, class_name: str) -> ClassPictures:
    normal: list[Path] = []
    test: list[TestPicture] = []
    for line, row in _read_visa_table(folder):
        if row["object"] != class_name:
            continue
        where = f"{folder / _VISA_TABLE} line {line}"
        kind = (row["split"], row["label"])
        if kind not in _VISA_KINDS:
            raise InputError(
                f"{where}: split and label are {' '.join(kind)}; VisA has train normal, test normal, anomaly"
            )
        path = _visa_file(folder, row["image"], "picture", where)
        if kind == ("train", "normal"):
            normal.append(path)
        elif kind == ("test", "normal"):
            test.append(TestPicture(path, "good", None))
        else:
            test.append(TestPicture(path, "anomaly", _visa_file(folder, row["mask"], "mask", where)))
    if not normal:
        raise InputError(
            f"no normal training pictures of {class_name} in {folder / _VISA_TABLE}: restore VisA's own table"
        )
    ordered = sorted(test, key=lambda picture: (picture.defect, picture.path.as_posix()))
    return ClassPictures("visa", class_name, tuple(sorted(normal, key=Path.as_posix)), tuple(ordered))


def _visa_file(folder: Path, name: str, what: str, where: str) -> Path:
    path = folder / name
    if not name or not path.is_file():
        raise InputError(f'{where}: no {what} at "{name}"; unpack VisA again or correct the path')
    return path
