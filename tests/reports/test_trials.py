"""The trials of a search for readers: who chose is said everywhere, and figures are drawn."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import refusal
from PIL import Image

from promptad.reports.sweep.files import write_files, write_trials
from promptad.reports.sweep.lines import SweepTable, make_table
from promptad.reports.sweep.tables import as_json, sweep_explanation, sweep_title
from promptad.reports.sweep.trials import trials_explanation, trials_title
from promptad.results.columns import METRIC_TITLES
from promptad.results.search import CHOSEN_BY_REPORTED, Objective, Range, Search, Trial
from promptad.results.sweep import MeasuredSetting
from promptad.utils.json_text import parse_json

NUMBERS = (90.0, 92.5, None, 92.5, 88.0)


def search(*, is_of_reported: bool = False, column: str = "i_roc") -> Search:
    trials = tuple(
        Trial(
            number,
            {"lr": str(0.001 * number), "start": ("words", "random")[number % 2]},
            f"trials/lr_{number}",
            objective,
            2.5,
            "" if objective else "`sigma` 300: too large",
        )
        for number, objective in enumerate(NUMBERS, 1)
    )
    scales: dict[str, tuple[str, ...] | Range] = {"lr": Range(0.001, 0.01, log=True), "start": ("words", "random")}
    words = {"lr": "0.001:0.01:log", "start": "words, random"}
    return Search(Objective(column, ("grid", "screw"), (0, 1), is_of_reported), words, scales, 0, trials)


def table_of(found: Search) -> SweepTable:
    """The first setting and the chosen one, on two classes."""
    settings = []
    for trial in [found.first, *[found.chosen] * (found.chosen is not found.first)]:
        rows = [
            {"class": name, "seed": str(seed), "data": name}
            | dict.fromkeys(METRIC_TITLES, f"{70 + trial.number + seed + len(name)}.00")
            for name in ("a", "bc")
            for seed in (0, 1)
        ]
        settings.append(MeasuredSetting(trial.values, f"lr_{trial.number}", tuple(rows)))
    return make_table(settings, "demo", found)


def test_the_best_trial_is_chosen_and_of_several_the_first() -> None:
    assert search().chosen.number == 2
    assert search(column="alarms_1").chosen.number == 5  # where less is better
    none = replace(search(), trials=(search().trials[2],))
    assert "none of 1 trials could be trained" in refusal(lambda: none.chosen)


def test_a_chosen_setting_is_no_effect_of_one_that_varies() -> None:
    table = table_of(search())
    assert table.effects == ()
    assert [line.values["lr"] for line in table.lines] == ["0.001", "0.002"]


def test_who_chose_is_said(tmp_path: Path) -> None:
    table = table_of(search())
    assert "chosen by mean I-AUROC of grid, screw (seeds 0, 1), which are not reported" in sweep_explanation(table)
    assert "lets test labels choose" not in sweep_explanation(table)
    write_files(table, tmp_path)
    write_trials(search(), tmp_path)
    for file in tmp_path.iterdir():
        assert file.suffix == ".png" or CHOSEN_BY_REPORTED not in file.read_text()


def test_where_reported_labels_chose_every_output_says_so(tmp_path: Path) -> None:
    found = search(is_of_reported=True)
    table = table_of(found)
    for said in (sweep_title(table), sweep_explanation(table), trials_title(found), trials_explanation(found)):
        assert CHOSEN_BY_REPORTED in said  # of tables and figures
    assert parse_json(as_json(table))["search"]["choice"] == CHOSEN_BY_REPORTED
    write_files(table, tmp_path)
    write_trials(found, tmp_path)
    for name in ("sweep.csv", "trials.csv"):
        rows = list(csv.DictReader((tmp_path / name).read_text().splitlines()))
        assert {row["choice"] for row in rows} == {CHOSEN_BY_REPORTED}
    assert (tmp_path / "sweep.md").read_text().splitlines()[0].startswith(f"# Sweep over {CHOSEN_BY_REPORTED}")
    orange = {(213, 94, 0)}  # of a title that warns
    for name in ("sweep.png", "trials.png"):
        with Image.open(tmp_path / name) as image:
            assert orange <= {colour for _, colour in image.convert("RGB").crop((0, 0, 600, 50)).getcolors(1 << 20)}  # type: ignore[union-attr]


def test_files_hold_every_trial(tmp_path: Path) -> None:
    write_trials(search(), tmp_path)
    write_files(table_of(search()), tmp_path)
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert [row["i_roc"] for row in rows] == ["90.0000", "92.5000", "", "92.5000", "88.0000"]
    assert [row["verdict"] for row in rows] == ["the first", "chosen", "not trained", "", ""]
    words = (tmp_path / "sweep.md").read_text()
    assert "| 2 | 0.002 | words | 92.50 | 2.5 | **chosen** |" in words
    assert "- trial 3: \\`sigma\\` 300: too large" in words
    plain = parse_json((tmp_path / "sweep.json").read_text())["search"]
    assert (plain["chosen"], plain["tuned_on"], len(plain["trials"])) == (2, ["grid", "screw"], 5)


def test_a_search_that_found_nothing_better_says_so(tmp_path: Path) -> None:
    found = replace(search(), trials=(replace(search().trials[0], objective=95.0), *search().trials[1:]))
    table = table_of(found)
    assert "none of 5 trials was above the first setting" in sweep_title(table)
    write_files(table, tmp_path)
    write_trials(found, tmp_path)
    assert "| 1 | 0.001 | random | 95.00 | 2.5 | **chosen, the first** |" in (tmp_path / "sweep.md").read_text()


@pytest.mark.parametrize("names", [("lr",), ("lr", "start"), ("lr", "start", "n_pro", "turn")])
def test_figures_are_drawn(names: tuple[str, ...], tmp_path: Path) -> None:
    scales = dict(search().scales) | {"n_pro": Range(2, 5), "turn": Range(0.0, 30.0)}
    trials = [
        replace(trial, values=dict(trial.values) | {"n_pro": "3", "turn": f"{trial.number}.0"})
        for trial in search().trials
    ]
    write_trials(replace(search(), trials=tuple(trials), scales={name: scales[name] for name in names}), tmp_path)
    with Image.open(tmp_path / "trials.png") as image:
        image.load()
        assert (image.height > 700) == (len(names) > 2)  # a second row of panels
