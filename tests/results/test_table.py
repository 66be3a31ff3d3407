"""Results survive other writers, a crash and a damaged file; files are written whole or not at all."""

import io
import multiprocessing
import os
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from filelock import FileLock
from rich.console import Console

from promptad.errors import InputError
from promptad.results import table as results
from promptad.results.columns import METRIC_TITLES
from promptad.results.table import RESULT_COLUMNS, metric_cells, read_results, write_result
from promptad.results.terminal import results_tables
from promptad.structures import Evaluation
from promptad.utils.files import whole_file

ROWS_PER_WRITER = 20
FULL = Evaluation(*(0.01 * place for place in range(len(METRIC_TITLES))))
EVALUATION = Evaluation(image_auroc=0.91234, image_ap=0.9, image_f1_max=1.0, pixel_auroc=None, aupro=None)


def row_of(class_name: str, **cells: object) -> dict[str, object]:
    """A row as of an evaluation without masks, with `cells` in their columns."""
    key = {"class": class_name, "system": "prototypes", "level": "image", "memory": "no", "select": "last"}
    return {**key, "k": 2, "seed": 111, **metric_cells(EVALUATION), **cells}


def write_rows(csv_file: Path, writer: str, start: Barrier) -> None:
    """One of two writing processes, which start together."""
    start.wait(timeout=120)
    for number in range(ROWS_PER_WRITER):
        write_result(csv_file, row_of(f"{writer}{number}"))


def printed(rows: list[dict[str, str]]) -> str:
    """The table as an 80-column terminal shows it."""
    console = Console(file=io.StringIO(), width=80)
    console.print(*results_tables(rows))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_row_is_written_in_percent(tmp_path: Path) -> None:
    csv_file = tmp_path / "csv" / "Seed_111-results.csv"
    write_result(csv_file, row_of("carpet", seconds=12.345, backbone="tiny", select="last", epochs=100))
    (row,) = read_results(csv_file)
    assert tuple(row) == RESULT_COLUMNS
    assert [row[column] for column in ("i_roc", "i_ap", "i_f1", "p_roc", "p_pro")] == [
        "91.23",
        "90.00",
        "100.00",
        "",
        "",
    ]
    assert (row["class"], row["k"], row["backbone"], row["seconds"], row["n_pro"]) == (
        "carpet",
        "2",
        "tiny",
        "12.3",
        "",
    )


def test_a_row_replaces_the_one_of_its_class_and_system(tmp_path: Path) -> None:
    csv_file = tmp_path / "results.csv"
    for class_name, system, k in [("carpet", "a", 1), ("grid", "a", 1), ("carpet", "b", 1), ("carpet", "a", 4)]:
        write_result(csv_file, row_of(class_name, system=system, k=k))
    found = [(row["class"], row["system"], row["k"]) for row in read_results(csv_file)]
    assert found == [("carpet", "a", "4"), ("grid", "a", "1"), ("carpet", "b", "1")]


@pytest.mark.parametrize("column", results.KEY_COLUMNS)
def test_a_row_of_another_configuration_stays_beside_it(tmp_path: Path, column: str) -> None:
    csv_file = tmp_path / "results.csv"
    write_result(csv_file, row_of("carpet"))
    write_result(csv_file, row_of("carpet") | {column: "other"})
    write_result(csv_file, row_of("carpet") | {column: "other", "k": 4})
    assert [(row[column] == "other", row["k"]) for row in read_results(csv_file)] == [(False, "2"), (True, "4")]


def test_any_text_survives(tmp_path: Path) -> None:
    csv_file = tmp_path / "results.csv"
    write_result(csv_file, row_of('screw, "M3"\ngrößer', system=""))
    assert read_results(csv_file)[0]["class"] == 'screw, "M3"\ngrößer'


def test_no_file_is_no_rows(tmp_path: Path) -> None:
    assert read_results(tmp_path / "none.csv") == []


def test_two_processes_lose_no_row(tmp_path: Path) -> None:
    csv_file = tmp_path / "csv" / "results.csv"
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    writers = [context.Process(target=write_rows, args=(csv_file, name, start)) for name in "ab"]
    for process in writers:
        process.start()
    for process in writers:
        process.join(timeout=120)
    assert [process.exitcode for process in writers] == [0, 0]
    expected = {f"{name}{number}" for name in "ab" for number in range(ROWS_PER_WRITER)}
    assert {row["class"] for row in read_results(csv_file)} == expected
    visible = [path.name for path in csv_file.parent.iterdir() if not path.name.startswith(".")]
    assert visible == ["results.csv"]


