"""Tables for the terminal that no terminal is too narrow for: columns that find no room go below, in blocks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

Cell = str | Text


@dataclass(frozen=True)
class Row:
    """A row of a table."""

    cells: tuple[Cell, ...]
    style: str


@dataclass
class BlockTable:
    """A table whose first columns name a row, and whose others are numbers, which are never cut.

    Where it is wider than the terminal, the names in the first column are folded, to `least` letters, and where that
    is not enough, the first columns are repeated before each block of the others.
    """

    title: str
    names: Sequence[str]  # heads of the first columns
    numbers: Sequence[str]  # heads of the others; lines of a head are told by "\n"
    gap: int = 1  # between columns
    least: int = 10  # letters of the first column; "toothbrush"
    caption: str = ""
    sections: list[list[Row]] = field(default_factory=lambda: [[]])

    def add_row(self, *cells: Cell, style: str = "") -> None:
        """Add a row: its names, then its numbers."""
        self.sections[-1].append(Row(cells, style))

    def add_section(self) -> None:
        """Leave a line between the rows before and those that come."""
        if self.sections[-1]:
            self.sections.append([])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the blocks that fit into the width."""
        blocks = list(self._blocks(options.max_width))
        for number, chosen in enumerate(blocks):
            if number:
                yield ""
            yield self._table(chosen, options.max_width, is_first=number == 0, is_last=number == len(blocks) - 1)

    def _blocks(self, width: int) -> Iterator[list[int]]:
        """Yield the numbers of the columns of each block, as many as fit beside the names."""
        first, block = len(self.names), list[int]()
        free = width - sum(self._width(place) + self.gap for place in range(first))
        free += max(self._width(0) - self.least, 0)
        for place in range(first, first + len(self.numbers)):
            if block and sum(self._width(own) + self.gap for own in (*block, place)) - self.gap > free:
                yield block
                block = []
            block.append(place)
        yield block

    def _width(self, place: int) -> int:
        head = (*self.names, *self.numbers)[place]
        texts = [head, *(str(row.cells[place]) for rows in self.sections for row in rows)]
        return max(cell_len(line) for text in texts for line in text.split("\n"))

    def _table(self, chosen: Sequence[int], width: int, *, is_first: bool, is_last: bool) -> Table:
        table = Table(
            title=self.title if is_first else None,
            caption=self.caption if is_last else "",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, self.gap - 1, 0, 0),
        )
        others = sum(self._width(place) + self.gap for place in (*range(1, len(self.names)), *chosen))
        least = self.least if self.least + others <= width else min(self._width(0), self.least)
        for place, name in enumerate(self.names):
            table.add_column(name, overflow="fold", min_width=least if place == 0 else None)
        for place in chosen:
            head = self.numbers[place - len(self.names)]
            table.add_column(head, justify="right", no_wrap=True, min_width=self._width(place))
        shown = [*range(len(self.names)), *chosen]
        for rows in self.sections:
            for row in rows:
                table.add_row(*(row.cells[place] for place in shown), style=row.style)
            table.add_section()
        return table
