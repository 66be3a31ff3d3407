"""Both systems at both levels from the command line: files beside each other, resumption, seeds, wrong options."""

from itertools import product
from pathlib import Path

import pytest
import torch
from helpers import (
    CHECKPOINT,
    LIGHT,
    LIGHTEST,
    Trained,
    assert_refused,
    call,
    contents,
    read_checkpoint,
    without_seconds,
)
from rich.console import Console

from promptad.results.columns import METRIC_TITLES
from promptad.results.table import read_results
from promptad.results.terminal import seeds_tables

pytestmark = pytest.mark.slow

SYSTEMS, LEVELS = ("multi-prototype", "single-anchor"), ("image", "pixel")
ANCHOR = ("--system", "single-anchor")
UPSTREAM_KEYS = ("text_features", "feature_gallery1", "feature_gallery2")


def rows_of(folder: Path, seed: int = 111) -> dict[tuple[str, str, str], dict[str, str]]:
    rows = read_results(folder / "csv" / f"Seed_{seed}-results.csv")
    return {(row["system"], row["level"], row["memory"]): row for row in rows}


def options(drawn: Path, results: Path) -> tuple[str | Path, ...]:
    return ("--dataset", "demo", "--data-root", drawn, "--root-dir", results, *LIGHTEST)


def test_systems_and_levels_are_saved_beside_each_other_and_are_tested_again(drawn: Path, tmp_path: Path) -> None:
    folder = tmp_path / "demo" / "k_2"
    for system, level in product(SYSTEMS, LEVELS):
        more = ("--class-name", "carpet", "--system", system, "--level", level)
        outcome = call("train", *options(drawn, tmp_path), *more, "--vis")
        assert (outcome.code, outcome.errors) == (0, "")
    visible = {name for name in contents(folder) if not Path(name).name.startswith(".")}
    assert {name for name in visible if name.endswith(".pt")} == {
        f"checkpoint/{place}{kind}-Seed_111-carpet-check_point.pt"
        for place, kind in product(("", "single-anchor/"), ("CLS", "SEG"))
    }
    assert {Path(name).parent.as_posix() for name in visible if name.startswith("imgs")} == {
        f"imgs/{place}{kind}carpet" for place, kind in product(("", "single-anchor/"), ("", "SEG-"))
    }
    rows = rows_of(folder)
    assert set(rows) == {
        ("multi-prototype", "image", "no"),
        ("multi-prototype", "pixel", "no"),
        ("single-anchor", "image", "yes"),
        ("single-anchor", "pixel", "yes"),
    }
    for system, level in product(SYSTEMS, LEVELS):
        more = ("--class-name", "carpet", "--system", system, "--level", level)
        outcome = call("test", *options(drawn, tmp_path)[:6], "--save-diagnostics", "False", *more)
        assert (outcome.code, outcome.errors) == (0, "")
    again = rows_of(folder)
    assert {key: without_seconds(row) for key, row in again.items()} == {
        key: without_seconds(row) for key, row in rows.items()
    }


def test_levels_train_on_different_features(drawn: Path, tmp_path: Path) -> None:
    for level in LEVELS:
        assert call("train", *options(drawn, tmp_path), "--class-name", "carpet", "--level", level).code == 0
    folder = tmp_path / "demo" / "k_2" / "checkpoint"
    image, pixel = (read_checkpoint(folder / f"{kind}-Seed_111-carpet-check_point.pt") for kind in ("CLS", "SEG"))
    assert not torch.equal(image["normal_prototypes"], pixel["normal_prototypes"])


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_memory_is_saved_and_scores(drawn: Path, tmp_path: Path, system: str) -> None:
    folder = tmp_path / "demo" / "k_2"
    named = ("--class-name", "carpet", "--system", system)
    for memory in ("False", "True"):
        assert call("train", *options(drawn, tmp_path), *named, "--memory-bank", memory).code == 0
    rows = rows_of(folder)
    without, with_memory = (rows[system, "image", cell] for cell in ("no", "yes"))
    assert [without[metric] for metric in METRIC_TITLES] != [with_memory[metric] for metric in METRIC_TITLES]
    again = call("test", *options(drawn, tmp_path)[:6], *named, "--save-diagnostics", "False")
    assert (again.code, again.errors) == (0, "")
    assert without_seconds(rows_of(folder)[system, "image", "yes"]) == without_seconds(with_memory)