def test_the_lock_of_an_ended_process_does_not_block(tmp_path: Path) -> None:
    csv_file = tmp_path / "results.csv"
    (tmp_path / ".results.csv.lock").touch()
    write_result(csv_file, row_of("carpet"))
    assert len(read_results(csv_file)) == 1


def test_a_held_lock_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "LOCK_TIMEOUT", 0.1)
    with (
        FileLock(tmp_path / ".results.csv.lock"),
        pytest.raises(InputError, match=r"locked for 0\.1 s: end the other process"),
    ):
        write_result(tmp_path / "results.csv", row_of("carpet"))


HEADER = ",".join(RESULT_COLUMNS)
NAMED = "carpet,a,image,no,last,mvtec,abc,1,1,3,6,100,tiny,def,012"  # all cells of a row before its metrics
REST = "," * (len(RESULT_COLUMNS) - NAMED.count(",") - 2)  # of empty cells behind the first one


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "does not start with the columns"),
        (b"class,auroc\ncarpet,0.9\n", "does not start with the columns"),
        (f"{HEADER}\ncarpet,a,1\n".encode(), "damaged in row 2"),
        (f"{HEADER}\n{',' * (len(RESULT_COLUMNS) - 1)}\n".encode(), "damaged in row 2"),
        (f"{HEADER}\n{NAMED},best{REST}\n".encode(), "damaged in row 2"),
        (f"{HEADER}\n{NAMED},nan{REST}\n".encode(), "damaged in row 2"),
        (f"{HEADER},class\n".encode(), "does not start with the columns"),
        (f'{HEADER}\n"carpet,a,1\n'.encode(), "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_damaged_file_is_refused_and_kept(tmp_path: Path, content: bytes, problem: str) -> None:
    csv_file = tmp_path / "results.csv"
    csv_file.write_bytes(content)
    for action in (lambda: read_results(csv_file), lambda: write_result(csv_file, row_of("carpet"))):
        with pytest.raises(InputError, match=problem) as refusal:
            action()
        assert "\n" not in str(refusal.value)
    assert csv_file.read_bytes() == content


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_results(tmp_path)


def test_a_wrong_column_or_value_is_an_assertion_error(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="auroc"):
        write_result(tmp_path / "results.csv", row_of("carpet", auroc=0.9))
    with pytest.raises(AssertionError, match=r"not in \[0, 1\]"):
        write_result(tmp_path / "results.csv", row_of("carpet", i_roc=91.2))
    assert list(tmp_path.iterdir()) == []


def test_the_table_ends_in_the_mean_of_the_measured_values(tmp_path: Path) -> None:
    csv_file = tmp_path / "results.csv"
    write_result(csv_file, row_of("carpet", i_roc=0.9, p_roc=0.7))
    write_result(csv_file, row_of("grid", i_roc=0.8))
    text = printed(read_results(csv_file))
    of_images, of_pixels = (line for line in text.splitlines() if "mean of 2" in line)
    assert "85.00" in of_images
    assert "70.00" in of_pixels
    assert "over the classes that have the metric" in text


def test_each_system_has_its_mean(tmp_path: Path) -> None:
    csv_file = tmp_path / "results.csv"
    for system, i_roc in [("prototypes", 0.9), ("single-anchor", 0.7)]:
        write_result(csv_file, row_of("carpet", system=system, i_roc=i_roc, p_roc=0.5, p_pro=0.5))
    text = printed(read_results(csv_file))
    assert text.count("mean of 1") == 2 * 2  # of images and of pixels
    assert "that have the metric" not in text


def test_the_table_names_only_what_differs(tmp_path: Path) -> None:
    csv_file = tmp_path / "results.csv"
    write_result(csv_file, row_of("carpet"))
    assert not {"prototypes", "image", "last"} & set(printed(read_results(csv_file)).split())
    write_result(csv_file, row_of("carpet", level="pixel"))
    text = printed(read_results(csv_file))
    assert "pixel" in text
    assert "prototypes" not in text
    assert text.count("mean of 1") == 2


def test_a_table_of_no_rows_has_its_header() -> None:
    assert "I-AUROC" in printed([])


def test_metrics_of_pixels_and_of_decisions_are_shown_where_measured(tmp_path: Path) -> None:
    csv_file = tmp_path / "results.csv"
    write_result(csv_file, row_of("carpet"))
    text = printed(read_results(csv_file))
    assert "pixels" not in text
    assert "recall" not in text
    write_result(csv_file, row_of("metal_nut", **metric_cells(FULL)))
    text = printed(read_results(csv_file))
    assert "…" not in text
    assert all(word in text for word in ("Results of pixels", "recall", "alarms", "SegF1", "AUPIMO", "12.00"))


def test_rows_of_an_older_version_are_read_and_kept(tmp_path: Path) -> None:
    csv_file = tmp_path / "results.csv"
    write_result(csv_file, row_of("carpet"))
    older = [column for column in RESULT_COLUMNS if column in results.FIRST_COLUMNS]
    (row,) = read_results(csv_file)
    csv_file.write_text(f"{','.join(older)}\n{','.join(row[column] for column in older)}\n")
    assert read_results(csv_file) == [row]
    write_result(csv_file, row_of("grid", seg_f1=0.5, version="0.2"))
    assert [(found["class"], found["seg_f1"], found["version"]) for found in read_results(csv_file)] == [
        ("carpet", "", ""),
        ("grid", "50.00", "0.2"),
    ]


def test_columns_of_a_newer_version_are_named(tmp_path: Path) -> None:
    csv_file = tmp_path / "results.csv"
    csv_file.write_text(f"{HEADER},flair\n")
    with pytest.raises(InputError, match=r"does not know, flair: install a newer one"):
        read_results(csv_file)


def test_whole_file_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "picture.png"
    for content in ("old", "new"):
        with whole_file(path) as temporary:
            assert (temporary.parent, temporary.suffix) == (path.parent, path.suffix)
            temporary.write_text(content)
            assert content == "old" or path.read_text() == "old"
    assert path.read_text() == "new"
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]


