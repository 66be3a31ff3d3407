"""Names of files: what some system refuses is seen on every one."""

from pathlib import Path

import pytest
from helpers import refusal

from promptad.results.paths import check_plain_name
from promptad.runtime.judge_parts import folder_of
from promptad.utils.file_names import as_file_name, is_file_name

PLAIN = (
    "carpet",
    "metal bracket",
    "part [b]",
    "漢字",
    "v1.2",
    "console",
    "com",
    "com10",
    "lpt",
    ".hidden",
    "it's 100 %",
)
REFUSED = (
    *("", " ", ".", "..", "a/b", "a\\b", "../x", "/etc", "C:", "metal:bracket", "a*", "why?", 'a"b', "a<b>", "a|b"),
    *(
        "a\0",
        "a\nb",
        "\x1b[31m",
        "a.",
        "a ",
        "a...",
        "CON",
        "con.part",
        "Nul",
        "aux .x",
        "COM1",
        "lpt9.png",
        "COM²",
        "CONIN$",
    ),
)


@pytest.mark.parametrize("name", PLAIN)
def test_a_name_that_every_system_takes_is_kept(name: str, tmp_path: Path) -> None:
    assert is_file_name(name)
    check_plain_name("name", name)
    (tmp_path / name).touch()


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_some_system_refuses_is_refused_with_the_reason(name: str) -> None:
    assert not is_file_name(name)
    words = refusal(check_plain_name, "class_name", name)
    assert words.startswith(f"`class_name` {name!r}: give a plain name")
    assert "such as CON" in words


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_some_system_refuses_is_made_safe(name: str) -> None:
    assert is_file_name(as_file_name(name))
    assert is_file_name(folder_of(name))


def test_a_made_name_still_tells_the_part() -> None:
    assert [folder_of(name) for name in ("metal bracket", "metal:bracket", "..", "a/b")] == [
        *("metal_bracket", "metal_bracket", "_", "a_b"),
    ]
