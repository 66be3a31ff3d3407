"""`promptad test --disturb`: measures on disturbed pictures beside those on clean ones."""

from pathlib import Path

import pytest
from helpers import CSV, LIGHTEST, Trained, assert_refused, call, contents, only_row, without_seconds
from PIL import Image

from promptad.results.columns import METRIC_TITLES
from promptad.results.disturbances import read_disturbances

pytestmark = pytest.mark.slow

TABLE = CSV.replace("results", "disturbances")


def test_measures_on_disturbed_pictures_stand_beside_the_clean_ones(copied: Trained) -> None:
    before, kept = only_row(copied.folder), contents(copied.folder)
    outcome = call("test", *copied.arguments, "--disturb", "blur,shift")
    assert outcome.code == 0, outcome.errors
    assert without_seconds(only_row(copied.folder)) == without_seconds(before)
    now = contents(copied.folder)
    assert now.keys() - kept.keys() == {TABLE, "disturbances/carpet.png", f"csv/.{Path(TABLE).name}.lock"}
    assert {name for name in kept if now[name] != kept[name]} <= {CSV, "diagnostics/carpet_k2_diagnostics.png"}

    rows = read_disturbances(copied.folder / TABLE)
    assert [(row["disturbance"], row["strength"]) for row in rows] == [
        ("none", "0"),
        *[(name, str(strength)) for name in ("blur", "shift") for strength in (1, 2, 3)],
    ]
    assert all(rows[0][metric] == before[metric] for metric in METRIC_TITLES)
    assert all((row["run"], row["data"]) == (before["run"], before["data"]) for row in rows)
    assert all(row["misses"] and row["false_alarms"] and row["p_pro"] for row in rows)
    assert len({tuple(row[metric] for metric in METRIC_TITLES) for row in rows}) == len(rows)  # no picture is clean

    names = ("none ", "blur ", "shift ")
    first, *others = (line.split() for line in outcome.output.splitlines() if line.startswith(names))
    assert first[:2] == ["none", f"{float(before['i_roc']):.1f}"]
    assert [own[:2] for own in others] == [[row["disturbance"], row["strength"]] for row in rows[1:]]
    assert f"{copied.folder / 'disturbances' / 'carpet.png'}" in outcome.output
    with Image.open(copied.folder / "disturbances" / "carpet.png") as figure:
        assert figure.width > 1000


def test_a_second_time_gives_the_same_rows_from_kept_features(copied: Trained, read_counts: list[int]) -> None:
    arguments = ("test", *copied.arguments, "--disturb", "noise", "--save-diagnostics", "False")
    assert call(*arguments).code == 0
    before = [without_seconds(row) for row in read_disturbances(copied.folder / TABLE)]
    assert read_counts
    read_counts.clear()
    assert call(*arguments).code == 0
    assert [without_seconds(row) for row in read_disturbances(copied.folder / TABLE)] == before
    assert read_counts == []
    assert call(*arguments, "--feature-cache", "False").code == 0
    assert [without_seconds(row) for row in read_disturbances(copied.folder / TABLE)] == before
    assert read_counts


def test_each_seed_of_the_baseline_has_its_own_table_without_decisions(drawn: Path, tmp_path: Path) -> None:
    data = ("--dataset", "demo", "--data-root", drawn, "--class-name", "grid", "--root-dir", tmp_path)
    asked = (*data, "--system", "single-anchor", "--seeds", "0,1", "--resolution", "32", "--save-diagnostics", "False")
    assert call("train", *asked, "--Epoch", "1").code == 0
    outcome = call("test", *asked, "--disturb", "light")
    assert outcome.code == 0, outcome.errors
    folder = tmp_path / "demo" / "k_2"
    for seed in (0, 1):
        rows = read_disturbances(folder / f"csv/Seed_{seed}-disturbances.csv")
        assert [row["strength"] for row in rows] == ["0", "1", "2", "3"]
        assert all(row["i_roc"] and row["misses"] == row["false_alarms"] == "" for row in rows)
        assert (folder / f"disturbances/single-anchor/grid-Seed_{seed}.png").exists()
    assert outcome.output.count("light 1") == 2
    assert "mean ± standard deviation over 2 seeds" in outcome.output


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("blurr", ('unknown disturbance: "blurr"', "did you mean blur?", "light, blur, noise, jpeg, shift")),
        (",", ("--disturb is empty", "choose from light, blur, noise, jpeg, shift")),
    ],
)
def test_unknown_disturbances_are_refused_before_anything_is_measured(
    copied: Trained, asked: str, words: tuple[str, ...]
) -> None:
    before = contents(copied.folder)
    assert_refused(call("test", *copied.arguments, "--disturb", asked), *words)
    assert contents(copied.folder) == before
    assert_refused(call("train", *copied.arguments, *LIGHTEST, "--disturb", "blur"), "unknown option '--disturb'")
