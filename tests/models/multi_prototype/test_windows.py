"""Detectors of tiled pictures, and of regions: from fit to prediction, export and saving."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from exported import MEMORY, PLAIN, carpet
from helpers import refusal
from PIL import Image

from promptad import PromptAD, Settings
from promptad.errors import InputError
from promptad.features import ImageFeatures, SupportFeatures
from promptad.models.memory_bank import leave_one_out_mask
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.runtime.session import Session
from promptad.settings import PictureSettings

REGION = (20, 10, 84, 100)
KINDS = {"plain": PLAIN, "memory": MEMORY}


def long_carpet(number: int, defect: str | None = None) -> Image.Image:
    """A carpet of 104 x 240 pixels."""
    whole = Image.new("RGB", (104, 240))
    for place, own in enumerate((None, defect)):
        whole.paste(carpet(number, own).resize((104, 120)), (0, 120 * place))
    return whole


@cache
def tiled(kind: str, shots: int = 2) -> PromptAD:
    settings = replace(KINDS[kind], picture=PictureSettings(tiles=(2, 1)))
    return PromptAD("carpet", settings=settings).fit([long_carpet(20 + number) for number in range(shots)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shots", [1, 2])
def test_the_most_anomalous_tile_decides(kind: str, shots: int) -> None:
    estimator = tiled(kind, shots)
    pictures = [long_carpet(1), long_carpet(2, "hole")]
    found = estimator.predict(pictures)
    assert found.anomaly_map.shape == (2, 46, 24)  # two maps of 24 that share a tenth
    detector = estimator.detector
    for row, picture in enumerate(pictures):
        features = detector.encode([picture])
        assert len(features.class_token) == 2
        of_tiles = detector.raw_scores(detector.score(detector.add_memory_distances(features)))
        assert found.raw_score[row] == pytest.approx(float(of_tiles.max()), abs=1e-3)
    np.testing.assert_allclose(estimator.score_samples(pictures), -found.raw_score, atol=1e-4)
    assert found.anomaly_map[1, 24:].max() == found.anomaly_map[1].max()  # the hole is in the lower half


@pytest.mark.parametrize("kind", KINDS)
def test_thresholds_are_of_the_highest_tile(kind: str) -> None:
    whole = PromptAD("carpet", settings=KINDS[kind]).fit([long_carpet(20), long_carpet(21)])
    detector = tiled(kind).detector
    assert isinstance(detector, MultiPrototypeDetector)
    scores = detector.normal_scores
    assert scores is not None
    assert len(scores.left_out_scores) == 2
    assert len(tiled(kind).detector.metadata.by_rate) == len(whole.detector.metadata.by_rate)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_and_an_exported_one_decide_alike(kind: str, tmp_path: Path) -> None:
    estimator, pictures = tiled(kind), [long_carpet(3), long_carpet(4, "hole")]
    expected = estimator.predict(pictures)
    estimator.save(tmp_path / "it.pt")
    again = PromptAD.load(tmp_path / "it.pt")
    assert again.settings_.picture == estimator.detector.settings.picture
    np.testing.assert_allclose(again.predict(pictures).score, expected.score, atol=1e-6)
    estimator.export(tmp_path / "it.onnx")
    found = Session(tmp_path / "it.onnx").predict(pictures)
    np.testing.assert_allclose(found.score, expected.score, atol=1e-4)
    np.testing.assert_allclose(found.anomaly_map, expected.anomaly_map, atol=1e-3)
    assert found.label == expected.label
    assert found.explanations[1].nearest_states == expected.explanations[1].nearest_states


def test_auto_is_decided_by_the_first_picture_and_kept() -> None:
    settings = replace(PLAIN, picture=PictureSettings(tiles=None))
    estimator = PromptAD("carpet", settings=settings).fit([long_carpet(20)])
    assert estimator.detector.settings.picture.tiles == (2, 1)
    auto = PromptAD("carpet", settings=PLAIN, tiles="auto").fit([long_carpet(20)])
    assert auto.settings_.picture.tiles == (2, 1)
    assert "'auto'" in refusal(PromptAD, "carpet", tiles="some")


def test_views_of_one_image_are_compared_with_its_other_tiles_and_the_unlike_of_their_own() -> None:
    layers = (torch.nn.functional.normalize(torch.randn(8, 3, 5, generator=torch.Generator().manual_seed(0)), dim=-1),)
    views = ImageFeatures(torch.zeros(8, 2), torch.zeros(8, 3, 2), layers)
    mask = leave_one_out_mask(SupportFeatures(views, is_only_image=True, tiles=2), 4)
    assert mask[:4, 4:].all()
    assert mask[4:, :4].all()
    assert mask[:4, :4].sum(1).tolist() == [2] * 4
    assert not mask.diagonal().any()
    two = leave_one_out_mask(SupportFeatures(views, tiles=2), 2)
    assert two.int().tolist() == [[0] * 4 + [1] * 4] * 4 + [[1] * 4 + [0] * 4] * 4


def test_of_many_tiles_some_views_are_learned_from_and_some_patches_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptad.models.support.MOST_LEARNED", 5)
    monkeypatch.setattr("promptad.features.MOST_ROWS", 100)
    settings = replace(MEMORY, picture=PictureSettings(tiles=(2, 1)))
    estimator = PromptAD("carpet", settings=settings).fit([long_carpet(20), long_carpet(21)])
    detector = estimator.detector
    assert isinstance(detector, MultiPrototypeDetector)
    assert detector.head.memory is not None
    rows = len(detector.head.memory.bank.layers[0])
    assert rows == 16 * 6  # 8 views and as many far ones, of whose 36 patches 6 are kept
    score = estimator.predict([long_carpet(1), long_carpet(2, "hole")]).score
    assert score[1] > score[0]


def test_the_patches_that_are_kept_are_the_same_in_all_views_of_a_tile() -> None:
    patches = torch.arange(10.0).expand(8, 10)[..., None]
    features = ImageFeatures(torch.zeros(8, 2), torch.zeros(8, 10, 2), (patches,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("promptad.features.MOST_ROWS", 24)
        (kept,) = SupportFeatures(features, tiles=2).banked.layers
        assert torch.equal(SupportFeatures(features).banked.layers[0], patches)
    assert kept.shape == (8, 3, 1)
    of_views = kept.view(4, 2, 3)
    assert torch.equal(of_views[:, 0], of_views[:, 1])
    assert len({tuple(own) for own in of_views[:, 0].tolist()}) > 1


def within(number: int, around: int, defect: str | None = None) -> Image.Image:
    """A carpet with something else around it, which `around` decides."""
    noise = np.random.default_rng(around).integers(0, 256, (120, 110, 3), np.uint8)
    whole = Image.fromarray(noise)
    inside = carpet(number, defect).resize((64, 90))
    whole.paste(inside, REGION[:2])
    return whole


@cache
def regional(kind: str) -> PromptAD:
    return PromptAD("carpet", settings=KINDS[kind], region=REGION).fit([within(20, 0), within(21, 1)])


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_outside_the_region_changes_anything(kind: str) -> None:
    estimator = regional(kind)
    found = estimator.predict([within(1, 5, "hole"), within(1, 6, "hole")])
    assert found.score[0] == found.score[1]
    np.testing.assert_array_equal(found.anomaly_map[0], found.anomaly_map[1])
    other = PromptAD("carpet", settings=KINDS[kind], region=REGION).fit([within(20, 8), within(21, 9)])
    np.testing.assert_array_equal(other.predict([within(1, 5, "hole")]).score, found.score[:1])
    assert other.detector.metadata.threshold == estimator.detector.metadata.threshold


def test_the_map_lies_where_the_region_is_and_is_empty_where_nothing_counts() -> None:
    estimator = PromptAD("carpet", settings=PLAIN, region=REGION, ignore=(20, 10, 52, 100))
    estimator.fit([within(20, 0), within(21, 1)])
    found = estimator.predict([within(1, 5, "hole")])
    left, top, right, bottom = found.frame.on(110, 120)
    assert (left, top, right, bottom) == pytest.approx((52, 10, 84, 100))
    ragged = PromptAD("carpet", settings=PLAIN, region=[(20, 10, 84, 50), (20, 10, 52, 100)])
    ragged.fit([within(20, 0), within(21, 1)])
    found = ragged.predict([within(1, 5, "hole")])
    assert found.frame.on(110, 120) == pytest.approx((20, 10, 84, 100))
    assert not found.anomaly_map[0, 12:, 12:].any()
    assert found.anomaly_map[0, :10].min() > 0
    assert found.plot().axes


def test_a_picture_of_another_size_and_a_region_that_was_not_learned_are_refused(tmp_path: Path) -> None:
    estimator = regional("plain")
    assert "the picture has 64 x 90 pixels, and the region is of pictures of 110 x 120" in refusal(
        estimator.predict, [carpet(1).resize((64, 90))]
    )
    plain = PromptAD("carpet", settings=PLAIN).fit([within(20, 0)])
    assert "learned from whole pictures" in refusal(plain.predict, [within(1, 1)], region=REGION)
    assert "give a mask" in refusal(estimator.predict, [within(1, 1)], region=tmp_path)
    moved = estimator.predict([within(1, 5)], region=(10, 10, 74, 100))
    assert moved.frame.left == pytest.approx(10 / 110)


def test_a_region_for_each_picture_is_found_by_its_name(tmp_path: Path) -> None:
    masks, pictures = tmp_path / "masks", []
    masks.mkdir()
    for number in range(4):
        picture = within(number, number, "hole" if number == 3 else None)
        picture.save(tmp_path / f"{number}.png")
        pictures.append(tmp_path / f"{number}.png")
        mask = Image.new("L", picture.size)
        mask.paste(255, REGION)
        mask.save(masks / f"{number}.png")
    estimator = PromptAD("carpet", settings=PLAIN, region=masks).fit(pictures[:2])
    found = estimator.predict(pictures[2:])
    estimator.save(tmp_path / "it.pt")
    again = PromptAD.load(tmp_path / "it.pt")
    np.testing.assert_allclose(again.predict(pictures[2:], region=masks).score, found.score, atol=1e-6)
    assert "give the folder of masks by `region`" in refusal(again.predict, pictures[2:])
    assert again.confirm(defect=pictures[3:], region=masks).predict(pictures[3:], region=masks).label == ("anomaly",)
    assert "region each" in refusal(estimator.export, tmp_path / "it.onnx", precision="int8", good=pictures[:2])
    assert "give paths of pictures" in refusal(again.predict, [within(1, 1)], region=masks)
    inside = np.zeros((120, 110), bool)
    inside[REGION[1] : REGION[3], REGION[0] : REGION[2]] = True
    shown = np.array(Image.fromarray(inside).resize((24, 24), Image.Resampling.NEAREST))
    assert not found.anomaly_map[:, ~shown].any()
    assert found.anomaly_map[:, shown].all()
    changed = np.asarray(Image.open(pictures[3])).copy()
    changed[:10] = 0
    Image.fromarray(changed).save(pictures[3])
    np.testing.assert_array_equal(estimator.predict(pictures[2:]).score, found.score)


def test_settings_that_do_not_go_with_tiles_are_refused() -> None:
    tiles = PictureSettings(tiles=(2, 1))
    assert "`crop` 16" in refusal(Settings, picture=tiles, backbone=replace(PLAIN.backbone, crop=16))
    position = replace(PLAIN.scoring, calibration="position")
    assert "`calibration` position" in refusal(Settings, picture=tiles, scoring=position)
    assert "`overlap` 0.6" in refusal(PictureSettings, overlap=0.6)
    assert "at most 1024 tiles" in refusal(PictureSettings, tiles=(100, 100))


@pytest.mark.parametrize("kind", KINDS)
def test_verdicts_on_tiled_pictures_are_of_whole_pictures(kind: str, tmp_path: Path) -> None:
    estimator = tiled(kind)
    estimator.save(tmp_path / "before.pt")
    taught = PromptAD.load(tmp_path / "before.pt")
    good, holes = [long_carpet(30), long_carpet(31)], [long_carpet(40, "hole"), long_carpet(41, "hole")]
    taught.confirm(good, holes)
    found = taught.predict(holes)
    assert set(found.label) == {"anomaly"}
    assert found.anomaly_map[0, 24:].max() > 0.5  # the hole is in the lower half
    detector = taught.detector
    assert isinstance(detector, MultiPrototypeDetector)
    assert detector.taught is not None
    assert detector.taught.tiles == 2
    assert detector.normal_scores is not None
    assert len(detector.normal_scores.confirmed_scores.good) == 2
    assert len(detector.normal_scores.confirmed_scores.defective) == 2
    taught.save(tmp_path / "taught.pt")
    again = PromptAD.load(tmp_path / "taught.pt").predict(holes)
    np.testing.assert_allclose(again.score, found.score, atol=1e-6)
    assert again.label == found.label
    plain = taught.undo("all").predict(good).score
    np.testing.assert_array_equal(plain, PromptAD.load(tmp_path / "before.pt").predict(good).score)
    with pytest.raises(InputError, match="learned from"):
        taught.confirm(defect=[long_carpet(20)])
