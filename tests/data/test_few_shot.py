"""The choice of support images, by seed or from a list."""

from pathlib import Path

import pytest
from helpers import draw, refusal

from promptad.data.few_shot import choose_support, read_support_list

NORMAL = tuple(Path("data/carpet/train/good", f"{number:03}.png") for number in range(20))
PINNED = [14, 7, 18, 10]  # sha256 of "111/000.png", "111/001.png", ...: must never change, for reproducible results


def numbers(paths: tuple[Path, ...]) -> list[int]:
    return [int(path.stem) for path in paths]


def test_the_choice_is_pinned_nested_seeded_and_independent_of_order() -> None:
    chosen = choose_support(NORMAL, 4, seed=111)
    assert numbers(chosen) == PINNED
    assert choose_support(NORMAL, 2, seed=111) == chosen[:2]
    assert choose_support(NORMAL[::-1], 4, seed=111) == chosen
    elsewhere = tuple(Path("elsewhere", path.name) for path in NORMAL)
    assert numbers(choose_support(elsewhere, 4, seed=111)) == PINNED
    assert len({choose_support(NORMAL, 4, seed) for seed in range(10)}) == 10


def test_an_impossible_k_is_refused() -> None:
    assert refusal(choose_support, NORMAL, 0, 1) == "`k_shot` must be at least 1, not 0"
    message = refusal(choose_support, NORMAL[:3], 4, 1)
    assert message == f"`k_shot` 4 needs 4 normal pictures, found 3 in {NORMAL[0].parent}: add some or lower k"
    assert "found 0:" in refusal(choose_support, (), 1, 1)


def write(folder: Path, *lines: str) -> Path:
    file = folder / "support.txt"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_a_list_of_paths_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    normal = [draw(tmp_path / "carpet/train/good" / f"00{number}.png") for number in range(4)]
    file = write(tmp_path / "carpet", "# our best", "train/good/003.png", "", "carpet/train/good/001.png", "000.png")
    monkeypatch.chdir(tmp_path)
    expected = (normal[3], normal[1], normal[0])
    assert read_support_list(file, "carpet", normal, 3) == expected
    relative = [path.relative_to(tmp_path) for path in normal]
    assert numbers(read_support_list(file, "carpet", relative, 3)) == [3, 1, 0]


def test_the_upstream_list_of_ids_is_read(tmp_path: Path) -> None:
    file = write(tmp_path, "#1: 7", "#2: 12 5", "# a comment", "#4: 0 1 2 3")
    assert numbers(read_support_list(file, "carpet", NORMAL[::-1], 2)) == [12, 5]
    assert numbers(read_support_list(file, "carpet", NORMAL, 1)) == [7]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("000.png", "", "hole.png"), ' line 3: "hole.png" is no normal training picture of carpet; correct the path'),
        (("#2: 0 20",), " line 1: no picture has id 20; ids go from 0 to 19"),
        (("#2: 0 -1",), " line 1: no picture has id -1; ids go from 0 to 19"),
        (("#1: 3", "#4: 0 1 2 3"), " has no line #2: for k = 2; it has #1:, #4:; add one or change `k_shot`"),
        (("#2: 0 1", "#2: 2 3"), " line 2: a second line for k = 2; keep one"),
        (("#2: 0 1", "000.png"), " line 2: a path among lines of ids; keep one of the two kinds"),
        (("#2: 0 1 2",), " line 1: the list names 3 pictures, `k_shot` is 2; make them agree"),
        (("000.png", "001.png", "002.png"), " line 3: the list names 3 pictures, `k_shot` is 2; make them agree"),
        (("# nothing",), ": the list names 0 pictures, `k_shot` is 2; make them agree"),
        (("000.png", "000.png"), " line 2: 000.png stands in the list twice; name 2 different pictures"),
    ],
)
def test_a_wrong_list_is_refused_with_its_line(tmp_path: Path, lines: tuple[str, ...], words: str) -> None:
    file = write(tmp_path, *lines)
    assert refusal(read_support_list, file, "carpet", NORMAL, 2) == f"{file}{words}"


def test_an_unreadable_list_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "support.txt"
    assert refusal(read_support_list, file, "carpet", NORMAL, 2) == f"no support list at {file}: check the path"
    file.write_bytes(b"\xff\xfe\x00")
    assert f"cannot read support list {file}: give a text file" in refusal(read_support_list, file, "x", NORMAL, 2)
