"""A comparison for readers: tables for the terminal, a CSV file and a Markdown file."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from promptad.reports.comparison.differences import Block, Comparison, Line, Pair, Spread
from promptad.reports.comparison.rows import MARK
from promptad.reports.comparison.significance import CONFIDENCE, LEAST_CLASSES, LEVEL, Verdict
from promptad.results.blocks import BlockTable
from promptad.results.columns import Metric
from promptad.results.terminal import metrics_table
from promptad.settings import TEST_ORACLE
from promptad.utils.files import whole_file
from promptad.utils.numbers import signed

SIDES = ("baseline", "ours", "difference")
SHORT_SIDES = {"baseline": "base", "ours": "ours", "difference": "diff"}
WARNING = "TEST LABELS CHOSE THE EPOCH"  # beside numbers that do not hold for other images
CSV_COLUMNS = (
    *("dataset", "k", "class", "metric"),
    *(f"{side}{part}" for side in SIDES for part in ("", "_deviation")),
    *("interval_low", "interval_high", "wilcoxon_p", "verdict", "another_version"),
    *("seeds", "test_images", "baseline_system", "ours_system", "level", "select", "backbone", "weights"),
)
VERDICT_HEADS = ("metric", *SIDES, f"{100 * CONFIDENCE:.0f} % interval", "p", "verdict on ours")


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
        "pixels": comparison.measured_on or "not told by older versions",
        "measured by": ", ".join(comparison.packages),
    }


def explanation(comparison: Comparison) -> str:
    """What the numbers and verdicts of the tables are."""
    several = any(len(block.classes) > 1 for block in comparison.blocks)
    sentences = [
        "Mean ± sample standard deviation over seeds; the difference is ours less baseline, seed by seed."
        if len(comparison.seeds) > 1
        else "One seed alone: there is no spread, and a difference of one class may be chance."
    ]
    if several:
        sentences.append(
            f"Of a mean, the {100 * CONFIDENCE:.0f} % interval is a bootstrap over classes and draws, p of Wilcoxon's"
            f" signed-rank test over classes: ours is better or worse where the interval leaves out 0 and p is below"
            f" {LEVEL}; of fewer than {LEAST_CLASSES} classes no such test can tell anything."
        )
    if len(comparison.seeds) > 1:
        sentences.append(
            "Of a class, it is Student's interval over draws, and a difference bold where it leaves out 0; of twenty"
            " classes alike, one is bold by chance."
        )
    return " ".join(sentences)


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print tables of classes and of verdicts for each k, the protocol and what is left out."""
    title = comparison_title(comparison)
    for block in comparison.blocks:
        for measured, metrics in measured_metrics(comparison):
            columns = [metric.column for metric in metrics]
            table = metrics_table(f"{title}, k = {block.k}, {measured} in %", ("class", ""), columns)
            for line in block.lines:
                _add_line(table, line, metrics, "bold" if line in (block.mean, block.image_mean) else "")
            console.print(table, "")
    for block in comparison.blocks:
        console.print(_verdict_table(f"{title}, k = {block.k}, {block.mean.name} in %", comparison, block), "")
    console.print(explanation(comparison))
    for name, text in (*protocol(comparison).items(), *(("note", note) for note in comparison.notes)):
        console.print(f"{name}: {text}", soft_wrap=True)


