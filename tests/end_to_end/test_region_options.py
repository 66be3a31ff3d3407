"""Regions and tiles on the command line: train, predict, watch, report, test."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import LIGHTEST, TINY, Outcome, assert_refused, call, read_lines
from PIL import Image

from promptad.data.demo import draw_image

BOX = (30, 20, 94, 84)


def draw(path: Path, number: int, defect: str | None = None) -> Path:
    """Draw a carpet of 64 pixels a side in a picture of 120 x 90, whose surroundings are never the same."""
    noise = np.random.default_rng(number).integers(0, 256, (90, 120, 3), np.uint8)
    whole = Image.fromarray(noise)
    inside, _ = draw_image("carpet", style_seed=7, instance_seed=number % 100, defect=defect)
    whole.paste(Image.fromarray(inside).resize((64, 64)), BOX[:2])
    path.parent.mkdir(exist_ok=True)
    whole.save(path)
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    for number in range(2):
        draw(tmp_path / "good" / f"{number}.png", number)
    return tmp_path / "good"


@pytest.fixture
def new(tmp_path: Path) -> Path:
    draw(tmp_path / "new" / "a.png", 5)
    draw(tmp_path / "new" / "b.png", 105)  # the same with other surroundings
    Image.new("RGB", (50, 50)).save(tmp_path / "new" / "c.png")
    return tmp_path / "new"


def train(good: Path, *more: str | Path) -> Outcome:
    return call("train", "--good", good, "--name", "c", "--root-dir", good.parent / "result", *TINY, *LIGHTEST, *more)


def test_a_region_is_learned_and_used_by_all_commands(good: Path, new: Path, tmp_path: Path) -> None:
    trained = train(good, "--region", ",".join(map(str, BOX)), "--ignore", "30,20,40,84")
    assert trained.code == 0, trained.errors
    part, output = tmp_path / "result/c", tmp_path / "out"
    judged = call("predict", part, new, "--output", output, "--overlays")
    assert judged.code == 0, judged.errors
    first, second, other = read_lines(output)
    assert first["raw"] == second["raw"]
    assert "has 50 x 50 pixels, and the region is of pictures of 120 x 90: give pictures of that size" in other["error"]
    assert all(region["left"] >= 40 and region["right"] <= 94 for line in (first, second) for region in line["regions"])
    drawn = np.asarray(Image.open(first["overlay"]).convert("RGB")).astype(int)
    assert drawn.std() > 0
    page = tmp_path / "report.html"
    assert call("report", "--predictions", output, "--output", page).code == 0
    text = page.read_text()
    assert "only its region counts: 32 % of 120 x 90 pixels count" in text
    assert json.loads((output / "run.json").read_text())["settings"]["picture"]["region"] not in text
    moved = call("predict", part, new, "--output", tmp_path / "moved", "--region", "29,20,93,84")
    assert moved.code == 0, moved.errors
    assert read_lines(tmp_path / "moved")[0]["raw"] != first["raw"]
    watched = call("watch", part, new, "--output", tmp_path / "watched", "--once", "--give-up", "0", "--settle", "0")
    assert watched.code == 0, watched.errors
    assert read_lines(tmp_path / "watched")[0]["raw"] == pytest.approx(first["raw"], abs=1e-5)
    exported = call("export", part, "--output", tmp_path / "c.onnx")
    assert exported.code == 0, exported.errors
    again = call("predict", tmp_path / "c.onnx", new, "--output", tmp_path / "exported")
    assert again.code == 0, again.errors
    assert read_lines(tmp_path / "exported")[1]["raw"] == pytest.approx(first["raw"], abs=1e-3)


def test_a_region_in_which_nothing_can_be_seen_is_told(good: Path) -> None:
    assert "only 2 x 3 pixels are looked at together" in train(good, "--region", "10,10,12,13").output


def test_masks_of_their_own_are_given_again_when_pictures_are_judged(good: Path, new: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in ("0", "1", "a", "b"):
        mask = Image.new("L", (120, 90))
        mask.paste(255, BOX)
        mask.save(masks / f"{name}.png")
    assert train(good, "--region", masks).code == 0
    part, output = tmp_path / "result/c", tmp_path / "out"
    assert_refused(call("predict", part, new), "give the folder of masks by --region")
    assert call("predict", part, new, "--output", output, "--region", masks, "--overlays").code == 0
    first, second, other = read_lines(output)
    assert first["raw"] == second["raw"]
    assert "put a mask c.png there" in other["error"]
    page = tmp_path / "report.html"
    assert call("report", "--predictions", output, "--output", page).code == 0
    assert "a mask of its own for each picture" in page.read_text()
    assert "data:image/jpeg" in page.read_text()


def test_tiles_are_told_and_counted(good: Path, new: Path, tmp_path: Path) -> None:
    trained = train(good, "--tiles", "1x2", "--overlap", "0.25")
    assert "cut into 1 x 2 tiles of 69 x 90 pixels" in trained.output
    output = tmp_path / "out"
    judged = call("predict", tmp_path / "result/c", new, "--output", output, "--batch-size", "1")
    assert judged.code == 0, judged.errors
    assert [line["path"] for line in read_lines(output)] == [str(new / f"{name}.png") for name in "abc"]
    page = tmp_path / "report.html"
    assert call("report", "--predictions", output, "--output", page).code == 0
    assert "1 \u00d7 2 tiles" in page.read_text()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--region", "0,0,300,20"), "--region 0,0,300,20: give left,top,right,bottom in pixels"),
        (("--region", "1,2,3"), "--region 1,2,3: give left,top,right,bottom in pixels"),
        (("--ignore", "none.png"), "--ignore none.png: there is no such file"),
        (("--tiles", "2"), "invalid tiles value: '2'; --help says what it takes"),
        (("--tiles", "0x2"), "--tiles 0x2: give rows x columns, both at least 1"),
        (("--tiles", "2x2", "--overlap", "1"), "--overlap 1.0: must be from 0 to 0.5"),
        (("--tiles", "20x20", "--resolution", "256"), "lower it to 204"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_no_folder(good: Path, options: tuple[str, ...], complaint: str) -> None:
    assert_refused(train(good, *options), complaint)
    assert not (good.parent / "result").exists()


def test_a_test_split_is_measured_within_the_region_and_over_all_tiles(mvtec: Path, tmp_path: Path) -> None:
    size = Image.open(next((mvtec / "train/good").iterdir())).size
    box = f"0,0,{size[0]},{size[1] // 2}"
    trained = call(
        *("train", "--class-name", "carpet", "--data-root", mvtec.parent.parent, "--root-dir", tmp_path / "r"),
        *(*TINY, *LIGHTEST, "--region", box, "--tiles", "1x2", "--vis"),
    )
    assert trained.code == 0, trained.errors
    assert "I-AUROC" in trained.output
    again = call(
        *("test", "--class-name", "carpet", "--data-root", mvtec.parent.parent, "--root-dir", tmp_path / "r"), *TINY
    )
    assert again.code == 0, again.errors
    lines = [line for line in (*trained.output.splitlines(), *again.output.splitlines()) if "I-AUROC" in line]
    assert lines[0] == lines[1]
