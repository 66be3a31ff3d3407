"""What reaches a terminal: flags instead of settings, and no control codes or broken letters of names."""

import io
import os
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from helpers import CSV, LIGHTEST, TINY, Own, read_lines

from promptad.cli.main import FlagConsole, main, printable
from promptad.results.table import read_results


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\rb\tc\nd", "a\\rb\\tc\nd"),
        ("a\x9b31mb\x7f", "a\\x9b31mb\\x7f"),
        ("a\udc80b", "a\\udc80b"),
        ("Dichtung 垫圈", "Dichtung 垫圈"),
    ],
)
def test_control_codes_and_broken_letters_become_escapes(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_a_console_prints_flags_and_no_control_codes() -> None:
    shown = io.StringIO()
    FlagConsole(file=shown, markup=False, highlight=False).print("`n_pro` 3: \x1b[2Jgone")
    assert shown.getvalue() == "--n_pro 3: \\x1b[2Jgone\n"


def assert_accepted(encoding: str, *arguments: str | Path) -> None:
    """Check that a command succeeds on a terminal of an encoding, and sends it no escape code."""
    output, errors = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    with redirect_stdout(output), redirect_stderr(errors):
        code = main([str(argument) for argument in arguments])
    for stream in (output, errors):
        stream.seek(0)
    assert (code, errors.read()) == (0, "")
    assert "\x1b" not in output.read()


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_odd_names_cost_no_line(own: Own, encoding: str, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    names = [b"plain.png", "垫圈.png".encode(), b"\xff\xfe.png", b"a\x1b[31m.png", b"two\nlines.png"]
    good = (own.new / "good.png").read_bytes()
    for name in names:
        Path(os.fsdecode(os.fsencode(new) + b"/" + name)).write_bytes(good)
    assert_accepted(encoding, "predict", own.part, new, "--output", tmp_path / "out", "--overlays")
    lines = read_lines(tmp_path / "out")
    assert {os.fsencode(Path(line["path"]).name) for line in lines} == set(names)
    assert not any("error" in line for line in lines)
    assert_accepted(encoding, "report", "--predictions", tmp_path / "out", "--output", tmp_path / "r.html")
    assert "\x1b" not in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_parts_of_any_name_are_trained_measured_and_reported(
    drawn: Path, bracket: Path, encoding: str, tmp_path: Path
) -> None:
    parts, result = tmp_path / "parts", tmp_path / "result"
    shutil.copytree(bracket, parts / "金属")
    shutil.copytree(drawn / "demo" / "carpet", parts / "über")
    for arguments in (
        ("train-all", "--dataset", "folder", "--data-root", parts, "--root-dir", result, *TINY, *LIGHTEST),
        ("report", "--dataset", "folder", "--root-dir", result, "--output", tmp_path / "page.html"),
    ):
        assert_accepted(encoding, *arguments)
    assert {row["class"] for row in read_results(result / "folder" / "k_2" / CSV)} == {"über"}
    assert len(list(result.rglob("*.pt"))) == 2
