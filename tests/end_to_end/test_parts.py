"""Many parts as one thing: a folder of detectors judges a folder of pictures, by checkpoints and by exported files."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import PLAIN, carpets, trained
from helpers import Outcome, assert_refused, call, read_lines
from PIL import Image

from promptad import PromptAD
from promptad.backbones.clip import Backbone
from promptad.backbones.factory import load_backbone
from promptad.data.demo import draw_image
from promptad.models import registry
from promptad.runtime.__main__ import main as runtime
from promptad.runtime.parts import match_of
from promptad.runtime.predictions import read_predictions
from promptad.settings import BackboneSettings

CLASSES = ("carpet", "metal nut")


def nut(number: int, defect: str | None = None) -> Image.Image:
    drawn, _ = draw_image("metal_nut", style_seed=7, instance_seed=number, defect=defect)
    return Image.fromarray(drawn)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two parts, each in its own, as train --good writes them."""
    folder = tmp_path_factory.mktemp("parts")
    nuts = PromptAD("metal nut", settings=PLAIN).fit([nut(20), nut(21)])
    for name, detector in (("carpet", trained("multi-prototype")), ("metal_nut", nuts)):
        (folder / name).mkdir()
        detector.save(folder / name / "detector.pt")
    return folder


@pytest.fixture(scope="module")
def exported(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the heads of both parts, and the tower that they share."""
    folder = tmp_path_factory.mktemp("exported")
    for part in sorted(parts.iterdir()):
        PromptAD.load(part / "detector.pt").export(folder / f"{part.name}.onnx", tower=folder / "tower.onnx")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sub-folders of both parts, named otherwise than their folders, and what is of no part."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, images in (("Carpet", carpets()[:4]), ("METAL Nut", [nut(1), nut(2), nut(3, "scratch")])):
        (folder / name / "deep").mkdir(parents=True)
        for number, image in enumerate(images):
            image.save(folder / name / ("deep" if number else "") / f"{number}.png")
    (folder / "gear").mkdir()
    nut(1).save(folder / "gear" / "gear.png")
    nut(1).save(folder / "loose.png")
    return folder


@pytest.fixture
def flat(pictures: Path, tmp_path: Path) -> Path:
    """All pictures of both parts in one folder."""
    (tmp_path / "flat").mkdir()
    for name in ("Carpet", "METAL Nut"):
        for image in (pictures / name).rglob("*.png"):
            shutil.copy(image, tmp_path / "flat" / f"{name.split()[0].lower()}_{image.name}")
    return tmp_path / "flat"


def runtime_call(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Outcome:
    code = runtime(list(map(str, arguments)))
    said = capsys.readouterr()
    return Outcome(code, said.out, said.err)


def rows_of(output: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((output / "predictions.csv").read_text(encoding="utf-8-sig").splitlines()))


def judged(output: Path) -> dict[str, list[str]]:
    """The names of the pictures that each part has judged."""
    return {
        lines.parent.name: sorted(Path(line["path"]).name for line in read_lines(lines.parent))
        for lines in sorted(output.glob("*/predictions.jsonl"))
    }


def test_each_sub_folder_is_judged_by_the_detector_of_its_name(parts: Path, pictures: Path, tmp_path: Path) -> None:
    outcome = call("predict", parts, pictures, "--output", tmp_path / "out", "--overlays")
    assert outcome.code == 0, outcome.errors
    assert judged(tmp_path / "out") == {
        "carpet": ["0.png", "1.png", "2.png", "3.png"],
        "metal_nut": ["0.png", "1.png", "2.png"],
    }
    assert re.search(r"^NOT JUDGED, as no part is called so: .*gear: .*--which", outcome.output, re.MULTILINE)
    assert re.search(
        r"^NOT JUDGED, as they are in no sub-folder of a part: .*loose.png: .*--which", outcome.output, re.M
    )
    alone = tmp_path / "alone"
    assert call("predict", parts / "metal_nut", pictures / "METAL Nut", "--output", alone).code == 0
    found = {line["path"]: line["raw"] for line in read_lines(tmp_path / "out" / "metal_nut")}
    assert found == pytest.approx({line["path"]: line["raw"] for line in read_lines(alone)}, rel=1e-4)
    rows = rows_of(tmp_path / "out")
    assert [row["part"] for row in rows] == ["carpet"] * 4 + ["metal nut"] * 3
    assert [row["decision"] for row in rows] == [
        line["decision"] for name in ("carpet", "metal_nut") for line in read_lines(tmp_path / "out" / name)
    ]
    for name in ("carpet", "metal_nut"):
        own = read_lines(tmp_path / "out" / name)
        anomalies = sum(line["decision"] == "anomaly" for line in own)
        threshold = f"{own[0]['threshold']:.4g}"
        line = rf"^{name.replace('_', ' ')} +{len(own)} +{anomalies} +0 +0 +{re.escape(threshold)}$"
        assert re.search(line, outcome.output, re.MULTILINE), outcome.output
        assert len(list((tmp_path / "out" / name / "overlays").iterdir())) == len(own)


def test_which_finds_the_part_by_the_pictures_and_says_how_surely(parts: Path, flat: Path, tmp_path: Path) -> None:
    (flat / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (60, 60), "navy").save(flat / "navy.png")
    outcome = call("predict", parts, flat, "--output", tmp_path / "out", "--which", "--fail-on-anomaly")
    assert outcome.code == 3
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 9
    for row in rows:
        name = Path(row["path"]).name
        if name == "broken.png":
            assert (row["part"], row["how_sure"], "not a picture" in row["error"]) == ("", "", True)
        elif name == "navy.png":
            assert row["how_sure"] == "unlike all parts"
            assert "1 whose part is unsure (unlike all parts)" in outcome.output
        else:
            assert row["part"].split()[0] == name.split("_")[0]
            assert row["how_sure"] == "sure"
            assert 0 < float(row["sureness"]) <= 1
    assert re.search(r"^\(no part\) +1 +0 +0 +1$", outcome.output, re.MULTILINE)
    line = read_lines(tmp_path / "out" / "carpet")[0]
    assert line["match"]["part"] == "carpet"
    _, records = read_predictions(tmp_path / "out" / "carpet")
    assert [record.match for record in records if record.match is None] == []


def test_exported_detectors_do_the_same_without_torch(
    parts: Path,
    exported: Path,
    pictures: Path,
    flat: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = tmp_path / "torch"
    assert call("predict", parts, flat, "--which", "--output", expected).code == 0
    runs: tuple[Callable[..., Outcome], ...] = (call, partial(runtime_call, capsys))
    for number, run in enumerate(runs):
        output = tmp_path / f"by_folder_{number}"
        outcome = run("predict", exported, pictures, "--output", output)
        assert outcome.code == 0, outcome.errors
        assert {name: len(own) for name, own in judged(output).items()} == {"carpet": 4, "metal_nut": 3}
        output = tmp_path / f"by_look_{number}"
        outcome = run("predict", exported, flat, "--which", "--output", output)
        assert outcome.code == 0, outcome.errors
        for own, other in zip(rows_of(output), rows_of(expected), strict=True):
            assert (own["path"], own["part"], own["decision"]) == (other["path"], other["part"], other["decision"])
            assert float(own["sureness"]) == pytest.approx(float(other["sureness"]), abs=1e-2)


def test_one_backbone_is_loaded_for_all(
    parts: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def load(settings: BackboneSettings, *given: Any, **more: Any) -> Backbone:
        loaded.append(settings.name)
        return load_backbone(settings, *given, **more)

    monkeypatch.setattr(registry, "load_backbone", load)
    assert call("predict", parts, pictures, "--output", tmp_path).code == 0
    assert loaded == ["tiny"]


def test_a_part_that_fails_does_not_lose_the_others(parts: Path, pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(parts, tmp_path / "parts")
    (tmp_path / "parts" / "metal_nut" / "detector.pt").write_bytes(b"no checkpoint")
    outcome = call("predict", tmp_path / "parts", pictures, "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "not all parts were judged" in outcome.errors
    assert "metal_nut" in outcome.errors
    assert "truncated or no checkpoint" in outcome.errors
    assert {row["part"] for row in rows_of(tmp_path / "out")} == {"carpet"}
    assert len(json.loads((tmp_path / "out" / "parts.json").read_text())["failures"]) == 1
    page = tmp_path / "page.html"
    assert call("report", "--predictions", tmp_path / "out", "--output", page).code == 0
    assert "truncated or no checkpoint" in page.read_text()


def test_an_exported_part_that_fails_does_not_lose_the_others(exported: Path, pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "parts")
    (tmp_path / "parts" / "metal_nut.onnx").write_bytes(b"no graph")
    outcome = call("predict", tmp_path / "parts", pictures, "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "metal_nut.onnx" in outcome.errors
    assert list(judged(tmp_path / "out")) == ["carpet"]


def test_what_is_left_out_is_named_and_nothing_at_all_is_a_mistake(parts: Path, pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures / "Carpet", tmp_path / "new" / "carpet")
    outcome = call("predict", parts, tmp_path / "new", "--output", tmp_path / "out")
    assert outcome.code == 0
    assert "no pictures of metal nut" in outcome.output
    to = ("--output", tmp_path / "none")
    assert_refused(call("predict", parts, pictures / "gear", *to), "is named as a part", "carpet, metal nut", "--which")
    assert_refused(call("predict", parts / "carpet", pictures, "--which", *to), "--which", "no folder of several")
    assert_refused(call("predict", parts, pictures, "--threshold", "3", *to), "--threshold 3", "one detector")
    assert not (tmp_path / "none").exists()


def test_two_parts_of_one_name_are_refused(parts: Path, pictures: Path, tmp_path: Path) -> None:
    for name in ("Carpet", "carpet"):
        shutil.copytree(parts / "carpet", tmp_path / "parts" / name)
    refused = call("predict", tmp_path / "parts", pictures, "--output", tmp_path / "out")
    assert_refused(refused, "would both be called", "rename one")


def test_predictions_of_one_and_of_many_parts_do_not_mix(parts: Path, pictures: Path, tmp_path: Path) -> None:
    assert call("predict", parts, pictures, "--output", tmp_path / "many").code == 0
    one = ("predict", parts / "carpet", pictures / "Carpet", "--output")
    assert_refused(call(*one, tmp_path / "many"), "holds the predictions of many parts", "choose another folder")
    assert call(*one, tmp_path / "one").code == 0
    refused = call("predict", parts, pictures, "--output", tmp_path / "one")
    assert_refused(refused, "holds the predictions of one detector", "choose another folder")


def test_the_report_of_many_parts_is_one_page(parts: Path, flat: Path, tmp_path: Path) -> None:
    assert call("predict", parts, flat, "--which", "--output", tmp_path / "out").code == 0
    outcome = call("report", "--predictions", tmp_path / "out", "--output", tmp_path / "page.html")
    assert outcome.code == 0, outcome.errors
    text = (tmp_path / "page.html").read_text()
    assert "2 parts" in text
    for number, name in enumerate(CLASSES, 1):
        assert f'<a href="#part-{number}">{name}</a>' in text
        assert f'<section id="part-{number}" aria-label="{name}">' in text
        assert f'id="part-{number}-gallery"' in text
    ids = re.findall(r'\bid="([^"]+)"', re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL))
    assert len(ids) == len(set(ids))
    assert text.count("<h1") == 1
    assert text.count("data:image/jpeg") == 2 * 7  # each picture and its map
    assert "too few to tell" in text
    (tmp_path / "out" / "parts.json").write_text("{}")
    refused = call("report", "--predictions", tmp_path / "out", "--output", tmp_path / "page.html")
    assert_refused(refused, "does not tell which parts")


def test_the_part_is_the_one_that_an_image_lacks_least_of() -> None:
    random = np.random.default_rng(1)
    for _ in range(50):
        lacks = random.uniform(0.1, 2, 4)
        match = match_of(list("abcd"), lacks)
        first, second = sorted(lacks)[:2]
        assert match.part == "abcd"[list(lacks).index(first)]
        assert match.sureness == pytest.approx(1 - first / second)
        assert match.is_like == (first <= 1)
        words = "unlike all parts" if first > 1 else "sure" if match.sureness >= 0.3 else None
        assert words is None or match.words == words
