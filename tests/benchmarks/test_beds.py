"""The benchmarks on all beds and on real images: their protocol, their rows, and what they write."""

import json
from argparse import Namespace
from itertools import pairwise
from pathlib import Path

import ablation
import beds
import demo_bed
import false_alarms
import pytest
import real_images
import strangers
from rich.console import Console

from promptad.data.datasets import read_class
from promptad.data.demo import DEMO_CLASSES, HELD_OUT_CLASSES

pytestmark = pytest.mark.slow


def row(system: str, seed: int, auroc: float, name: str = "cog", alarms: float | None = None) -> dict[str, object]:
    found = {"image_auroc": auroc, "image_ap": 90.0, "false_alarms": alarms, "misses": alarms}
    return {"class": name, "k": 2, "seed": seed, "system": system, "pixel_auroc": None, "aupro": None} | found


def test_real_images_are_measured_by_every_system_and_control(
    mvtec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_of = demo_bed.settings_of
    monkeypatch.setattr(real_images, "settings_of", lambda system, seed, _: settings_of(system, seed, 1))
    protocol = real_images.Protocol(
        data_root=mvtec.parent,
        classes=("carpet",),
        shots=(1, 2),
        seeds=(0,),
        weights="embedded",
        tiles=(1, 1),
        work=tmp_path,
    )
    images = read_class("folder", mvtec.parent, "carpet")
    rows = list(real_images.measure_class(protocol, images, demo_bed.load_tiny()))
    for k in (1, 2):
        own = {row["system"]: row for row in rows if row["k"] == k}
        assert own.keys() == real_images.SYSTEMS.keys()
        assert all(0 <= found["image_auroc"] <= 100 for found in own.values())
        decided = {name for name, found in own.items() if found["false_alarms"] is not None}
        assert decided == {"words", "text", "memory", "both"}
        assert all(0 <= found["aupro"] <= 100 for found in own.values())
    written = json.loads(json.dumps(real_images.summary(rows)))
    assert written["k2"].keys() == real_images.SYSTEMS.keys()
    assert written["k2"]["both"]["classes"] == {"carpet": written["k2"]["both"]["mean"]}


def test_the_spread_of_real_images_is_over_draws() -> None:
    rows = [row("both", 0, 60, "cog"), row("both", 0, 80, "cam"), row("both", 1, 70, "cog"), row("both", 1, 94, "cam")]
    mean, deviation = real_images.spread(rows, "image_auroc") or (0, 0)
    assert mean == pytest.approx((70 + 82) / 2)
    assert deviation == pytest.approx((82 - 70) / 2**0.5)
    assert real_images.spread(rows, "pixel_auroc") is None
    assert real_images.class_means(rows, "image_auroc") == {"cog": 65, "cam": 87}


def test_a_table_shows_the_worst_class_of_what_is_decided() -> None:
    rows = [row("words", 0, 60, "cog", alarms=4.0), row("words", 0, 80, "cam", alarms=40.0), row("baseline", 0, 61)]
    console = Console(width=160)
    with console.capture() as capture:
        console.print(real_images.systems_table(rows, 2))
    (line,) = (line for line in capture.get().splitlines() if "starting words" in line)
    assert "22.0 ± 0.0 (40)" in line


def test_other_images_weights_or_draws_have_rows_of_their_own(mvtec: Path, tmp_path: Path) -> None:
    first = real_images.Protocol(
        data_root=mvtec.parent,
        classes=("carpet",),
        shots=(2,),
        seeds=(0,),
        weights="embedded",
        tiles=(1, 1),
        work=tmp_path,
    )
    files = {real_images.rows_file(first, "carpet")}
    for change in ({"weights": "random"}, {"seeds": (1,)}, {"shots": (1,)}, {"tiles": (2, 1)}):
        files.add(real_images.rows_file(real_images.Protocol(**vars(first) | change), "carpet"))
    next((mvtec / "test" / "good").iterdir()).unlink()
    files.add(real_images.rows_file(first, "carpet"))
    assert len(files) == 6


@pytest.mark.parametrize("draws", ["reporting", "choosing"])
def test_a_bed_of_fifteen_classes_has_one_draw_and_the_unseen_one_all(draws: str, tmp_path: Path) -> None:
    options = Namespace(draws=draws, work=tmp_path)
    told, unseen = (beds.demo_protocol(options, **beds.DEMO_BEDS[name]) for name in ("told", "unseen"))
    assert (told.classes, told.seeds) == (DEMO_CLASSES, beds.SEEDS[draws][:1])
    assert (unseen.classes, unseen.seeds) == (HELD_OUT_CLASSES, beds.SEEDS[draws])
    assert len(unseen.classes) >= 6


def test_what_is_chosen_on_is_never_reported() -> None:
    for of_draws in (beds.LINES, beds.SEEDS):
        assert not set(of_draws["reporting"]) & set(of_draws["choosing"])


def test_the_matrix_has_a_row_a_system_and_a_column_a_bed() -> None:
    rows = [row(key, seed, 60 + 10 * seed) for key in beds.KEYS.values() for seed in (0, 1)]
    figures = beds.figures(rows, {key: key for key in beds.KEYS.values()})
    found = {"told": figures, "real": figures}
    console = Console(width=160)
    with console.capture() as capture:
        console.print(beds.matrix(found, "image_auroc", "image AUROC"))
    (line,) = (line for line in capture.get().splitlines() if "our memory alone" in line)
    assert line.count("65.0 ± 7.1") == 2
    assert beds.summary(found)["beds"]["real"] == dict.fromkeys(beds.KEYS.values(), 65)


def test_false_alarms_and_misses_are_counted_for_every_k_memory_and_rate(
    mvtec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_of = demo_bed.settings_of
    monkeypatch.setattr(false_alarms, "settings_of", lambda system, seed, _: settings_of(system, seed, 1))
    images = read_class("folder", mvtec.parent, "carpet")
    rows = list(false_alarms.measure_class(demo_bed.load_tiny(), images, "carpet", (1, 2), (0,)))
    asked = [(row["k"], row["memory"], row["rate"]) for row in rows]
    assert asked == [(k, memory, rate) for k in (1, 2) for memory in (False, True) for rate in false_alarms.RATES]
    assert all(0 <= row[name] <= 1 for row in rows for name in false_alarms.FIGURES)
    for before, after in pairwise(rows):
        if after["rate"] > before["rate"]:  # more may be rejected
            assert after["false_alarms"] >= before["false_alarms"]
            assert after["misses"] <= before["misses"]


def test_every_variant_of_the_ablation_is_another_training(mvtec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_of = demo_bed.settings_of
    monkeypatch.setattr(ablation, "settings_of", lambda system, seed, _: settings_of(system, seed, 1))
    images = read_class("folder", mvtec.parent, "carpet")
    variants = ("as it is", "without the reaction loss", "soft distance to the bank")
    rows = list(ablation.measure_class(images, "carpet", demo_bed.load_tiny(), (0,), variants))
    names = [row["variant"] for row in rows]
    assert names[:4] == [demo_bed.TITLES["words"], "as it is", demo_bed.TITLES["memory"], "as it is + memory"]
    assert {title + end for title in variants for end in ("", " + memory")} < set(names)
    console = Console(width=160)
    with console.capture() as capture:
        console.print(ablation.ablation_table(rows, "told"))
    assert all(title in capture.get() for title in variants)


def test_the_beds_of_the_ablation_and_of_false_alarms_have_their_own_names_and_weights(tmp_path: Path) -> None:
    options = Namespace(beds=("part", "uncued", "unseen"), lines=(200,), real=tmp_path, work=tmp_path)
    (tmp_path / "solar_cell" / "train" / "good").mkdir(parents=True)
    found = beds.classes_of(options)
    assert [own.called for own in found] == ["part"] * 15 + list(DEMO_CLASSES) + list(HELD_OUT_CLASSES) + ["solar_cell"]
    assert found[0].backbone().weights_sha256 != found[15].backbone().weights_sha256
    assert set(ablation.EVERYWHERE) < set(ablation.variants_of("told")) == set(ablation.VARIANTS)
    assert ablation.variants_of("unseen") == ablation.EVERYWHERE


def test_a_detector_is_asked_about_frames_and_the_other_parts_of_its_bed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_of = demo_bed.settings_of
    monkeypatch.setattr(strangers, "settings_of", lambda system, seed, _: settings_of(system, seed, 1))
    monkeypatch.setattr(strangers, "ASKED", 2)
    carpet, gear = (beds.BedClass("told", demo_bed.Place(200, name), tmp_path) for name in ("carpet", "gear"))
    rows = strangers.run((carpet, (carpet, gear), (2,), (0,)))
    assert [row["memory"] for row in rows] == [False, True]
    for row in rows:
        assert (row["frames"], row["frames_unlike"]) == (0, 1)
        assert (row["others"], row["others_unlike"]) == (0, 1)
        assert row["own_unlike"] == 0
    console = Console(width=160)
    with console.capture() as capture:
        console.print(strangers.strangers_table(rows))
    assert capture.get().count("0.0 (100)") == 4
