"""A sweep for readers: tables for the terminal, CSV, Markdown and JSON; all settings, in the order of the grid."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from promptad.reports.comparison.differences import Pair
from promptad.reports.comparison.significance import CONFIDENCE, LEAST_CLASSES, LEVEL, Verdict
from promptad.reports.comparison.tables import cell, escaped, table_row, verdict_cells, write_text
from promptad.reports.sweep import trials
from promptad.reports.sweep.lines import Effect, SweepLine, SweepTable
from promptad.results.blocks import BlockTable
from promptad.results.columns import Metric

HEADLINES = ("i_roc", "p_pro")  # metrics of the table on the terminal, and of the figure
ALL_CLASSES = "mean over classes"
FIRST = "the first"
HEADS = ("difference", f"{100 * CONFIDENCE:.0f} % interval", "p", "verdict")  # behind the number itself
NUMBERS = (
    *("mean", "deviation", "difference", "difference_deviation"),
    *("interval_low", "interval_high", "wilcoxon_p", "verdict"),
)
CHOOSING = (
    "Who takes the best line of this table lets test labels choose: what it promises holds for other pictures only if"
    " it is measured on some that had no say."
)


def sweep_title(table: SweepTable) -> str:
    """What was swept over."""
    names = ", ".join(table.lines[0].values)
    if table.search:
        return f"{trials.warning(table.search)}{names} on {table.dataset}: {trials.outcome(table.search)}"
    return f"{names} on {table.dataset}: {len(table.lines)} settings"


def effect_title(effect: Effect) -> str:
    """Which settings each line of an effect is of."""
    return f"{effect.name}, mean over {effect.lines[0].settings} settings each"


def sweep_explanation(table: SweepTable) -> str:
    """What the numbers and verdicts are."""
    spread = (
        f"Mean ± sample standard deviation over {len(table.seeds)} seeds."
        if len(table.seeds) > 1
        else "One seed alone: there is no spread, and a difference may be chance."
    )
    pairs = "Differences are to the first line of a table, class by class and seed by seed."
    last = trials.choice(table.search) if table.search else CHOOSING
    told = f"Better or worse: the {100 * CONFIDENCE:.0f} % interval of the difference leaves out 0"
    told += (
        " (Student's, over seeds)."
        if len(table.classes) == 1
        else f" (bootstrap over classes and seeds), and p of Wilcoxon's signed-rank test over classes is below {LEVEL};"
        f" of fewer than {LEAST_CLASSES} classes no such test can tell anything."
    )
    if not table.search:
        count = len(table.lines) - 1
        looked = "1 difference is" if count == 1 else f"{count} differences are"
        told += f" {looked} looked at, and of twenty of no effect one is told apart by chance."
    return " ".join((spread, pairs, told, last) if len(table.lines) > 1 else (spread, last))


def headlines(table: SweepTable) -> list[Metric]:
    """The metrics that are shown first, as far as they were measured."""
    return [metric for metric in table.metrics if metric.column in HEADLINES]


def print_sweep(table: SweepTable, console: Console) -> None:
    """Print the trials of a search, a table of all settings, one of each setting that varies, and what they mean."""
    if table.search:
        console.print(trials.terminal_table(table.search), "")
    for metric in headlines(table):
        console.print(_terminal_table(sweep_title(table), table.lines, metric), "")
        for effect in table.effects:
            console.print(_terminal_table(effect_title(effect), effect.lines, metric), "")
    console.print(sweep_explanation(table))
    for note in table.notes:
        console.print(f"note: {note}", soft_wrap=True)


def write_csv(table: SweepTable, file: Path) -> None:
    """Write a row for each setting, class or mean, and metric."""
    text, names = io.StringIO(), list(table.lines[0].values)
    writer = csv.writer(text, lineterminator="\n")
    choice = [table.search.objective.choice] if table.search else []
    writer.writerow([*names, "class", "metric", *NUMBERS, "seeds", "folder", *["choice"][: len(choice)]])
    for line in table.lines:
        for class_name, metric, pair in _pairs(line):
            numbers = _numbers(pair, is_first=line is table.lines[0])
            cells = ["" if value is None else value for value in numbers.values()]
            seeds = " ".join(map(str, pair.seeds))
            writer.writerow([*line.values.values(), class_name, metric, *cells, seeds, line.folder, *choice])
    write_text(file, text.getvalue())


def write_json(table: SweepTable, file: Path) -> None:
    """Write what `as_json` returns."""
    write_text(file, as_json(table))


def as_json(table: SweepTable) -> str:
    """Return all numbers as a JSON text."""
    plain = {
        "dataset": table.dataset,
        "classes": table.classes,
        "seeds": table.seeds,
        "compared_with": table.lines[0].values,
        "settings": [own | {"folder": line.folder} for own, line in zip(_plain(table.lines), table.lines, strict=True)],
        "effects": {effect.name: _plain(effect.lines) for effect in table.effects},
        "explanation": sweep_explanation(table),
        "notes": table.notes,
    }
    if table.search:
        plain["search"] = trials.as_plain(table.search)
    return json.dumps(plain, indent=2) + "\n"


def write_markdown(table: SweepTable, figure: str, file: Path) -> None:
    """Write the figure, which is in a file beside it, all settings with verdicts and with all metrics, and effects."""
    lines = [f"# Sweep over {escaped(sweep_title(table))}", ""]
    lines += [f"- **classes:** {escaped(', '.join(table.classes))}", f"- **seeds:** {', '.join(map(str, table.seeds))}"]
    lines += [
        "",
        f"All numbers are in %. {escaped(sweep_explanation(table))}",
        "",
        f"![what each setting does]({figure})",
        "",
    ]
    for metric in headlines(table):
        lines += [f"## {metric.title} of all settings", "", *_verdicts(table.lines, metric), ""]
        for effect in table.effects:
            lines += [f"## {metric.title}: {escaped(effect_title(effect))}", "", *_verdicts(effect.lines, metric), ""]
    if table.search:
        lines += trials.markdown(table.search)
    lines += ["## All metrics", "", *_all_metrics(table), ""]
    if table.notes:
        lines += ["## Notes", "", *(f"- {escaped(note)}" for note in table.notes), ""]
    write_text(file, "\n".join(lines))


def _terminal_table(title: str, lines: Sequence[SweepLine], metric: Metric) -> BlockTable:
    table = BlockTable(f"{title}: {metric.title} in %", [*lines[0].values], (metric.title, *HEADS), least=5)
    for line in lines:
        cells, style = _cells(line, metric, is_first=line is lines[0])
        number, *others = (text.replace(" ± ", "±") for text in cells)
        table.add_row(*line.values.values(), number, *(Text(text, style) for text in others))
    return table


def _cells(line: SweepLine, metric: Metric, *, is_first: bool) -> tuple[tuple[str, ...], str]:
    """Return number, difference, interval, p and verdict of a line, and the style of all but the first."""
    pair = line.mean.get(metric.column)
    if pair is None:
        return ("-", "-", "-", "-", "not measured"), ""
    _, number, *told = verdict_cells(pair)
    if is_first:
        return (number, "-", "-", "-", FIRST), ""
    return (number, *told), "" if pair.verdict == Verdict.NOT_TOLD_APART else "bold"


def _pairs(line: SweepLine) -> Iterator[tuple[str, str, Pair]]:
    for name, pairs in (*line.classes.items(), (ALL_CLASSES, line.mean)):
        for metric, pair in pairs.items():
            yield name, metric, pair


def _numbers(pair: Pair, *, is_first: bool) -> dict[str, Any]:
    """Return the numbers of a pair under their names, in percent, and its verdict."""
    low, high = pair.interval or (None, None)
    spreads = pair.ours.mean, pair.ours.deviation, pair.difference.mean, pair.difference.deviation, low, high
    rounded = [None if value is None else round(value, 2) + 0.0 for value in spreads]
    p_value = None if pair.p_value is None else round(pair.p_value, 4)
    return dict(zip(NUMBERS, (*rounded, p_value, FIRST if is_first else str(pair.verdict)), strict=True))


def _plain(lines: Sequence[SweepLine]) -> list[dict[str, Any]]:
    """Return lines as plain data."""
    plain: list[dict[str, Any]] = []
    for line in lines:
        own: dict[str, Any] = {"values": line.values, "settings": line.settings, "mean": {}, "classes": {}}
        for name, metric, pair in _pairs(line):
            place = own["mean"] if name == ALL_CLASSES else own["classes"].setdefault(name, {})
            place[metric] = _numbers(pair, is_first=line is lines[0]) | {"seeds": pair.seeds}
        plain.append(own)
    return plain


def _verdicts(lines: Sequence[SweepLine], metric: Metric) -> list[str]:
    heads = [*lines[0].values, metric.title, *HEADS]
    rows = [table_row(heads), table_row(["---"] * len(lines[0].values) + ["---:"] * 4 + ["---"])]
    for line in lines:
        cells, style = _cells(line, metric, is_first=line is lines[0])
        mark = "**" if style else ""
        rows.append(
            table_row([*map(escaped, line.values.values()), cells[0], *(f"{mark}{text}{mark}" for text in cells[1:])])
        )
    return rows


def _all_metrics(table: SweepTable) -> list[str]:
    names = list(table.lines[0].values)
    heads = [*names, *(metric.title for metric in table.metrics)]
    rows = [table_row(heads), table_row(["---"] * len(names) + ["---:"] * len(table.metrics))]
    for line in table.lines:
        cells = (cell(line.mean.get(metric.column), "ours") for metric in table.metrics)
        rows.append(table_row([*map(escaped, line.values.values()), *cells]))
    return rows
