"""Comparisons: paired numbers against loops, refusals of mixed rows in one column, and whole files."""

import csv
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Outcome, assert_refused, call
from PIL import Image

from promptad.errors import InputError
from promptad.reports.comparison import differences
from promptad.reports.comparison.agreement import comparable_rows, saved_rows
from promptad.reports.comparison.differences import Block, Comparison, Pair, compare
from promptad.reports.comparison.rows import BASELINE, OURS, Choice
from promptad.reports.comparison.significance import Verdict
from promptad.reports.comparison.tables import SIDES
from promptad.results.columns import METRIC_TITLES
from promptad.results.paths import ResultFolder
from promptad.results.table import write_result
from promptad.utils.provenance import package_version

CLASSES = ("carpet", "grid", "screw")
SEEDS = (0, 1, 2)
SYSTEMS: dict[str, dict[str, object]] = {
    BASELINE: {"system": "single-anchor", "memory": "yes", "n_pro": 1, "n_pro_ab": 4},
    OURS: {"system": "multi-prototype", "memory": "no", "n_pro": 3, "n_pro_ab": 6},
}
Place = tuple[str, str, int, int]  # system, class, k, seed


def save_row(root: Path, place: Place, **cells: object) -> None:
    """Write the row of a system; `cells` replace the common ones, None empties one."""
    system, class_name, k, seed = place
    shared: dict[str, object] = {
        "class": class_name,
        "level": "image",
        "select": "last",
        "dataset": "demo",
        "data": f"data-of-{class_name}",
        "k": k,
        "seed": seed,
        "epochs": 100,
        "backbone": "tiny",
        "weights": "abcdef012345",
        "test_images": 60,
        "version": package_version(),
    }
    write_result(ResultFolder(root, "demo", k, seed).csv, shared | SYSTEMS.get(system, {"system": system}) | cells)


def save_rows(root: Path, ks: tuple[int, ...] = (2,), classes: tuple[str, ...] = CLASSES, **cells: object) -> None:
    """Write rows of both systems, with numbers of their own."""
    for place in product(SYSTEMS, classes, ks, SEEDS):
        save_row(root, place, **numbers_of(place), **cells)


def numbers_of(place: Place) -> dict[str, float]:
    """Metrics in [0, 1], always the same for a place."""
    chance = random.Random(str(place))
    return {metric: round(chance.uniform(0.5, 1), 4) for metric in METRIC_TITLES}


def choice_of(root: Path, **filters: Any) -> Choice:
    return Choice("demo", (root,), BASELINE, OURS, **filters)


def compared(root: Path, **filters: Any) -> Comparison:
    choice = choice_of(root, **filters)
    return compare(comparable_rows(choice), choice)


def only_block(root: Path, **filters: Any) -> Block:
    (block,) = compared(root, **filters).blocks
    return block


def run(root: Path, *arguments: str | Path) -> Outcome:
    return call("compare", "--dataset", "demo", "--root-dir", root, *arguments)


def looped_spread(values: list[float]) -> tuple[float, float]:
    """The mean and the sample standard deviation, written out."""
    total = 0.0
    for value in values:
        total += value
    mean = total / len(values)
    squares = 0.0
    for value in values:
        squares += (value - mean) ** 2
    return mean, float((squares / (len(values) - 1)) ** 0.5)


def looped_mean_over_classes(system: str, metric: str, seed: int, k: int = 2) -> float:
    """The mean over classes of one seed, in percent."""
    total = 0.0
    for name in CLASSES:
        total += 100 * numbers_of((system, name, k, seed))[metric]
    return total / len(CLASSES)


def assert_pair(pair: Pair, baseline: list[float], ours: list[float]) -> None:
    """Check a pair against the values of each seed, in percent."""
    differences = []
    for first, second in zip(baseline, ours, strict=True):
        differences.append(second - first)
    for side, values in zip(SIDES, (baseline, ours, differences), strict=True):
        spread = getattr(pair, side)
        assert (spread.mean, spread.deviation) == pytest.approx(looped_spread(values)), side


