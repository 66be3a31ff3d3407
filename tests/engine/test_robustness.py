"""What is counted on disturbed test images."""

from pathlib import Path

import numpy as np
import pytest
from helpers import refusal
from PIL import Image

from promptad.backbones.clip import Backbone
from promptad.data.corruptions import Corruption
from promptad.data.reading import Reading
from promptad.engine.robustness import error_rates
from promptad.evaluation.evaluator import TestSplit, read_test_split
from promptad.structures import Prediction, TestImage

SIDE = 96


@pytest.fixture
def images(tmp_path: Path) -> list[TestImage]:
    """A good picture, and one with a bright defect at the left edge."""
    for name, box in (("good", (0, 0, 0, 0)), ("bad", (0, 40, 6, 50))):
        picture, mask = Image.new("RGB", (SIDE, SIDE), (60, 60, 60)), Image.new("L", (SIDE, SIDE))
        picture.paste((250, 250, 250), box)
        mask.paste(255, box)
        picture.save(tmp_path / f"{name}.png")
        mask.save(tmp_path / f"{name}_mask.png")
    return [
        TestImage(tmp_path / "good.png", "good", None),
        TestImage(tmp_path / "bad.png", "spot", tmp_path / "bad_mask.png"),
    ]


def split_of(tiny: Backbone, images: list[TestImage], corruption: Corruption | None) -> TestSplit:
    return read_test_split(tiny, images, SIDE, 2, Reading(corruption=corruption))


def prediction_of(threshold: float | None, unsure: float | None, *raw: float) -> Prediction:
    scores = np.array(raw)
    return Prediction(scores, np.zeros((len(raw), 1, 1), np.float32), scores, threshold, unsure)


def test_shares_are_of_good_and_of_defective_pictures() -> None:
    labels = np.array([False, False, False, False, True, True])
    found = error_rates(prediction_of(2.0, None, 1.0, 2.0, 2.1, float("nan"), 3.0, 2.0), labels)
    assert found == {"false_alarms": 0.5, "misses": 0.5}


def test_what_is_left_to_people_is_not_rejected() -> None:
    labels = np.array([False, False, True, True])
    found = error_rates(prediction_of(2.0, 1.0, 1.5, 2.5, 1.5, 2.5), labels)
    assert found == {"false_alarms": 0.5, "misses": 0.5}


def test_without_a_threshold_there_are_no_shares() -> None:
    assert error_rates(prediction_of(None, None, 1.0), np.array([True])) == {"false_alarms": None, "misses": None}


def test_a_disturbed_split_has_other_features_and_the_same_images(tiny: Backbone, images: list[TestImage]) -> None:
    clean, blurred = split_of(tiny, images, None), split_of(tiny, images, Corruption("blur", 3))
    assert clean.masks is not None
    assert blurred.masks is not None
    np.testing.assert_array_equal(clean.masks, blurred.masks)
    assert clean.sha256 == blurred.sha256
    assert not np.allclose(clean.features.class_token[1], blurred.features.class_token[1], atol=1e-4)


def test_the_masks_of_a_split_move(tiny: Backbone, images: list[TestImage], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptad.data.corruptions._offset", lambda *_: (20, -7))
    clean, moved = split_of(tiny, images, None), split_of(tiny, images, Corruption("shift", 1))
    assert clean.masks is not None
    assert moved.masks is not None
    np.testing.assert_array_equal(moved.masks[1], np.roll(clean.masks[1], (-7, 20), (0, 1)))


def test_pixels_are_not_measured_where_all_defects_have_moved_out_of_sight(
    tiny: Backbone, images: list[TestImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptad.data.corruptions._offset", lambda *_: (-10, 0))
    moved = split_of(tiny, images, Corruption("shift", 1))
    assert moved.masks is None
    assert moved.labels.tolist() == [False, True]
    assert moved.notes() == []


def test_clean_masks_that_are_all_black_are_refused(tiny: Backbone, images: list[TestImage]) -> None:
    Image.new("L", (SIDE, SIDE)).save(images[1].path.with_name("bad_mask.png"))
    assert refusal(split_of, tiny, images, None).startswith("all masks are black, such as ")
