"""The table of results on disturbed pictures: on disk beside that of results, and on a terminal."""

import io
from pathlib import Path
from typing import Any

import pytest
from helpers import refusal
from rich.console import Console

from promptad.data.corruptions import Corruption, corruptions_of
from promptad.results.disturbances import (
    cells_of,
    curves,
    disturbances_table,
    read_disturbances,
    with_change,
    write_disturbances,
)
from promptad.results.table import DISTURBED_COLUMNS, RESULT_COLUMNS, read_results, write_result
from promptad.utils.numbers import MINUS

KEY = {"system": "prototypes", "level": "image", "memory": "no", "select": "last"}


def rows_of(class_name: str, *names: str, auroc: float = 0.9, decides: bool = True) -> list[dict[str, Any]]:
    """Rows whose image AUROC falls by a point with each strength, and whose false alarms rise by ten."""
    plain = {"class": class_name, **KEY, "k": 2, "seed": 111, "p_pro": None}
    return [
        plain
        | cells_of(corruption)
        | {
            "i_roc": auroc - 0.01 * cells_of(corruption)["strength"],
            "false_alarms": 0.1 * cells_of(corruption)["strength"] if decides else None,
            "misses": 0.25 if decides else None,
        }
        for corruption in (None, *corruptions_of(names))
    ]


def printed(rows: list[dict[str, Any]], width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(disturbances_table(rows))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_rows_have_the_columns_of_results_and_more(tmp_path: Path) -> None:
    write_disturbances(tmp_path / "disturbances.csv", rows_of("carpet", "blur"))
    rows = read_disturbances(tmp_path / "disturbances.csv")
    assert all(tuple(row) == (*RESULT_COLUMNS, *DISTURBED_COLUMNS) for row in rows)
    found = [
        (row["disturbance"], row["strength"], row["i_roc"], row["false_alarms"], row["misses"], row["p_pro"])
        for row in rows
    ]
    assert found == [
        ("none", "0", "90.00", "0.00", "25.00", ""),
        ("blur", "1", "89.00", "10.00", "25.00", ""),
        ("blur", "2", "88.00", "20.00", "25.00", ""),
        ("blur", "3", "87.00", "30.00", "25.00", ""),
    ]


def test_a_second_test_replaces_all_rows_of_its_class_and_configuration(tmp_path: Path) -> None:
    csv_file = tmp_path / "disturbances.csv"
    write_disturbances(csv_file, rows_of("carpet", "blur", "jpeg"))
    write_disturbances(csv_file, rows_of("grid", "blur"))
    other = [row | {"system": "other"} for row in rows_of("carpet", "jpeg")]
    write_disturbances(csv_file, other)
    write_disturbances(csv_file, rows_of("carpet", "light"))
    found = [(row["class"], row["system"], row["disturbance"]) for row in read_disturbances(csv_file)]
    assert found == [
        *[("carpet", "prototypes", name) for name in ("none", *["light"] * 3)],
        *[("grid", "prototypes", name) for name in ("none", *["blur"] * 3)],
        *[("carpet", "other", name) for name in ("none", *["jpeg"] * 3)],
    ]


def test_tables_of_both_kinds_are_not_mixed_up(tmp_path: Path) -> None:
    write_disturbances(tmp_path / "disturbances.csv", rows_of("carpet", "blur"))
    write_result(tmp_path / "results.csv", {"class": "carpet", **KEY, "k": 2, "seed": 111})
    assert "does not know, disturbance" in refusal(read_results, tmp_path / "disturbances.csv")
    assert "does not start with the columns" in refusal(read_disturbances, tmp_path / "results.csv")


@pytest.mark.parametrize(("column", "cell"), [("strength", "two"), ("strength", "-1"), ("misses", "101")])
def test_a_damaged_cell_is_refused(tmp_path: Path, column: str, cell: str) -> None:
    csv_file = tmp_path / "disturbances.csv"
    write_disturbances(csv_file, rows_of("carpet", "blur"))
    header, first, *others = csv_file.read_text().splitlines()
    cells = dict(zip(header.split(","), first.split(","), strict=True)) | {column: cell}
    csv_file.write_text("\n".join([header, ",".join(cells.values()), *others]))
    assert "is damaged in row 2" in refusal(read_disturbances, csv_file)


def test_the_table_shows_values_and_what_they_changed() -> None:
    lines = printed(rows_of("carpet", "blur", "shift"))
    assert max(map(len, lines)) <= 80
    words = [line.split() for line in lines if line.startswith(("none", "blur", "shift"))]
    assert words[0] == ["none", "90.0", "-", "0.0", "25.0"]
    assert words[2] == ["blur", "2", "sigma", "0.6%", "88.0", f"({MINUS}2.0)", "-", "20.0", "(+20.0)", "25.0", "(0.0)"]
    assert [own[:4] for own in words[4:]] == [["shift", str(n), "by", f"{2**n}%"] for n in (1, 2, 3)]


def test_what_decides_nothing_has_no_false_alarms() -> None:
    rows = rows_of("carpet", "light", decides=False)
    (row,) = (line.split() for line in printed(rows) if "light 1" in line)
    assert row == ["light", "1", "x", "0.9", "89.0", f"({MINUS}1.0)", "-", "-", "-"]
    assert curves(rows) == {"I-AUROC": {"light": pytest.approx([90, 89, 88, 87])}}


def test_curves_begin_with_clean_pictures() -> None:
    found = curves(rows_of("carpet", "blur", "noise"))
    assert list(found) == ["I-AUROC", "false alarms", "misses"]
    assert found["false alarms"] == {name: pytest.approx([0, 10, 20, 30]) for name in ("blur", "noise")}


def test_a_change_that_is_none_has_no_sign() -> None:
    assert with_change(0.90004, 0.9) == with_change(0.89996, 0.9) == "90.0 (0.0)"
    assert Corruption("blur", 1).words == "sigma 0.3%"