@pytest.mark.parametrize("metric", METRIC_TITLES)
def test_means_and_spreads_equal_a_loops(tmp_path: Path, metric: str) -> None:
    save_rows(tmp_path)
    block = only_block(tmp_path)
    assert [line.name for line in block.classes] == list(CLASSES)
    for line in block.classes:
        sides = [[100 * numbers_of((s, line.name, 2, seed))[metric] for seed in SEEDS] for s in SYSTEMS]
        assert_pair(line.pairs[metric], *sides)
    means = [[looped_mean_over_classes(system, metric, seed) for seed in SEEDS] for system in SYSTEMS]
    assert_pair(block.mean.pairs[metric], *means)
    assert block.mean.test_images == 180
    assert block.notes == ()


def test_each_k_has_a_block_of_its_own(tmp_path: Path) -> None:
    save_rows(tmp_path, ks=(4, 1))
    comparison = compared(tmp_path)
    assert [block.k for block in comparison.blocks] == [1, 4]
    for block in comparison.blocks:
        expected = [looped_mean_over_classes(OURS, "i_roc", seed, block.k) for seed in SEEDS]
        assert block.mean.pairs["i_roc"].ours.mean == pytest.approx(looped_spread(expected)[0])
    assert [block.k for block in compared(tmp_path, k_shot=(4,)).blocks] == [4]


def test_differences_are_paired_by_seed(tmp_path: Path) -> None:
    for seed, level in zip(SEEDS, (0.5, 0.7, 0.9), strict=True):
        save_row(tmp_path, (BASELINE, "carpet", 2, seed), i_roc=level)
        save_row(tmp_path, (OURS, "carpet", 2, seed), i_roc=level + 0.01 + 0.001 * seed)
    pair = only_block(tmp_path).mean.pairs["i_roc"]
    assert pair.ours.deviation == pytest.approx(20.1)
    assert pair.difference.deviation == pytest.approx(0.1)
    assert pair.verdict == Verdict.BETTER


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ((0.02, 0.025, 0.022), Verdict.BETTER),
        ((-0.02, -0.025, -0.022), Verdict.WORSE),
        ((0.02, 0.05, 0.01), Verdict.NOT_TOLD_APART),
        ((0.02, -0.03, 0.01), Verdict.NOT_TOLD_APART),
        ((0, 0, 0), Verdict.NOT_TOLD_APART),
        ((0.3,), Verdict.NOT_TOLD_APART),
    ],
)
def test_a_class_has_a_verdict_by_its_draws(tmp_path: Path, differences: tuple[float, ...], verdict: Verdict) -> None:
    for seed, difference in enumerate(differences):
        save_row(tmp_path, (BASELINE, "carpet", 2, seed), i_roc=0.5, alarms_1=0.5)
        save_row(tmp_path, (OURS, "carpet", 2, seed), i_roc=0.5 + difference, alarms_1=0.5 - difference)
    block = only_block(tmp_path)
    for line in block.lines:
        assert line.pairs["i_roc"].verdict == line.pairs["alarms_1"].verdict == verdict
        assert line.pairs["i_roc"].p_value is None


def save_differences(root: Path, differences: Sequence[float], images: Sequence[int]) -> None:
    for number, (difference, count) in enumerate(zip(differences, images, strict=True)):
        for seed, noise in zip(SEEDS, (-0.01, 0, 0.01), strict=True):
            save_row(root, (BASELINE, f"class_{number}", 2, seed), i_roc=0.5, test_images=count)
            save_row(root, (OURS, f"class_{number}", 2, seed), i_roc=0.5 + difference + noise, test_images=count)


