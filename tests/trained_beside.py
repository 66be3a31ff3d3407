"""Helpers of tests that train in other processes: the same command, and all that it wrote but for seconds."""

from pathlib import Path

from helpers import CLASSES, LIGHTEST, Outcome, call, contents, without_seconds

from promptad.results.table import read_results


def train_all(drawn: Path, results: Path, *more: str) -> Outcome:
    data = ("--dataset", "demo", "--data-root", drawn, "--classes", ",".join(CLASSES), "--root-dir", results)
    return call("train-all", *data, "--seeds", "0,1", *LIGHTEST, *more)


def bytes_of(results: Path) -> dict[str, bytes]:
    """What a training wrote, but for its table, which holds seconds, and locks."""
    return {name: content for name, content in contents(results).items() if not name.endswith((".csv", ".lock"))}


def rows_of(results: Path) -> list[dict[str, str]]:
    tables = [read_results(file) for file in sorted(results.rglob("*.csv"))]
    return [without_seconds(row) for table in tables for row in sorted(table, key=lambda row: row["class"])]
