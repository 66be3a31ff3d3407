"""VisA in its original layout: a table names the images of each object."""

import csv
from pathlib import Path

from promptad.data.reader import DatasetReader
from promptad.errors import InputError
from promptad.structures import ClassDataset, TestImage

TABLE = Path("split_csv", "1cls.csv")
COLUMNS = ("object", "split", "label", "image", "mask")
KINDS = (("train", "normal"), ("test", "normal"), ("test", "anomaly"))


class VisaReader(DatasetReader):
    """Reads the one-class split."""

    name = "visa"
    missing = "no VisA at {0}: unpack it there ({0}/split_csv/1cls.csv), or try `dataset` demo"
    expected = TABLE

    def class_names(self, folder: Path) -> set[str]:
        """Return the objects that the table names."""
        return {row["object"] for _, row in _read_table(folder)} - {""}

    def looks_like(self, folder: Path) -> bool:
        """Whether a folder holds the table."""
        return (folder / TABLE).is_file()

    def read_class(self, folder: Path, class_name: str) -> ClassDataset:
        """Return the images of an object, sorted."""
        normal: list[Path] = []
        test: list[TestImage] = []
        for line, row in _read_table(folder):
            if row["object"] != class_name:
                continue
            where = f"{folder / TABLE} line {line}"
            kind = (row["split"], row["label"])
            if kind not in KINDS:
                raise InputError(
                    f"{where}: split and label are {' '.join(kind)}; VisA has train normal, test normal, anomaly"
                )
            path = _file(folder, row["image"], "picture", where)
            if kind == ("train", "normal"):
                normal.append(path)
            elif kind == ("test", "normal"):
                test.append(TestImage(path, "good", None))
            else:
                test.append(TestImage(path, "anomaly", _file(folder, row["mask"], "mask", where)))
        if not normal:
            raise InputError(
                f"no normal training pictures of {class_name} in {folder / TABLE}: restore VisA's own table"
            )
        ordered = sorted(test, key=lambda image: (image.defect, image.path.as_posix()))
        return ClassDataset("visa", class_name, tuple(sorted(normal, key=Path.as_posix)), tuple(ordered))


def _read_table(folder: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of split_csv/1cls.csv, each with its line number."""
    table = folder / TABLE
    if not table.is_file():
        raise InputError(f"no table {table}: unpack VisA there in its original layout")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"table {table} lacks the column {', '.join(missing)}: restore VisA's own table")
            return [(reader.line_num, {name: row[name] or "" for name in COLUMNS}) for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"table {table} is no CSV file: restore VisA's own table") from error


def _file(folder: Path, name: str, what: str, where: str) -> Path:
    path = folder / name
    if not name or not path.is_file():
        raise InputError(f'{where}: no {what} at "{name}"; unpack VisA again or correct the path')
    return path