@pytest.mark.parametrize(
    ("classes", "verdict"), [(6, Verdict.BETTER), (5, Verdict.NOT_TOLD_APART), (2, Verdict.NOT_TOLD_APART)]
)
def test_a_mean_has_a_verdict_by_interval_and_test(tmp_path: Path, classes: int, verdict: Verdict) -> None:
    save_differences(tmp_path, [0.05 + 0.01 * number for number in range(classes)], [10] * classes)
    pair = only_block(tmp_path).mean.pairs["i_roc"]
    assert pair.interval is not None
    assert pair.interval[0] > 0
    assert pair.p_value == pytest.approx(2 / 2**classes)
    assert pair.verdict == verdict


def test_the_mean_over_images_weighs_classes_by_their_images(tmp_path: Path) -> None:
    save_differences(tmp_path, (0.1, 0.4), (30, 10))
    block = only_block(tmp_path)
    assert (block.mean.name, block.image_mean.name) == ("mean over 2 classes", "mean over 40 images")
    assert block.mean.pairs["i_roc"].difference.mean == pytest.approx(25)
    assert block.image_mean.pairs["i_roc"].difference.mean == pytest.approx((30 * 10 + 10 * 40) / 40)
    assert block.image_mean.pairs["i_roc"].ours.mean == pytest.approx((30 * 60 + 10 * 90) / 40)


def test_nothing_is_tested_of_a_system_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_rows(tmp_path)
    alone = replace(choice_of(tmp_path), baseline=OURS)
    monkeypatch.setattr(differences, "classes_interval", None)  # a call would fail
    (block,) = compare(saved_rows(alone), alone).blocks
    pair = block.mean.pairs["i_roc"]
    assert (pair.interval, pair.p_value, pair.verdict) == (None, None, Verdict.NOT_TOLD_APART)
    assert pair.ours == pair.baseline
    with pytest.raises(TypeError):
        only_block(tmp_path)


def test_results_of_another_version_are_marked(tmp_path: Path) -> None:
    save_rows(tmp_path, version=package_version(), commit="a" * 12)
    assert "marked" not in run(tmp_path).output
    save_row(tmp_path, (OURS, "grid", 2, 1), **numbers_of((OURS, "grid", 2, 1)), version="0.0.1", commit="b" * 12)
    outcome = run(tmp_path, "--output", tmp_path / "out")
    assert (outcome.code, outcome.errors) == (0, "")
    assert "grid †" in outcome.output
    assert "screw †" not in outcome.output
    note = f"note: 1 of 18 results, marked †, are of another version: promptad 0.0.1 (commit {'b' * 12})"
    assert note in outcome.output
    assert "results of several commits" not in outcome.output
    assert "| **grid †** |" in (tmp_path / "out" / "comparison.md").read_text()
    marked = {row["class"] for row in csv_rows(tmp_path / "out" / "comparison.csv") if row["another_version"] == "True"}
    assert marked == {"grid", "mean over classes", "mean over images"}


def test_rows_of_unlike_settings_are_refused(tmp_path: Path) -> None:
    plain = {"training": {"lr": 0.002, "seed": 0, "k_shot": 2}, "bit_depth": None, "picture": {"region": "a"}}
    save_rows(tmp_path, settings=json.dumps(plain))
    drawn = plain | {"training": {"lr": 0.002, "seed": 5, "k_shot": 4}, "bit_depth": 12}
    save_row(tmp_path, (OURS, "grid", 2, 1), i_roc=0.5, settings=json.dumps(drawn))
    assert run(tmp_path).code == 0
    save_row(tmp_path, (OURS, "grid", 2, 1), i_roc=0.5, settings=json.dumps(plain | {"training": {"lr": 0.5}}))
    assert_refused(run(tmp_path), "different --lr of multi-prototype: 0.002 (carpet of", "0.5 (grid of", "again")
    save_row(tmp_path, (OURS, "grid", 2, 1), i_roc=0.5, settings=json.dumps(plain | {"picture": {"region": "b"}}))
    assert_refused(run(tmp_path), "different regions or tiles of grid")


