"""Disturbed pictures on the page of a run: shown where they were measured, and only of the same training."""

import re
from pathlib import Path

import pytest
from helpers import Page
from test_run_page import page_of, save_run

from promptad.data.corruptions import corruptions_of
from promptad.reports.comparison.rows import BASELINE
from promptad.results.disturbances import cells_of, write_disturbances
from promptad.results.paths import ResultFolder
from promptad.utils.numbers import MINUS

FIGURES = r'<svg role="img" aria-label="carpet: [^"]* on disturbed pictures"'


def save_disturbed(root: Path, seed: int, run: str = "a run", auroc: float = 0.9, misses: float | None = 0.25) -> None:
    """Save rows whose image AUROC falls by a point with each strength, and whose false alarms rise by ten."""
    key = {"class": "carpet", "system": "multi-prototype", "level": "image", "memory": "no", "select": "last"}
    rows = [
        {**key, "dataset": "demo", "k": 2, "seed": seed, "run": run, "misses": misses, **cells_of(corruption)}
        | {"i_roc": auroc - 0.01 * strength, "false_alarms": None if misses is None else 0.1 * strength}
        for corruption in (None, *corruptions_of(("blur", "jpeg")))
        for strength in [cells_of(corruption)["strength"]]
    ]
    write_disturbances(ResultFolder(root, "demo", 2, seed).disturbances, rows)


def disturbed_part(page: Page) -> str:
    _, found, part = page.words.partition("Disturbed pictures, seed ")
    return found + part


def test_a_table_and_figures_are_shown_of_the_first_seed_that_was_measured(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        save_run(tmp_path, "carpet", seed)
        save_run(tmp_path, "grid", seed)
    save_disturbed(tmp_path, 1)
    save_disturbed(tmp_path, 2, auroc=0.8)
    page = page_of(tmp_path, tmp_path)
    part = disturbed_part(page)
    assert part.startswith("Disturbed pictures, seed 1 ")
    assert "none 90.0 - 0.0 25.0" in part
    assert f"blur 2 sigma 0.6% 88.0 ({MINUS}2.0) - 20.0 (+20.0) 25.0 (0.0)" in part
    assert len(re.findall(FIGURES, page.text)) == 3  # AUROC, false alarms and misses; no pixels were measured
    assert page.words.count("Disturbed pictures, seed") == 1  # none of grid


def test_a_page_without_them_says_nothing(tmp_path: Path) -> None:
    save_run(tmp_path, "carpet")
    page = page_of(tmp_path, tmp_path)
    assert disturbed_part(page) == ""
    assert re.findall(FIGURES, page.text) == []


def test_a_system_is_not_given_those_of_another(tmp_path: Path) -> None:
    save_run(tmp_path, "carpet", system=BASELINE)
    save_disturbed(tmp_path, 0)
    assert disturbed_part(page_of(tmp_path, tmp_path, "--ours", BASELINE, "--baseline", "multi-prototype")) == ""


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (Path.exists, "Seed_0-disturbances.csv is of another training: measure again"),
        (lambda file: file.write_text("damaged"), "does not start with the columns"),
    ],
)
def test_what_cannot_be_shown_is_told(tmp_path: Path, spoil: object, words: str) -> None:
    save_run(tmp_path, "carpet")
    save_disturbed(tmp_path, 0, run="another run")
    assert callable(spoil)
    spoil(ResultFolder(tmp_path, "demo", 2, 0).disturbances)
    page = page_of(tmp_path, tmp_path)
    assert words in page.words
    assert disturbed_part(page) == ""