def write_csv(comparison: Comparison, file: Path) -> None:
    """Write a row for each k, class or mean, and metric."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for block in comparison.blocks:
        names = [*(line.name for line in block.classes), "mean over classes", "mean over images"]
        for name, line in zip(names, block.lines, strict=True):
            shared = {"k": block.k, "class": name, "test_images": line.test_images, "another_version": line.marked}
            writer.writerows(
                _csv_row(comparison, line.pairs[metric.column], metric) | shared
                for metric in comparison.metrics
                if metric.column in line.pairs
            )
    write_text(file, text.getvalue())


def write_markdown(comparison: Comparison, figure: str, file: Path) -> None:
    """Write the protocol, the means, the drawing in the file `figure` beside it, and a table for each k."""
    lines = [f"# {escaped(comparison_title(comparison))}", ""]
    lines += [f"- **{name}:** {escaped(text)}" for name, text in protocol(comparison).items()]
    lines += ["", f"All numbers are in %. {explanation(comparison)}", ""]
    for block in comparison.blocks:
        lines += [f"## k = {block.k}: {block.mean.name}", "", *_markdown_verdicts(comparison, block), ""]
    lines += [f"![differences by class]({figure})", ""]
    for block in comparison.blocks:
        for measured, metrics in measured_metrics(comparison):
            lines += [f"## k = {block.k}: classes, {measured}", "", *_markdown_header(metrics)]
            lines += [row for line in block.lines for row in _markdown_lines(line, metrics)]
            lines.append("")
    if comparison.notes:
        lines += ["## What is left out", "", *(f"- {escaped(note)}" for note in comparison.notes), ""]
    write_text(file, "\n".join(lines))


def cell(pair: Pair | None, side: str, between: str = " ") -> str:
    """The text of one number: "88.5 ± 0.4", "+1.2 ± 0.3" for a difference, "-" for none."""
    if pair is None:
        return "-"
    spread: Spread = getattr(pair, side)
    number = signed(spread.mean) if side == "difference" else f"{spread.mean + 0.0:.1f}"
    return number if spread.deviation is None else f"{number}{between}±{between}{spread.deviation:.1f}"


def line_name(line: Line) -> str:
    """The name of a line, with a mark where a result of another version is in it."""
    return f"{line.name} {MARK}" if line.marked else line.name


def measured_metrics(comparison: Comparison) -> list[tuple[str, tuple[Metric, ...]]]:
    """The metrics of images and those of pixels, without a kind that was not measured."""
    kinds = (("images", False), ("pixels", True))
    found = [(kind, tuple(m for m in comparison.metrics if m.of_pixels == of_pixels)) for kind, of_pixels in kinds]
    return [(kind, metrics) for kind, metrics in found if metrics]


def verdict_cells(pair: Pair) -> tuple[str, ...]:
    """The cells of a line of verdicts, behind its metric: both systems, difference, interval, p and verdict."""
    interval = "-" if pair.interval is None else " to ".join(map(signed, pair.interval))
    p_value = "-" if pair.p_value is None else f"{pair.p_value:.4f}"
    return *(cell(pair, side) for side in SIDES), interval, p_value, str(pair.verdict)


def _system(name: str, settings: str) -> str:
    return f"{name} ({settings})" if settings else name


def _images_in_words(blocks: Sequence[Block]) -> str:
    counts = [
        f"{block.mean.test_images} of {len(block.classes)} class{'es' * (len(block.classes) > 1)}" for block in blocks
    ]
    if len(set(counts)) == 1:
        return counts[0]
    return "; ".join(f"{count} at k = {block.k}" for count, block in zip(counts, blocks, strict=True))


def _add_line(table: BlockTable, line: Line, metrics: Sequence[Metric], style: str) -> None:
    """Add three rows; a difference with a verdict is bold."""
    table.add_section()
    for side in SIDES:
        pairs = [line.pairs.get(metric.column) for metric in metrics]
        cells = [Text(cell(pair, side, between=""), "bold" if is_clear(pair, side) else "") for pair in pairs]
        table.add_row(Text(line_name(line) if side == SIDES[0] else "", style), SHORT_SIDES[side], *cells)


def is_clear(pair: Pair | None, side: str) -> bool:
    """Whether a number is a difference that makes one system better."""
    return pair is not None and side == "difference" and pair.verdict != Verdict.NOT_TOLD_APART


def _verdict_table(title: str, comparison: Comparison, block: Block) -> BlockTable:
    table = BlockTable(title, VERDICT_HEADS[:1], VERDICT_HEADS[1:])
    for metric in comparison.metrics:
        if pair := block.mean.pairs.get(metric.column):
            style = "" if pair.verdict == Verdict.NOT_TOLD_APART else "bold"
            *numbers, verdict = (text.replace(" ± ", "±") for text in verdict_cells(pair))
            table.add_row(metric.title, *numbers, Text(verdict, style))
    return table


def _csv_row(comparison: Comparison, pair: Pair, metric: Metric) -> dict[str, object]:
    numbers: dict[str, object] = {}
    for side in SIDES:
        spread: Spread = getattr(pair, side)
        numbers[side] = f"{spread.mean + 0.0:.2f}"
        numbers[f"{side}_deviation"] = "" if spread.deviation is None else f"{spread.deviation:.2f}"
    low, high = ("", "") if pair.interval is None else (f"{end:.2f}" for end in pair.interval)
    return numbers | {
        "dataset": comparison.choice.dataset,
        "metric": metric.column,
        "interval_low": low,
        "interval_high": high,
        "wilcoxon_p": "" if pair.p_value is None else f"{pair.p_value:.4f}",
        "verdict": pair.verdict,
        "seeds": " ".join(map(str, pair.seeds)),
        "baseline_system": comparison.choice.baseline,
        "ours_system": comparison.choice.ours,
        "level": comparison.pixel_level if metric.of_pixels else "image",
        "select": comparison.select,
        "backbone": comparison.backbone,
        "weights": comparison.weights,
    }


def _markdown_verdicts(comparison: Comparison, block: Block) -> list[str]:
    """The verdicts on the mean over classes, and beside them the difference of the mean over images."""
    heads = (*VERDICT_HEADS, f"difference of the {block.image_mean.name}")
    rows = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 3)}---|---:|"]
    for metric in comparison.metrics:
        if pair := block.mean.pairs.get(metric.column):
            by_images = block.image_mean.pairs.get(metric.column)
            *numbers, verdict = verdict_cells(pair)
            mark = "" if pair.verdict == Verdict.NOT_TOLD_APART else "**"
            cells = (metric.title, *numbers, f"{mark}{verdict}{mark}", cell(by_images, "difference"))
            rows.append(f"| {' | '.join(cells)} |")
    return rows


def _markdown_header(metrics: Sequence[Metric]) -> list[str]:
    titles = [metric.title for metric in metrics]
    return [f"| class | | {' | '.join(titles)} |", f"|---|---|{'---:|' * len(titles)}"]


def _markdown_lines(line: Line, metrics: Sequence[Metric]) -> list[str]:
    rows = []
    pairs = [line.pairs.get(metric.column) for metric in metrics]
    for side in SIDES:
        marks = ["**" if is_clear(pair, side) else "" for pair in pairs]
        cells = [f"{mark}{cell(pair, side)}{mark}" for mark, pair in zip(marks, pairs, strict=True)]
        first = f"**{escaped(line_name(line))}**" if side == SIDES[0] else ""
        rows.append(f"| {first} | {side} | {' | '.join(cells)} |")
    return rows


def table_row(cells: Sequence[str]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"[\\`*\[\]<>|#]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", " ".join(text.split()))


def write_text(file: Path, text: str) -> None:
    """Write a text whole or not at all, with the same line breaks on every system."""
    with whole_file(file, "output") as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