def test_a_class_without_masks_is_named_where_means_leave_it_out(tmp_path: Path) -> None:
    save_rows(tmp_path)
    for place in product(SYSTEMS, ["grid"], [2], SEEDS):
        save_row(tmp_path, place, **{name: value for name, value in numbers_of(place).items() if name != "p_pro"})
    assert "AUPRO: not measured of grid: its means are over 2 classes" in only_block(tmp_path).notes


def test_commits_and_unlike_support_images_are_named(tmp_path: Path) -> None:
    save_rows(tmp_path, version=package_version(), commit="a" * 12, support="one")
    save_row(tmp_path, (OURS, "grid", 2, 1), i_roc=0.5, version=package_version(), commit="b" * 12, support="two")
    notes = compared(tmp_path).notes
    assert f"results of several commits: {'a' * 12}, {'b' * 12}" in notes
    assert "learned from different support images, and so no pairs: grid, seed 1" in notes


def test_only_seeds_that_both_have_are_compared(tmp_path: Path) -> None:
    save_rows(tmp_path)
    for name in ("wood", "zipper"):
        for place in product(SYSTEMS, [name], [2], SEEDS):
            if place[::3] != (OURS, 1):
                save_row(tmp_path, place, **numbers_of(place))
    block = only_block(tmp_path)
    by_name = {line.name: line.pairs["i_roc"] for line in block.classes}
    assert (by_name["carpet"].seeds, by_name["wood"].seeds) == (SEEDS, (0, 2))
    assert block.mean.pairs["i_roc"].seeds == (0, 2)
    assert block.notes == (
        f"wood, zipper: {OURS} lacks seed 1, left out there",
        "the mean is over seeds 0, 2, which all classes have",
    )


def test_classes_of_one_side_are_named_and_left_out(tmp_path: Path) -> None:
    save_rows(tmp_path)
    save_row(tmp_path, (OURS, "bottle", 2, 0), i_roc=1.0, p_pro=1.0)
    save_row(tmp_path, (BASELINE, "wood", 2, 0), i_roc=1.0)
    block = only_block(tmp_path)
    assert [line.name for line in block.classes] == list(CLASSES)
    expected = [looped_mean_over_classes(OURS, "i_roc", seed) for seed in SEEDS]
    assert block.mean.pairs["i_roc"].ours.mean == pytest.approx(looped_spread(expected)[0])
    assert block.notes == (
        f"I-AUROC: wood: only {BASELINE} has results, left out",
        f"I-AUROC, AUPRO: bottle: only {OURS} has results, left out",
    )


def test_without_a_seed_of_all_classes_there_is_no_mean(tmp_path: Path) -> None:
    for system in SYSTEMS:
        save_row(tmp_path, (system, "carpet", 2, 0), i_roc=0.5)
        save_row(tmp_path, (system, "grid", 2, 1), i_roc=0.5)
    block = only_block(tmp_path)
    assert block.mean.pairs == {}
    assert "I-AUROC: no mean, as no seed has all classes" in block.notes
    others = [title for title in METRIC_TITLES.values() if title != "I-AUROC"]
    assert f"{', '.join(others)}: not measured" in block.notes


def test_a_metric_of_one_system_alone_is_named(tmp_path: Path) -> None:
    save_rows(tmp_path)
    for place in product([BASELINE], CLASSES, [2], SEEDS):
        save_row(tmp_path, place, **numbers_of(place) | {"seg_f1": None})
    comparison = compared(tmp_path)
    assert comparison.notes[0] == f"k = 2: SegF1: only {OURS} has results, left out"
    assert "seg_f1" not in [metric.column for metric in comparison.metrics]
    assert "SegF1" not in run(tmp_path).output.partition("note:")[0]