@pytest.mark.parametrize(
    ("interruption", "seen"), [(ValueError, ValueError), (OSError, InputError), (KeyboardInterrupt, KeyboardInterrupt)]
)
def test_whole_file_keeps_the_old_file_after_an_error(
    tmp_path: Path, interruption: type[BaseException], seen: type[BaseException]
) -> None:
    path = tmp_path / "picture.png"
    path.write_text("old")
    with pytest.raises(seen), whole_file(path) as temporary:  # noqa: PT012
        temporary.write_text("half of the n")
        raise interruption
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]


def write_half_and_die(path: Path) -> None:
    """A process that ends without any clean-up, as if killed."""
    with whole_file(path) as temporary:
        temporary.write_text("half of the n")
        os._exit(9)


def test_whole_file_keeps_the_old_file_if_the_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_text("old")
    process = multiprocessing.get_context("spawn").Process(target=write_half_and_die, args=(path,))
    process.start()
    process.join(timeout=60)
    assert process.exitcode == 9
    assert path.read_text() == "old"


def test_whole_file_honours_the_umask(tmp_path: Path) -> None:
    with whole_file(tmp_path / "ours.txt") as temporary:
        temporary.write_text("")
    (tmp_path / "theirs.txt").write_text("")
    assert (tmp_path / "ours.txt").stat().st_mode == (tmp_path / "theirs.txt").stat().st_mode


def test_an_unwritable_folder_is_named_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "results.csv", tmp_path / "file" / "deep" / "results.csv"):
        with pytest.raises(InputError, match="`root_dir`") as refusal, whole_file(path):
            pytest.fail("a file was promised in an unwritable folder")
        assert str(path.parent) in str(refusal.value)
        assert "\n" not in str(refusal.value)
        with pytest.raises(InputError, match="`root_dir`"):
            write_result(path, row_of("carpet"))


def test_a_folder_in_place_of_the_target_is_refused_and_cleaned_up(tmp_path: Path) -> None:
    (tmp_path / "picture.png" / "inside").mkdir(parents=True)
    with pytest.raises(InputError, match="cannot write"), whole_file(tmp_path / "picture.png") as temporary:
        temporary.write_text("new")
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]
