"""The benchmarks on all beds and on real images: their protocol, their rows, and what they write."""

import json
from argparse import Namespace
from pathlib import Path

import beds
import demo_bed
import pytest
import real_images
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
        data_root=mvtec.parent, classes=("carpet",), shots=(1, 2), seeds=(0,), weights="embedded", work=tmp_path
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
        data_root=mvtec.parent, classes=("carpet",), shots=(2,), seeds=(0,), weights="embedded", work=tmp_path
    )
    files = {real_images.rows_file(first, "carpet")}
    for change in ({"weights": "random"}, {"seeds": (1,)}, {"shots": (1,)}):
        files.add(real_images.rows_file(real_images.Protocol(**vars(first) | change), "carpet"))
    next((mvtec / "test" / "good").iterdir()).unlink()
    files.add(real_images.rows_file(first, "carpet"))
    assert len(files) == 5


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