def test_pixel_metrics_are_of_pixel_training_where_both_have_it(tmp_path: Path) -> None:
    for level, system in product(("image", "pixel"), SYSTEMS):
        place = (system, "carpet", 2, 0)
        if level == "pixel" and system == OURS:
            assert compared(tmp_path).pixel_level == "image"  # only the baseline has rows of pixel level so far
            assert only_block(tmp_path).mean.pairs["p_pro"].baseline.mean == pytest.approx(60)
        number = 0.6 if level == "image" else 0.9
        save_row(tmp_path, place, level=level, i_roc=number, p_pro=number)
    assert compared(tmp_path).pixel_level == "pixel"
    pairs = only_block(tmp_path).mean.pairs
    assert (pairs["i_roc"].ours.mean, pairs["p_pro"].ours.mean) == pytest.approx((60, 90))
    assert "trained for: images; for pixels in pixel metrics" in run(tmp_path).output


def test_a_k_without_a_common_class_is_left_out_by_name(tmp_path: Path) -> None:
    save_rows(tmp_path)
    save_row(tmp_path, (OURS, "carpet", 4, 0), i_roc=0.5)
    comparison = compared(tmp_path)
    assert [block.k for block in comparison.blocks] == [2]
    assert comparison.notes[0] == "k = 4: left out, as the systems have no class and seed in common"
    with pytest.raises(InputError, match="no results of it; there are those of multi-prototype: name another"):
        compared(tmp_path, k_shot=(4,))


def change(places: Sequence[Place], **cells: object) -> Callable[[Path], None]:
    """Return a function that writes the rows of some places again, with other cells."""

    def write(root: Path) -> None:
        for place in places:
            save_row(root, place, **numbers_of(place), **cells)

    return write


MIXTURES: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "select": (
        change([(OURS, "carpet", 2, 1)], select="train-loss"),
        ("different kept epochs: last (carpet of", "train-loss (carpet of multi-prototype", "--select last picks one"),
    ),
    "oracle": (
        change([(OURS, "carpet", 2, 1)], select="test-oracle"),
        ("test labels chose the epoch of carpet of multi-prototype, k = 2, seed 1", "--select last picks the honest"),
    ),
    "epochs of a seed": (
        change([(OURS, name, 2, 1) for name in CLASSES], epochs=3),
        (
            "different settings (n_pro, n_pro_ab, epochs) of multi-prototype: (3, 6, 100)",
            "(3, 6, 3) (carpet",
            "--seeds 0,2 picks one",
        ),
    ),
    "epochs of a class": (
        change([(OURS, "grid", 2, seed) for seed in SEEDS], epochs=3),
        ("(3, 6, 3) (grid of", "--classes carpet,screw picks one"),
    ),
    "prototypes": (change([(OURS, "grid", 2, 0)], n_pro=1), ("(1, 6, 100)", "measure them again in the same way")),
    "backbone": (change([(OURS, "grid", 2, 0)], backbone="ViT-B-16"), ("different backbones: tiny (", "ViT-B-16")),
    "weights": (change([(OURS, "grid", 2, 0)], weights="0" * 12), ("different weights", "0" * 12)),
    "test pictures": (
        change([(OURS, "grid", 2, 0)], data="else"),
        ("different test pictures of grid", "data-of-grid", "else (grid of multi-prototype, k = 2, seed 0)"),
    ),
    "k": (change([(OURS, "carpet", 2, 0)], k=4), ("the row of carpet does not belong there", "delete the row")),
    "data set": (change([(OURS, "carpet", 2, 0)], dataset="visa"), ("does not belong there",)),
}


