"""Training from the command line on plain folders, published data sets, and images of every kind."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import (
    CHECKPOINT,
    CSV,
    LIGHTEST,
    TINY,
    assert_refused,
    call,
    only_row,
    read_checkpoint,
    train_folder,
    train_mvtec,
)
from PIL import Image

from promptad.models.registry import load_detector
from promptad.reports.gallery import render_test_item
from promptad.results.paths import ResultFolder
from promptad.results.scores import ScoredImage
from promptad.results.table import write_result
from promptad.structures import TestImage

pytestmark = pytest.mark.slow


def test_a_plain_folder_with_only_good_trains_and_reports_why_nothing_is_measured(
    bracket: Path, tmp_path: Path
) -> None:
    outcome = train_folder(bracket.parent, tmp_path / "result", "--class-name", "bracket")
    assert (outcome.code, outcome.errors) == (0, "")
    assert "no test split with good and defective pictures: nothing to measure on" in outcome.output
    folder = tmp_path / "result" / "folder" / "k_2"
    assert read_checkpoint(folder / CHECKPOINT.format("bracket"))["dataset"] == "folder"
    assert not (folder / CSV).exists()
    again = call(
        *("train-all", "--dataset", "folder", "--data-root", bracket, "--root-dir", tmp_path / "result"),
        *(*TINY, *LIGHTEST),
    )
    assert "bracket: finished before" in again.output


def test_a_plain_folder_of_one_class_takes_any_name_and_own_states(bracket: Path, tmp_path: Path) -> None:
    results = tmp_path / "result"
    states = ("--states", "with hole, with scratch", "--save-diagnostics", "True")
    outcome = train_folder(bracket, results, "--class-name", "metal bracket", *states)
    assert (outcome.code, outcome.errors) == (0, "")
    folder = results / "folder" / "k_2"
    checkpoint = read_checkpoint(folder / CHECKPOINT.format("metal bracket"))
    assert checkpoint["settings"]["prompts"]["states"] == ("with hole", "with scratch")
    diagnostics = json.loads((folder / "diagnostics" / "metal bracket_k2_diagnostics.json").read_text())
    assert diagnostics["total_images"] == 2 * 2  # views of support images


@pytest.mark.parametrize("has_masks", [True, False])
def test_a_plain_folder_is_measured_with_masks_or_without(
    bracket: Path, drawn: Path, tmp_path: Path, has_masks: bool
) -> None:
    for name in ("test", "ground_truth")[: 1 + has_masks]:
        shutil.copytree(drawn / "demo" / "carpet" / name, bracket / name)
    outcome = train_folder(bracket, tmp_path / "result", "--class-name", "carpet")
    assert (outcome.code, outcome.errors) == (0, "")
    row = only_row(tmp_path / "result" / "folder" / "k_2")
    assert row["test_images"] == "8"
    assert row["i_roc"] != ""
    assert bool(row["p_roc"]) == has_masks


def test_a_tree_of_own_parts_is_trained_part_by_part(bracket: Path, drawn: Path, tmp_path: Path) -> None:
    """`floor_tile` is measured; `bracket` has no test images, and `drawings` no good ones."""
    parts, results = bracket.parent, tmp_path / "result"
    shutil.copytree(drawn / "demo" / "grid" / "train" / "good", parts / "floor_tile" / "good")
    shutil.copytree(drawn / "demo" / "grid" / "test", parts / "floor_tile" / "test")
    (parts / "drawings").mkdir()
    where = ("--dataset", "folder", "--data-root", parts, "--root-dir", results, *TINY, *LIGHTEST)
    outcome = call("train-all", *where)
    assert (outcome.code, outcome.errors) == (0, "")
    assert "left out, for they hold no good/: drawings" in outcome.output
    assert "without test pictures, good and defective ones, and so not measured: bracket" in outcome.output
    folder = results / "folder" / "k_2"
    assert {read_checkpoint(folder / CHECKPOINT.format(n))["class_name"] for n in ("bracket", "floor_tile")} == {
        *("bracket", "floor_tile"),
    }
    assert only_row(folder)["class"] == "floor_tile"
    assert call("train", *where, "--class-name", "floor_tile").code == 0
    outcome = call("train", *where, "--class-name", "floor-tile")
    assert_refused(outcome, "floor-tile", "did you mean floor_tile?")
    page = tmp_path / "page.html"
    assert call("report", "--dataset", "folder", "--root-dir", results, "--output", page).code == 0
    assert "This class was trained but not measured" in page.read_text(encoding="utf-8")


def test_the_parts_of_a_tree_are_compared(tmp_path: Path) -> None:
    for system, memory in (("single-anchor", "yes"), ("multi-prototype", "no")):
        row: dict[str, object] = {
            "class": "floor_tile",
            "system": system,
            "memory": memory,
            "level": "image",
            "select": "last",
        }
        row |= {"dataset": "folder", "data": "d", "k": 2, "seed": 0, "backbone": "tiny", "weights": "w"}
        write_result(ResultFolder(tmp_path, "folder", 2, 0).csv, row | {"test_images": 8, "i_roc": 0.75})
    outcome = call("compare", "--dataset", "folder", "--root-dir", tmp_path)
    assert outcome.code == 0, outcome.errors
    assert "floor_tile" in outcome.output


@pytest.mark.parametrize("line", ["#2: 3 1", "003.png\n001.png", "# mine\ngood/003.png\n\ngood/001.png"])
def test_a_support_list_is_followed_in_its_order(bracket: Path, tmp_path: Path, line: str) -> None:
    (bracket / "list.txt").write_text(line)
    arguments = ("--class-name", "bracket", "--support-list", bracket / "list.txt")
    outcome = train_folder(bracket, tmp_path / "result", *arguments)
    assert (outcome.code, outcome.errors) == (0, "")
    checkpoint = read_checkpoint(tmp_path / "result" / "folder" / "k_2" / CHECKPOINT.format("bracket"))
    assert checkpoint["support_images"] == ["003.png", "001.png"]


def test_the_layout_of_mvtec_ad_trains(mvtec: Path, tmp_path: Path) -> None:
    outcome = train_mvtec(mvtec, tmp_path / "result")
    assert (outcome.code, outcome.errors) == (0, "")
    assert only_row(tmp_path / "result" / "mvtec" / "k_2")["test_images"] == "8"


def test_the_layout_of_visa_trains(drawn: Path, tmp_path: Path) -> None:
    carpet, visa = drawn / "demo" / "carpet", tmp_path / "visa"
    shutil.copytree(carpet, visa / "carpet")
    lines = ["object,split,label,image,mask"]
    lines += [f"carpet,train,normal,carpet/train/good/{number:03}.png," for number in range(4)]
    lines += [f"carpet,test,normal,carpet/test/good/{number:03}.png," for number in range(4)]
    for file in sorted((visa / "carpet" / "ground_truth").rglob("*.png")):
        defect = file.parent.name
        Image.fromarray((np.asarray(Image.open(file)) > 0).astype(np.uint8)).save(file)  # VisA counts kinds from 1
        image = f"carpet/test/{defect}/{file.stem.removesuffix('_mask')}.png"
        lines.append(f"carpet,test,anomaly,{image},carpet/ground_truth/{defect}/{file.name}")
    (visa / "split_csv").mkdir()
    (visa / "split_csv" / "1cls.csv").write_text("\n".join(lines) + "\n")
    outcome = call(
        *("train", "--dataset", "visa", "--data-root", tmp_path, "--class-name", "carpet"),
        *("--root-dir", tmp_path / "result", *TINY, *LIGHTEST),
    )
    assert (outcome.code, outcome.errors) == (0, "")
    row = only_row(tmp_path / "result" / "visa" / "k_2")
    assert row["test_images"] == "8"
    assert float(row["p_roc"]) > 50


def test_the_layout_of_mvtec_ad_2_trains_and_tests(mvtec: Path, tmp_path: Path) -> None:
    can = tmp_path / "data" / "mvtec2" / "can"
    shutil.copytree(mvtec / "train", can / "train")
    shutil.copytree(mvtec / "test" / "good", can / "test_public" / "good")
    for unread in ("validation/good", "test_private", "test_private_mixed"):
        (can / unread).mkdir(parents=True)
        (can / unread / "000_regular.png").write_bytes(b"not to be read")
    for kind in ("test", "ground_truth"):
        bad = can / "test_public" / kind.removeprefix("test") / "bad"
        bad.mkdir(parents=True)
        for file in sorted((mvtec / kind).glob("[!g]*/*.png")):
            shutil.copy(file, bad / f"{file.parent.name}_{file.name}")
    where = ("--dataset", "mvtec2", "--data-root", tmp_path / "data", "--root-dir", tmp_path / "result")
    outcome = call("train-all", *where, *TINY, *LIGHTEST)
    assert (outcome.code, outcome.errors) == (0, "")
    row = only_row(tmp_path / "result" / "mvtec2" / "k_2")
    assert (row["class"], row["test_images"]) == ("can", "8")
    assert float(row["p_roc"]) > 50
    outcome = call("train", *(word if word != "mvtec2" else "folder" for word in where), "--class-name", "can")
    assert_refused(outcome, "no class of data set folder")
    outcome = call("train", "--dataset", "folder", "--data-root", can, "--class-name", "can", *TINY, *LIGHTEST)
    assert_refused(outcome, f"read it by --dataset mvtec2 --data-root {can}")


def test_the_layout_of_mvtec_loco_ad_trains_tests_and_is_reported(mvtec: Path, tmp_path: Path) -> None:
    """Each mask of a carpet in two halves gives the numbers of the whole masks."""
    carpet, results = tmp_path / "data" / "loco" / "carpet", tmp_path / "result"
    for split in ("train", "test/good"):
        shutil.copytree(mvtec / split, carpet / split)
    kinds = sorted(folder.name for folder in (mvtec / "ground_truth").iterdir())
    for kind, anomaly in zip(kinds, ("logical_anomalies", "structural_anomalies"), strict=True):
        shutil.copytree(mvtec / "test" / kind, carpet / "test" / anomaly)
        for file in sorted((mvtec / "ground_truth" / kind).iterdir()):
            folder = carpet / "ground_truth" / anomaly / file.stem.removesuffix("_mask")
            folder.mkdir(parents=True)
            marked = np.asarray(Image.open(file)) > 0
            left = np.arange(marked.shape[1]) < np.nonzero(marked)[1].mean()
            for number, half in enumerate((marked & left, marked & ~left)):
                Image.fromarray((half * (255 - number)).astype(np.uint8)).save(folder / f"00{number}.png")
    where = ("--dataset", "loco", "--data-root", tmp_path / "data", "--root-dir", results)
    outcome = call("train", *where, "--class-name", "carpet", *TINY, *LIGHTEST)
    assert (outcome.code, outcome.errors) == (0, "")
    row = only_row(results / "loco" / "k_2")
    assert train_mvtec(mvtec, results).code == 0
    whole = only_row(results / "mvtec" / "k_2")
    assert (row["test_images"], row["i_roc"]) == (whole["test_images"], whole["i_roc"])
    assert float(row["p_roc"]) == pytest.approx(float(whole["p_roc"]), abs=0.5)

    outcome = call("test", *where, "--class-name", "carpet")
    assert (outcome.code, outcome.errors) == (0, "")
    assert only_row(results / "loco" / "k_2")["p_roc"] == row["p_roc"]
    page = tmp_path / "page.html"
    outcome = call("report", "--dataset", "loco", "--root-dir", results, "--output", page)
    assert (outcome.code, outcome.errors) == (0, "")
    detector = load_detector(results / "loco" / "k_2" / CHECKPOINT.format("carpet"), torch.device("cpu"))
    image, masks = (carpet / name / "logical_anomalies" for name in ("test", "ground_truth"))
    outlined, plain = (
        render_test_item(detector, ScoredImage(TestImage(image / "000.png", "logical_anomalies", mask), 0.5, 0.5)).image
        for mask in (masks / "000", None)
    )
    assert outlined.startswith("data:image/jpeg")
    assert outlined != plain
    refused = call("train", "--dataset", "mvtec", "--data-root", carpet.parent, "--class-name", "carpet", *TINY)
    assert_refused(refused, f"has the layout of loco: read it by --dataset loco --data-root {carpet.parent}")


def test_images_of_every_kind_are_read(mvtec: Path, tmp_path: Path) -> None:
    for folder in (mvtec / "train" / "good", mvtec / "test" / "good"):
        deep, grey, clear, printed = sorted(folder.iterdir())
        levels = np.asarray(Image.open(deep).convert("L")).astype(np.uint16) * 257
        Image.fromarray(levels).save(deep)
        Image.open(grey).convert("L").save(grey)
        Image.open(clear).convert("RGBA").save(clear)
        Image.open(printed).convert("CMYK").save(printed.with_suffix(".jpg"))
        printed.unlink()
        assert Image.open(deep).mode == "I;16"
    outcome = train_mvtec(mvtec, tmp_path / "result", "--k-shot", "4")
    assert (outcome.code, outcome.errors) == (0, "")
    assert only_row(tmp_path / "result" / "mvtec" / "k_4")["test_images"] == "8"


def test_a_camera_of_10_bits_is_known_by_its_support_images(mvtec: Path, tmp_path: Path) -> None:
    def measured(result: Path, *more: str) -> tuple[str, str]:
        outcome = train_mvtec(mvtec, result, *more)
        assert (outcome.code, outcome.errors) == (0, "")
        row = only_row(result / "mvtec" / "k_2")
        return outcome.output, row["i_roc"]

    images = [*mvtec.glob("train/good/*.png"), *mvtec.glob("test/*/*.png")]
    for image in images:
        Image.open(image).convert("L").save(image)
    _, plain = measured(tmp_path / "plain")
    for image in images:
        levels = np.asarray(Image.open(image)).astype(np.uint16)
        Image.fromarray(levels * 4 + 3).save(image)
    output, deep = measured(tmp_path / "deep")
    assert "16-bit pictures are read as of 10 bits, white being 1023" in output
    assert deep == plain

    checkpoint = tmp_path / "deep" / "mvtec" / "k_2" / CHECKPOINT.format("carpet")
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)).save(tmp_path / "12_bits.png")
    outcome = call(
        "predict", checkpoint, tmp_path / "12_bits.png", *mvtec.glob("test/good"), "--output", tmp_path / "p"
    )
    assert "brighter than --bit-depth 10 allows: its pixels go up to 4095" in outcome.output
    assert "1 unreadable" in outcome.output
    output, _ = measured(tmp_path / "told", "--bit-depth", "12")
    assert "white being 4095" in output


def test_a_part_in_a_data_sets_layout_given_as_good_learns_from_its_good_images_alone(
    mvtec: Path, tmp_path: Path
) -> None:
    outcome = call("train", "--good", mvtec, "--name", "rug", "--root-dir", tmp_path / "result", *TINY, *LIGHTEST)
    assert outcome.code == 0, outcome.errors
    assert "learning from 4 of 4 pictures" in outcome.output
    shutil.rmtree(mvtec / "train")
    refused = call("train", "--good", mvtec, "--name", "rug", "--root-dir", tmp_path / "result", *TINY, *LIGHTEST)
    assert_refused(refused, "--good", "holds test/")