@pytest.mark.parametrize("more", [ANCHOR, ("--level", "pixel"), (*ANCHOR, "--level", "pixel"), ("--memory-bank",)])
def test_train_all_resumes_for_every_configuration(drawn: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    command = ("train-all", *options(drawn, tmp_path), "--classes", "carpet")
    assert "finished before" not in call(*command).output
    assert "finished before" not in call(*command, *more).output
    outcome = call(*command, *more)
    assert (outcome.code, outcome.errors) == (0, "")
    assert "carpet: finished before" in outcome.output
    assert "finished before" not in call(*command, *more, "--select", "train-loss").output
    if more != ("--memory-bank",):  # a detector has the same file with and without a memory
        assert "carpet: finished before" in call(*command).output


def test_an_option_that_does_not_apply_is_ignored_and_reported(drawn: Path, tmp_path: Path) -> None:
    more = ("--class-name", "carpet", "--views", "4", "--weight-margin", "3")
    outcome = call("train", *options(drawn, tmp_path), *ANCHOR, *more)
    assert outcome.code == 0
    said = "left out, for the single-anchor system has no such thing: --views, --weight-margin"
    assert outcome.output.splitlines()[0] == said
    assert "no diagnostics" not in outcome.output
    outcome = call("train", *options(drawn, tmp_path), "--class-name", "carpet", "--lambda1", "3")
    assert "multi-prototype system has no such thing: --lambda1" in outcome.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--system", "other"), ("--system other", "multi-prototype, single-anchor")),
        (("--level", "voxel"), ("--level voxel", "image, pixel")),
        (("--select", "best"), ("--select best", "last, train-loss, test-oracle")),
        ((*ANCHOR, "--lambda1", "-1"), ("--lambda1 -1",)),
        (("--seeds", "a"), ("--seeds", "'a'")),
        (("--seeds", "4-0"), ("--seeds", "'4-0'")),
        (("--seeds", "1,1"), ("--seeds", "'1,1'")),
        (("--seeds", "0-1", "--seed", "3"), ("--seed 3", "--seeds")),
    ],
)
def test_an_invalid_configuration_is_refused(
    drawn: Path, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert_refused(call("train", *options(drawn, tmp_path), "--class-name", "carpet", *arguments), *words)
    assert not any(tmp_path.rglob("*.pt"))


def test_several_seeds_are_trained_and_tested_and_their_spread_is_printed(drawn: Path, tmp_path: Path) -> None:
    folder, named = tmp_path / "demo" / "k_2", ("--class-name", "carpet", "--seeds", "3,5-6")
    outcome = call("train", *options(drawn, tmp_path), *ANCHOR, *named)
    assert (outcome.code, outcome.errors) == (0, "")
    assert "over 3 seeds" in outcome.output
    rows = [rows_of(folder, seed)["single-anchor", "image", "yes"] for seed in (3, 5, 6)]
    files = [folder / "checkpoint" / "single-anchor" / f"CLS-Seed_{s}-carpet-check_point.pt" for s in (3, 5, 6)]
    assert len({tuple(read_checkpoint(file)["support_images"]) for file in files}) > 1
    values = [float(row["i_roc"]) for row in rows]
    mean = sum(values) / 3
    deviation = (sum((value - mean) ** 2 for value in values) / 2) ** 0.5
    assert f"{mean:.1f}±{deviation:.1f}" in outcome.output
    again = call("test", *options(drawn, tmp_path)[:6], *ANCHOR, *named)
    assert again.code == 0
    assert f"{mean:.1f}±{deviation:.1f}" in again.output
    assert_refused(call("test", *options(drawn, tmp_path)[:6], *ANCHOR, *named, "--checkpoint", files[0]), "one seed")


def test_train_all_of_several_seeds_resumes(drawn: Path, tmp_path: Path) -> None:
    command = ("train-all", *options(drawn, tmp_path), "--classes", "carpet,grid", "--seeds", "0-1", *ANCHOR)
    first = call(*command)
    assert (first.code, first.errors) == (0, "")
    assert "mean of 2" in first.output
    (tmp_path / "demo" / "k_2" / "checkpoint" / "single-anchor" / "CLS-Seed_1-grid-check_point.pt").unlink()
    again = call(*command)
    assert [line for line in again.output.splitlines() if "finished before" in line] == [
        f"{name}: finished before, left as it is" for name in ("carpet, seed 0", "carpet, seed 1", "grid, seed 0")
    ]


def shown(rows: list[dict[str, str]]) -> str:
    """The tables of seeds in a terminal of 80 columns."""
    console = Console(width=80)
    with console.capture() as capture:
        console.print(*seeds_tables(rows))
    return capture.get()


def test_the_widest_table_of_seeds_fits_a_terminal() -> None:
    full, low = dict.fromkeys(METRIC_TITLES, "100.00"), dict.fromkeys(METRIC_TITLES, "50.00")
    rows = [
        {"class": "toothbrush", "seed": str(seed), "select": "last", **cells} for seed, cells in enumerate((full, low))
    ]
    assert shown(rows).count("75.0±35.4") == len(METRIC_TITLES)


def test_the_table_of_seeds_shows_means_over_classes_for_each_seed() -> None:
    cells = {("a", 0): 90, ("a", 1): 94, ("b", 0): 70, ("b", 1): 80}
    blank = dict.fromkeys(METRIC_TITLES, "")
    rows = [
        {"class": name, "seed": str(seed), "select": "last", **blank, "i_roc": str(i_roc)}
        for (name, seed), i_roc in cells.items()
    ]
    text = shown(rows)
    assert "92.0±2.8" in text
    assert "75.0±7.1" in text
    assert "83.5±4.9" in text  # of 80 and 87
    assert "WARNING" not in text


def test_a_bare_upstream_checkpoint_is_measured_with_the_given_settings(
    copied: Trained, drawn: Path, tmp_path: Path
) -> None:
    results = tmp_path / "anchors"
    assert call("train", *options(drawn, results), *ANCHOR, "--class-name", "carpet").code == 0
    ours = results / "demo" / "k_2" / "checkpoint" / "single-anchor" / "CLS-Seed_111-carpet-check_point.pt"
    bare = tmp_path / "bare.pt"
    torch.save({name: read_checkpoint(ours)[name] for name in UPSTREAM_KEYS}, bare)
    row = rows_of(results / "demo" / "k_2")["single-anchor", "image", "yes"]
    (results / "demo" / "k_2" / "csv" / "Seed_111-results.csv").unlink()
    tested = ("test", *options(drawn, results)[:6], "--class-name", "carpet", "--checkpoint", bare)
    outcome = call(*tested, *ANCHOR, "--resolution", "32")
    assert (outcome.code, outcome.errors) == (0, "")
    found = rows_of(results / "demo" / "k_2")["single-anchor", "image", "yes"]
    assert [found[metric] for metric in METRIC_TITLES] == [row[metric] for metric in METRIC_TITLES]
    assert_refused(call(*tested), "single-anchor PromptAD", "--system single-anchor", "train the class again")
    other = copied.folder / CHECKPOINT.format("carpet")
    assert_refused(call(*tested[:-1], other, *ANCHOR), "multi-prototype system", "without --system")


def test_seeds_have_diagnostics_and_drawings_of_their_own(drawn: Path, tmp_path: Path) -> None:
    arguments = ("--dataset", "demo", "--data-root", drawn, "--class-name", "carpet", "--root-dir", tmp_path, *LIGHT)
    assert call("train", *arguments, "--seeds", "111,7", "--vis", "True").code == 0
    folder = tmp_path / "demo" / "k_2"
    names = {path.name for path in (folder / "diagnostics").glob("*.json")}
    assert names == {"carpet_k2_diagnostics.json", "carpet-Seed_7_k2_diagnostics.json"}
    assert {path.name for path in (folder / "imgs").iterdir()} == {"carpet", "carpet-Seed_7"}
