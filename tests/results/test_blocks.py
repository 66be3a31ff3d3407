"""Tables for the terminal: every number can be read, however narrow it is."""

import io

import pytest
from rich.console import Console

from promptad.results.blocks import BlockTable

NUMBERS = tuple(f"metric\n@{number}" for number in range(9))


def printed(table: BlockTable, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def table_of(name: str) -> BlockTable:
    table = BlockTable("Results", ("class", "side"), NUMBERS, caption="the end")
    for row in range(2):
        table.add_row(name, "base", *(f"{row}{column}.5±0.1" for column in range(9)))
        table.add_section()
    return table


@pytest.mark.parametrize("name", ["carpet", "mean over 164 images", "one_long_name_without_a_space"])
@pytest.mark.parametrize("width", [30, 40, 60, 79, 80, 120])
def test_all_numbers_are_readable_at_any_width(width: int, name: str) -> None:
    lines = printed(table_of(name), width)
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    for row in range(2):
        assert [words.count(f"{row}{column}.5±0.1") for column in range(9)] == [1] * 9
    assert [words.count(f"@{column}") for column in range(9)] == [1] * 9
    assert "…" not in words
    blocks = words.count("class")
    assert (words.count("Results"), words.count("end")) == (1, 1)
    assert sum(word.startswith(name.split(maxsplit=1)[0][:10]) for word in words) == 2 * blocks


def test_a_wide_terminal_shows_one_block_and_a_long_name_is_folded_before_columns_go_below() -> None:
    assert sum("class" in line for line in printed(table_of("carpet"), 100)) == 1
    name = "a name of several words"
    whole = printed(table_of(name), 120)
    longest = max(map(len, whole))
    assert any(name in line for line in whole)
    folded = printed(table_of(name), longest - len(name) + 10)
    assert sum("class" in line for line in folded) == 1
    assert not any(name in line for line in folded)
    assert sum("class" in line for line in printed(table_of(name), longest - len(name) + 9)) == 2
