"""Files of results that someone has cut or edited: one line names the file, whatever is in it."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import CSV, Own, Trained, call

from promptad.errors import InputError
from promptad.reports.comparison.rows import read_rows
from promptad.reports.figures import prototype_figures
from promptad.reports.run_summary import read_diagnostics
from promptad.results.columns import METRIC_TITLES
from promptad.results.paths import ResultFolder
from promptad.results.scores import read_scores
from promptad.runtime.predictions import read_predictions

pytestmark = pytest.mark.slow

WRONG: tuple[Any, ...] = (None, "x", True, [], {}, [[]], -1, 10**400)
DIGITS, DEEP = "9" * 5000, "[" * 100_000
SPOILT_TEXTS = ("", "{", "null", "[]", "NaN", "1", '"x"', DIGITS, DEEP, '{"verdicts": NaN}', "\udcff")


def edited(content: Any) -> Iterator[Any]:
    """The content with each of its parts, however deep, taken out and replaced by each wrong value."""
    if isinstance(content, dict | list):
        keys = list(content) if isinstance(content, dict) else range(min(len(content), 2))
        for key in keys:
            for part in (*edited(content[key]), *WRONG, None):
                copy = content.copy()
                copy[key] = part
                yield copy
            copy = content.copy()
            del copy[key]
            yield copy


def assert_read_or_refused(read: Callable[[], object], file: Path, text: str) -> bool:
    """Whether the file was refused; any error but an InputError that names the file fails the test."""
    file.write_text(text, encoding="utf-8", errors="surrogateescape")
    try:
        read()
    except InputError as error:
        message = str(error)
    else:
        return False
    assert file.name in message
    assert "\n" not in message
    return True


def spoil(file: Path, read: Callable[[], object], content: Any, line: str = "{}") -> None:
    refused = [assert_read_or_refused(read, file, line.format(json.dumps(part))) for part in edited(content)]
    assert sum(refused) > len(refused) // 2
    for text in SPOILT_TEXTS:
        assert assert_read_or_refused(read, file, text), text[:20]
    whole = json.dumps(content)
    for length in range(0, len(whole), max(len(whole) // 50, 1)):
        assert assert_read_or_refused(read, file, whole[:length])


def test_edited_diagnostics_are_refused_or_drawn(copied: Trained) -> None:
    file = copied.folder / "diagnostics" / "carpet_k2_diagnostics.json"
    content = json.loads(file.read_text())
    drawn = 0

    def read() -> None:
        nonlocal drawn
        diagnostics = read_diagnostics(file, f"{file.name} is gone")
        if drawn < 5:  # each takes a while
            prototype_figures("carpet", diagnostics)
            drawn += 1

    needed = ("verdicts", "normal_prototype_frequencies", "abnormal_prototype_frequencies", "abnormal_to_mean_normal")
    spoil(file, read, {name: content[name] for name in needed})
    assert drawn == 5
    for name in ("findings", "false_alarm_range"):  # which older diagnostics lack
        for wrong in ("x", [1, "x"], {"a": 1}):
            assert assert_read_or_refused(read, file, json.dumps(content | {name: wrong}))


def test_edited_scores_are_refused(copied: Trained) -> None:
    file = copied.folder / "scores" / "CLS-Seed_111-carpet-scores.json"
    content = json.loads(file.read_text())
    spoil(file, lambda: read_scores(file, content["run"]), content)


def test_edited_predictions_are_refused(own: Own, tmp_path: Path) -> None:
    lines = own.lines(tmp_path / "predictions")
    file, run = tmp_path / "predictions" / "predictions.jsonl", tmp_path / "predictions" / "run.json"
    content = json.loads(run.read_text())
    spoil(run, lambda: read_predictions(run.parent), content)
    run.write_text(json.dumps(content))
    line = next(line for line in lines if line.get("regions"))

    def read() -> None:
        _, records = read_predictions(run.parent)
        assert all(record.reason for record in records)

    spoil(file, read, line)


@pytest.mark.parametrize("cell", ["", "x", "nan", "inf", "-1", "1e400", DIGITS, "1" + "0" * 300, "\udcff"])
def test_edited_rows_are_refused_or_read(copied: Trained, cell: str) -> None:
    file = copied.folder / CSV
    header, row = csv.reader(file.read_text().splitlines())
    folder = ResultFolder(copied.results, "demo", 2, 111)
    for number, column in enumerate(header):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, [*row[:number], cell, *row[number + 1 :]]])
        refused = assert_read_or_refused(lambda: read_rows(folder), file, text.getvalue())
        if cell == DIGITS:
            assert refused == (column in ("dataset", "k", "seed", "test_images", "seconds", "settings", *METRIC_TITLES))
    outcome = call("compare", "--dataset", "demo", "--root-dir", copied.results)
    assert outcome.code in (0, 2)
