"""The numbers, notes and figures of a sweep, from rows that are written here."""

import random
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

import pytest
from helpers import refusal
from PIL import Image

from promptad.reports.sweep.figure import draw_sweep
from promptad.reports.sweep.lines import make_table
from promptad.reports.sweep.tables import as_json, sweep_explanation, write_csv, write_markdown
from promptad.results.columns import METRIC_TITLES
from promptad.results.sweep import MeasuredSetting
from promptad.utils.json_text import parse_json

SEEDS = (0, 1, 2)
MANY = tuple("abcdefgh")


def rows_of(name: str, classes: Sequence[str], gain: float) -> list[dict[str, str]]:
    """Rows of every class and seed, in percent, with numbers of their own and a gain."""
    rows = []
    for class_name in classes:
        for seed in SEEDS:
            chance = random.Random(f"{class_name} {seed}")
            noise = random.Random(f"{name} {class_name} {seed}")
            cells = {metric: f"{chance.uniform(60, 80) + gain + noise.uniform(-1, 1):.2f}" for metric in METRIC_TITLES}
            rows.append({"class": class_name, "seed": str(seed), "data": class_name, **cells})
    return rows


def setting(n_pro: int, k: int, gain: float, classes: Sequence[str] = MANY) -> MeasuredSetting:
    values = {"n_pro": str(n_pro), "k_shot": str(k)}
    name = f"n_pro_{n_pro}-k_shot_{k}"
    return MeasuredSetting(values, name, tuple(rows_of(name, classes, gain)))


def grid(classes: Sequence[str] = MANY) -> list[MeasuredSetting]:
    """Two settings that vary: n_pro does nothing, k_shot a lot."""
    return [setting(n_pro, k, gain, classes) for n_pro in (1, 3) for k, gain in ((1, 0.0), (2, 5.0), (4, -5.0))]


def test_verdicts_are_those_that_the_numbers_were_made_with() -> None:
    table = make_table(grid(), "demo")
    by_name = {effect.name: [str(line.mean["i_roc"].verdict) for line in effect.lines] for effect in table.effects}
    assert by_name["k_shot"] == ["not told apart", "better", "worse"]
    assert by_name["n_pro"] == ["not told apart", "not told apart"]
    assert [str(line.mean["alarms_1"].verdict) for line in table.effects[1].lines] == [
        *("not told apart", "worse", "better")  # where less is better
    ]
    assert [line.name for line in table.lines] == [own.name for own in grid()]  # all, in their order


def test_numbers_equal_a_loops() -> None:
    settings, table = grid(("a", "b")), make_table(grid(("a", "b")), "demo")
    means, differences = [], []
    for seed in SEEDS:
        of_seed, of_first = [], []
        for number in (1, 4):  # k_shot 2, with n_pro 1 and 3
            for row, first in zip(settings[number].rows, settings[number - 1].rows, strict=True):
                if row["seed"] == str(seed):
                    of_seed.append(float(row["p_pro"]))
                    of_first.append(float(first["p_pro"]))
        means.append(sum(of_seed) / len(of_seed))
        differences.append(sum(of_seed) / len(of_seed) - sum(of_first) / len(of_first))
    pair = table.effects[1].lines[1].mean["p_pro"]
    assert (pair.ours.mean, pair.ours.deviation) == pytest.approx((fmean(means), stdev(means)))
    assert (pair.difference.mean, pair.difference.deviation) == pytest.approx((fmean(differences), stdev(differences)))


def test_of_few_classes_nothing_is_told_and_said_so() -> None:
    table = make_table(grid(("a", "b")), "demo")
    assert {str(line.mean["i_roc"].verdict) for line in table.lines} == {"not told apart"}
    assert "of fewer than 6 classes no such test can tell anything" in sweep_explanation(table)
    assert "lets test labels choose" in sweep_explanation(table)
    assert "5 differences are looked at" in sweep_explanation(table)
    assert "1 difference is looked at" in sweep_explanation(make_table(grid(("a", "b"))[:2], "demo"))


def test_what_was_not_measured_is_named_and_left_out() -> None:
    settings = grid(("a", "b"))
    settings[1] = MeasuredSetting(settings[1].values, settings[1].folder, ())
    settings[2] = MeasuredSetting(settings[2].values, settings[2].folder, settings[2].rows[1:])
    table = make_table(settings, "demo")
    assert table.notes == (
        "n_pro 1, k_shot 2: not measured, left out",
        "n_pro 1, k_shot 4: a with seed 0 not measured, and left out of its mean and differences",
    )
    assert len(table.lines) == 5
    assert table.lines[1].mean["i_roc"].seeds == (1, 2)
    assert table.effects == ()


def test_results_on_other_pictures_are_no_pairs() -> None:
    settings = grid(("a", "b"))
    settings[1].rows[0]["data"] = "other"  # type: ignore[index]
    assert make_table(settings, "demo").notes[0].startswith("a: measured on different test pictures")


def test_without_the_first_setting_there_is_nothing_to_compare_with() -> None:
    settings = grid(("a",))
    settings[0] = MeasuredSetting(settings[0].values, settings[0].folder, ())
    assert "n_pro 1, k_shot 1" in refusal(make_table, settings, "demo")


def test_files_hold_every_setting(tmp_path: Path) -> None:
    table = make_table(grid(("a", "b")), "demo")
    write_csv(table, tmp_path / "sweep.csv")
    write_markdown(table, "sweep.png", tmp_path / "sweep.md")
    lines = (tmp_path / "sweep.csv").read_text().splitlines()
    assert len(lines) == 1 + 6 * 3 * len(METRIC_TITLES)  # settings, two classes and their mean
    words = (tmp_path / "sweep.md").read_text()
    assert words.count("\n| 3 | 4 |") == 3  # of image AUROC, of AUPRO, of all metrics
    assert "best" not in words.replace("takes the best line", "")
    plain = parse_json(as_json(table))
    assert [own["folder"] for own in plain["settings"]] == [own.folder for own in grid()]
    assert plain["settings"][0]["mean"]["i_roc"]["verdict"] == "the first"
    assert [own["settings"] for own in plain["effects"]["k_shot"]] == [2, 2, 2]


@pytest.mark.parametrize("case", ["grid", "one", "incomplete", "no masks"])
def test_figures_are_drawn(case: str, tmp_path: Path) -> None:
    settings = grid(("a", "b"))
    if case == "one":
        settings = [MeasuredSetting({"k_shot": own.values["k_shot"]}, own.folder, own.rows) for own in settings[:3]]
    elif case == "incomplete":
        settings[1] = MeasuredSetting(settings[1].values, settings[1].folder, ())
    elif case == "no masks":
        settings = [
            MeasuredSetting(own.values, own.folder, tuple(dict(row) | {"p_pro": ""} for row in own.rows))
            for own in settings
        ]
    draw_sweep(make_table(settings, "demo"), tmp_path / f"{case}.png")
    with Image.open(tmp_path / f"{case}.png") as image:
        image.load()
        assert (image.height > 700) == (case != "no masks")  # a row of panels for each metric
