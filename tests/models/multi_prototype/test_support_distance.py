"""How far images are from the support images, against a reference written with loops; it is kept everywhere."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exported import carpets, trained
from torch import Tensor

from promptad import PromptAD
from promptad.features import ImageFeatures, SupportFeatures
from promptad.models.multi_prototype.detector import LOOK_KEY, MultiPrototypeDetector
from promptad.models.multi_prototype.support_distance import LEAST_LIMIT, SupportDistance
from promptad.models.registry import recalibrated
from promptad.models.support import encode_support
from promptad.runtime.session import Session

VIEWS, WIDTH = 3, 8


def make_images(count: int, seed: int) -> ImageFeatures:
    generator = torch.Generator().manual_seed(seed)
    tokens = F.normalize(torch.randn(count, WIDTH, generator=generator) + 2, dim=-1)
    return ImageFeatures(tokens, tokens[:, None])


def distance(token: Tensor, others: list[Tensor]) -> float:
    mean = sum(others, torch.zeros(WIDTH)) / len(others)
    return 1 - float(token @ mean) / float(mean.norm())


@pytest.mark.parametrize("count", [1, 3])
def test_the_limit_is_the_farthest_that_is_known_of_any_view(count: int) -> None:
    views, far = make_images(count * VIEWS, 1), make_images(count * VIEWS, 2)
    found = SupportDistance.fit(SupportFeatures(views, far, is_only_image=count == 1), VIEWS)
    every = list(views.class_token)
    known = [distance(token, every) for token in (*every, *(far.class_token if count == 1 else ()))]
    for number, token in enumerate(every):
        others = [other for own, other in enumerate(every) if own // VIEWS != number // VIEWS]
        known += [distance(token, others)] if others else []
    assert float(found.limit) == pytest.approx(max(known), rel=1e-5)
    new = make_images(2, 4).class_token
    expected = [distance(token, every) / float(found.limit) for token in new]
    assert found.of(new).tolist() == pytest.approx(expected, rel=1e-5)


def test_images_of_one_colour_have_a_limit_too() -> None:
    alike = ImageFeatures(torch.ones(VIEWS, 1), torch.ones(VIEWS, 1, 1))
    assert float(SupportDistance.fit(SupportFeatures(alike), VIEWS).limit) == pytest.approx(LEAST_LIMIT)


def test_checkpoint_folder_and_export_give_the_same_distance_and_looks(tmp_path: Path) -> None:
    detector = trained("multi-prototype+memory")
    detector.save(tmp_path / "one.pt")
    detector.save_pretrained(tmp_path / "folder")
    detector.export(tmp_path / "one.onnx")
    expected = distances_of(detector)
    assert max(expected) > 1 > min(expected)  # every third image has a hole
    for again in (PromptAD.load(tmp_path / "one.pt"), PromptAD.from_pretrained(tmp_path / "folder")):
        assert distances_of(again) == expected
        assert again.detector.metadata.looks == detector.detector.metadata.looks
    session = Session(tmp_path / "one.onnx")
    np.testing.assert_allclose(distances_of(session), expected, atol=1e-4)
    assert session.metadata.looks == detector.detector.metadata.looks
    assert len(session.metadata.looks) == 2


def test_a_checkpoint_of_before_says_nothing_of_distance(tmp_path: Path) -> None:
    trained("multi-prototype").save(tmp_path / "new.pt")
    content = torch.load(tmp_path / "new.pt", weights_only=True)
    del content[LOOK_KEY]
    torch.save(content, tmp_path / "old.pt")
    old = PromptAD.load(tmp_path / "old.pt")
    assert {explanation.distance for explanation in old.predict(list(carpets())).explanations} == {None}
    assert old.detector.metadata.looks == ()
    old.export(tmp_path / "old.onnx")
    assert {one.distance for one in Session(tmp_path / "old.onnx").predict(list(carpets())).explanations} == {None}
    old.save(tmp_path / "again.pt")
    assert LOOK_KEY not in torch.load(tmp_path / "again.pt", weights_only=True)


def test_it_is_found_anew_on_other_features_of_the_support_images() -> None:
    detector = trained("multi-prototype").detector
    assert isinstance(detector, MultiPrototypeDetector)
    before = detector.head.distance
    support = encode_support(detector.backbone, list(carpets()[:2]), detector.settings)
    after = recalibrated(detector, support)
    assert isinstance(after, MultiPrototypeDetector)
    assert before is not None
    assert after.head.distance is not None
    expected = SupportDistance.fit(support, detector.settings.training.views)
    assert torch.equal(after.head.distance.mean, expected.mean)
    assert not torch.equal(after.head.distance.mean, before.mean)


def distances_of(predictor: PromptAD | Session) -> list[float]:
    found = [explanation.distance for explanation in predictor.predict(list(carpets())).explanations]
    assert None not in found
    return [float(distance) for distance in found if distance is not None]