@pytest.mark.parametrize("mixture", MIXTURES)
def test_a_mixture_is_refused_with_the_cure(tmp_path: Path, mixture: str) -> None:
    save_rows(tmp_path)
    write, words = MIXTURES[mixture]
    write(tmp_path)
    assert_refused(run(tmp_path, "--output", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


def test_the_cure_of_a_refusal_works(tmp_path: Path) -> None:
    save_rows(tmp_path)
    for mixture in ("select", "oracle"):
        MIXTURES[mixture][0](tmp_path)
    MIXTURES["epochs of a seed"][0](tmp_path)
    assert run(tmp_path, "--select", "last", "--seeds", "0,2").code == 0


def test_a_row_in_two_folders_is_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    save_rows(first)
    save_row(second, (OURS, "carpet", 2, 0), i_roc=0.5)
    outcome = call("compare", "--dataset", "demo", "--root-dir", f"{first},{second}")
    assert_refused(outcome, "carpet of multi-prototype, k = 2, seed 0 is in", "name one of them by --root-dir")


def test_each_system_may_be_in_a_folder_of_its_own(tmp_path: Path) -> None:
    roots = (tmp_path / "first", tmp_path / "second")
    for root, system in zip(roots, SYSTEMS, strict=True):
        for place in product([system], CLASSES, [2], SEEDS):
            save_row(root, place, **numbers_of(place))
    choice = Choice("demo", roots, BASELINE, OURS)
    together = tmp_path / "together"
    save_rows(together)
    assert compare(comparable_rows(choice), choice).blocks == compared(together).blocks


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--k-shot", "8"), ("--k-shot 8", "there are those of 2")),
        (("--seeds", "0-4"), ("--seeds 3, 4", "there are those of 0, 1, 2")),
        (("--seeds", "4-0"), ("--seeds", "'4-0'")),
        (("--classes", "carpet,wood"), ("--classes wood", "there are those of carpet, grid, screw")),
        (("--select", "best"), ("--select best", "there are those of last")),
        (("--ours", "multi-prototype+memory"), ("name another", "--system multi-prototype --memory-bank True")),
        (("--ours", BASELINE), ("--baseline and --ours are both",)),
        (("--dataset", "dem"), ("did you mean demo",)),
        (
            ("--dataset", "visa"),
            ("visa: make them with", "--system single-anchor --memory-bank True", " and promptad "),
        ),
    ],
)
def test_missing_results_are_named_with_the_cure(
    tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    save_rows(tmp_path)
    assert_refused(run(tmp_path, *arguments), *words)


def test_systems_without_a_class_in_common_are_refused(tmp_path: Path) -> None:
    save_row(tmp_path, (OURS, "carpet", 2, 0), i_roc=0.5)
    save_row(tmp_path, (BASELINE, "grid", 2, 0), i_roc=0.5)
    assert_refused(run(tmp_path), "no class, k and seed in common")


def test_test_oracle_rows_are_shown_only_on_request_and_with_a_warning(tmp_path: Path) -> None:
    save_rows(tmp_path, select="test-oracle")
    assert_refused(run(tmp_path), "test labels chose the epoch", "--select test-oracle shows them as such")
    outcome = run(tmp_path, "--select", "test-oracle", "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.errors
    markdown = (tmp_path / "out" / "comparison.md").read_text()
    assert markdown.startswith("# TEST LABELS CHOSE THE EPOCH: ")
    assert "TEST LABELS CHOSE THE EPOCH" in outcome.output


def test_what_is_printed(tmp_path: Path) -> None:
    save_rows(tmp_path, ks=(1, 2))
    outcome = run(tmp_path)
    assert outcome.code == 0, outcome.errors
    assert max(map(len, outcome.output.splitlines())) <= 80
    assert "180 images" in outcome.output
    printed = " ".join(outcome.output.split())
    assert printed.count("mean over 3 classes in %") == 2
    for words in (
        f"{OURS} against {BASELINE} on demo, k = 1, images in %",
        "95 % interval",
        "of fewer than 6 classes no such test can tell anything",
        f"baseline: {BASELINE} (n_pro 1, n_pro_ab 4, epochs 100)",
        "seeds: 0, 1, 2",
        "epoch kept: last",
        "backbone: tiny, weights abcdef012345",
        "test pictures: 180 of 3 classes",
    ):
        assert words in printed


def csv_rows(file: Path) -> Iterator[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


def test_the_files_hold_the_same_numbers(tmp_path: Path) -> None:
    save_rows(tmp_path, ks=(1, 2))
    out = tmp_path / "out"
    assert run(tmp_path, "--output", out).code == 0
    assert sorted(file.name for file in out.iterdir()) == ["comparison.csv", "comparison.md", "comparison.png"]
    rows = list(csv_rows(out / "comparison.csv"))
    assert len(rows) == 2 * (len(CLASSES) + 2) * len(METRIC_TITLES)
    (mean,) = (row for row in rows if (row["k"], row["class"], row["metric"]) == ("2", "mean over classes", "p_pro"))
    pair = compared(tmp_path).blocks[1].mean.pairs["p_pro"]
    for side in SIDES:
        spread = getattr(pair, side)
        assert mean[side] == f"{spread.mean:.2f}"
        assert mean[f"{side}_deviation"] == f"{spread.deviation:.2f}"
    assert pair.interval is not None
    assert (mean["interval_low"], mean["interval_high"]) == tuple(f"{end:.2f}" for end in pair.interval)
    assert (mean["wilcoxon_p"], mean["verdict"]) == (f"{pair.p_value:.4f}", pair.verdict)
    assert (mean["seeds"], mean["level"], mean["select"], mean["test_images"]) == ("0 1 2", "image", "last", "180")
    markdown = (out / "comparison.md").read_text()
    assert f"{pair.ours.mean:.1f} ± {pair.ours.deviation:.1f}" in markdown
    assert "](comparison.png)" in markdown
    assert markdown.count("\n## k = ") == 2 * 3  # verdicts, images, pixels


def test_markdown_tables_are_of_one_width_and_any_name_is_shown(tmp_path: Path) -> None:
    save_rows(tmp_path, classes=("carpet", "5|6 *new* <b>", "metal_nut"))
    assert run(tmp_path, "--output", tmp_path).code == 0
    lines = (tmp_path / "comparison.md").read_text().splitlines()
    widths = {line.replace("\\|", "").count("|") for line in lines if line.startswith("|")}
    assert widths == {3 + len(METRIC_TITLES) // 2, 9}
    assert any(line.startswith(r"| **5\|6 \*new\* \<b\>** |") for line in lines)
    assert any(line.startswith("| **metal_nut** |") for line in lines)


@pytest.mark.parametrize(("ks", "count"), [((1, 2, 4), 15), ((2,), 15), ((2,), 1), ((1, 2), 2)])
def test_the_figure_shows_all_and_cuts_nothing(tmp_path: Path, ks: tuple[int, ...], count: int) -> None:
    save_rows(tmp_path, ks, tuple(f"class_{number}" for number in range(count)))
    assert run(tmp_path, "--output", tmp_path).code == 0
    with Image.open(tmp_path / "comparison.png") as image:
        drawn = np.asarray(image.convert("RGB"))
    assert 0.02 < (drawn < 250).any(axis=-1).mean() < 0.6
    assert (drawn[[0, -1], :] == 255).all()
    assert (drawn[:, [0, -1]] == 255).all()


def test_a_figure_of_one_seed_and_no_masks(tmp_path: Path) -> None:
    for system in SYSTEMS:
        save_row(tmp_path, (system, "5$ \\frac{ coin$", 2, 0), i_roc=0.5)
    outcome = run(tmp_path, "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.errors
    assert "I-AP, I-F1, recall @1%, " in outcome.output
    assert "One seed alone" in outcome.output
    assert "±" not in outcome.output


def test_an_unwritable_folder_leaves_nothing(tmp_path: Path) -> None:
    save_rows(tmp_path)
    (tmp_path / "file").touch()
    assert_refused(run(tmp_path, "--output", tmp_path / "file" / "out"), "cannot write to", "--output")
    assert (tmp_path / "file").read_bytes() == b""
