"""A comparison for readers: tables for the terminal, a CSV file and a Markdown file."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from promptad.reports.comparison.differences import IMAGE_METRICS, Block, Comparison, Line, Pair, Spread
from promptad.results.table import METRIC_TITLES
from promptad.settings import TEST_ORACLE
from promptad.utils.files import whole_file

SIDES = ("baseline", "ours", "difference")
WARNING = "TEST LABELS CHOSE THE EPOCH"  # beside numbers that do not hold for other images
MINUS = "\N{MINUS SIGN}"
CSV_COLUMNS = (
    *("dataset", "k", "class", "metric"),
    *(f"{side}{part}" for side in SIDES for part in ("", "_deviation")),
    *("seeds", "test_images", "baseline_system", "ours_system", "level", "select", "backbone", "weights"),
)


def comparison_title(comparison: Comparison) -> str:
    """The compared systems and their data set, with a prominent warning if test labels chose the epoch."""
    choice = comparison.choice
    warning = f"{WARNING}: " if comparison.test_labels_chose else ""
    return f"{warning}{choice.ours} against {choice.baseline} on {choice.dataset}"


def protocol(comparison: Comparison) -> dict[str, str]:
    """The protocol that both columns were measured with, by name."""
    choice = comparison.choice
    kept = {
        "last": "last",
        "train-loss": "train-loss, which no test label enters",
        TEST_ORACLE: f"{TEST_ORACLE}: test labels chose it, so the numbers promise nothing for other pictures",
    }
    trained = (
        "images, pixel metrics too" if comparison.pixel_level == "image" else "images; for pixels in pixel metrics"
    )
    return {
        "baseline": _system(choice.baseline, comparison.baseline_settings),
        "ours": _system(choice.ours, comparison.ours_settings),
        "k": ", ".join(str(block.k) for block in comparison.blocks),
        "seeds": ", ".join(map(str, comparison.seeds)),
        "epoch kept": kept.get(comparison.select, comparison.select),
        "trained for": trained,
        "backbone": f"{comparison.backbone}, weights {comparison.weights}",
        "test pictures": _images_in_words(comparison.blocks),
    }


def explanation(comparison: Comparison) -> str:
    """What the numbers of a table are."""
    if len(comparison.seeds) == 1:
        return "One seed alone: there is no spread, and the difference, ours less baseline, may be chance."
    return (
        "Mean ± sample standard deviation over seeds; the difference is ours less baseline, seed by seed, and bold "
        "where it is larger than its deviation."
    )


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print a table for each k, one of all means if there are several k, the protocol and what is left out."""
    title = comparison_title(comparison)
    for block in comparison.blocks:
        table = _terminal_table(f"{title}, k = {block.k}, in %", "class")
        for line in (*block.classes, block.mean):
            _add_line(table, line.name, line, "bold" if line is block.mean else "")
        console.print(table)
        console.print()
    if len(comparison.blocks) > 1:
        table = _terminal_table(f"{title}, means in %", "k")
        for block in comparison.blocks:
            _add_line(table, str(block.k), block.mean)
        console.print(table)
        console.print()
    console.print(explanation(comparison))
    for name, text in (*protocol(comparison).items(), *(("note", note) for note in comparison.notes)):
        console.print(f"{name}: {text}", soft_wrap=True)


def write_csv(comparison: Comparison, file: Path) -> None:
    """Write a row for each k, class (or mean) and metric."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for block in comparison.blocks:
        for line in (*block.classes, block.mean):
            name = "mean" if line is block.mean else line.name
            writer.writerows(
                _csv_row(comparison, pair, metric) | {"k": block.k, "class": name, "test_images": line.test_images}
                for metric, pair in line.pairs.items()
            )
    _write_text(file, text.getvalue())


def write_markdown(comparison: Comparison, figure: str, file: Path) -> None:
    """Write the protocol, the means, the drawing in the file `figure` beside it, and a table for each k."""
    lines = [f"# {_escaped(comparison_title(comparison))}", ""]
    lines += [f"- **{name}:** {_escaped(text)}" for name, text in protocol(comparison).items()]
    lines += ["", f"All numbers are in %. {explanation(comparison)}", ""]
    lines += ["## Means over classes", "", *_markdown_header("k")]
    for block in comparison.blocks:
        lines += _markdown_lines(str(block.k), block.mean)
    lines += ["", f"![differences by class]({figure})", ""]
    for block in comparison.blocks:
        lines += [f"## k = {block.k}", "", *_markdown_header("class")]
        for line in (*block.classes, block.mean):
            lines += _markdown_lines(line.name, line)
        lines.append("")
    if comparison.notes:
        lines += ["## What is left out", "", *(f"- {_escaped(note)}" for note in comparison.notes), ""]
    _write_text(file, "\n".join(lines))


def cell(pair: Pair | None, side: str, between: str = " ") -> str:
    """The text of one number: "88.5 ± 0.4", "+1.2 ± 0.3" for a difference, "-" for none."""
    if pair is None:
        return "-"
    spread: Spread = getattr(pair, side)
    rounded = round(spread.mean, 1) + 0.0  # no "-0.0"
    number = f"{rounded:.1f}" if side != "difference" or rounded == 0 else f"{rounded:+.1f}".replace("-", MINUS)
    return number if spread.deviation is None else f"{number}{between}±{between}{spread.deviation:.1f}"


def _system(name: str, settings: str) -> str:
    return f"{name} ({settings})" if settings else name


def _images_in_words(blocks: Sequence[Block]) -> str:
    counts = [
        f"{block.mean.test_images} of {len(block.classes)} class{'es' * (len(block.classes) > 1)}" for block in blocks
    ]
    if len(set(counts)) == 1:
        return counts[0]
    return "; ".join(f"{count} at k = {block.k}" for count, block in zip(counts, blocks, strict=True))


def _terminal_table(title: str, first: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(first, overflow="fold", min_width=10)
    table.add_column("", no_wrap=True)
    for metric_title in METRIC_TITLES.values():
        table.add_column(metric_title, justify="right", no_wrap=True)
    return table


def _add_line(table: Table, name: str, line: Line, style: str = "") -> None:
    """Add three rows; a difference that is larger than its standard deviation is bold."""
    table.add_section()
    for side in SIDES:
        pairs = [line.pairs.get(metric) for metric in METRIC_TITLES]
        cells = [Text(cell(pair, side, between=""), "bold" if _is_clear(pair, side) else "") for pair in pairs]
        table.add_row(Text(name if side == SIDES[0] else "", style), side.replace("erence", ""), *cells)


def _is_clear(pair: Pair | None, side: str) -> bool:
    return pair is not None and side == "difference" and pair.direction != 0


def _csv_row(comparison: Comparison, pair: Pair, metric: str) -> dict[str, object]:
    numbers: dict[str, object] = {}
    for side in SIDES:
        spread: Spread = getattr(pair, side)
        numbers[side] = f"{spread.mean + 0.0:.2f}"
        numbers[f"{side}_deviation"] = "" if spread.deviation is None else f"{spread.deviation:.2f}"
    return numbers | {
        "dataset": comparison.choice.dataset,
        "metric": metric,
        "seeds": " ".join(map(str, pair.seeds)),
        "baseline_system": comparison.choice.baseline,
        "ours_system": comparison.choice.ours,
        "level": "image" if metric in IMAGE_METRICS else comparison.pixel_level,
        "select": comparison.select,
        "backbone": comparison.backbone,
        "weights": comparison.weights,
    }


def _markdown_header(first: str) -> list[str]:
    return [f"| {first} | | {' | '.join(METRIC_TITLES.values())} |", f"|---|---|{'---:|' * len(METRIC_TITLES)}"]


def _markdown_lines(name: str, line: Line) -> list[str]:
    rows = []
    pairs = [line.pairs.get(metric) for metric in METRIC_TITLES]
    for side in SIDES:
        marks = ["**" if _is_clear(pair, side) else "" for pair in pairs]
        cells = [f"{mark}{cell(pair, side)}{mark}" for mark, pair in zip(marks, pairs, strict=True)]
        first = f"**{_escaped(name)}**" if side == SIDES[0] else ""
        rows.append(f"| {first} | {side} | {' | '.join(cells)} |")
    return rows


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"[\\`*\[\]<>|#]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", " ".join(text.split()))


def _write_text(file: Path, text: str) -> None:
    with whole_file(file, "output") as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
