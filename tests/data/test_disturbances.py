"""Local disturbances of views."""

import numpy as np
import pytest
from PIL import Image

from promptad.data import disturbances
from promptad.data.demo import draw_image
from promptad.data.disturbances import disturb, disturb_views

SIDE = 112
KINDS = ("_paste", "_stain", "_scratch", "_blur", "_warp")


def drawn() -> np.ndarray:
    image, _ = draw_image("carpet", style_seed=3, instance_seed=1)
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_disturbance_changes_what_its_mask_covers_and_nothing_else(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, image = getattr(disturbances, kind), drawn()
    for other in KINDS:
        monkeypatch.setattr(disturbances, other, change)
    for seed in range(5):
        disturbed, mask = disturb(image, np.random.default_rng(seed))
        assert disturbed.dtype == np.uint8
        assert disturbed.shape == image.shape
        assert 0 <= mask.min() <= mask.max() <= 1
        assert 0 < (mask > 0.3).mean() < 0.3
        np.testing.assert_array_equal(disturbed[mask == 0], image[mask == 0])
        assert np.abs(disturbed.astype(int) - image)[mask > 0.3].max() > 3


def test_an_image_of_one_color_can_be_stained(monkeypatch: pytest.MonkeyPatch) -> None:
    stain = disturbances._stain
    for other in KINDS:
        monkeypatch.setattr(disturbances, other, stain)
    disturbed, mask = disturb(np.full((SIDE, SIDE, 3), 128, np.uint8), np.random.default_rng(0))
    assert np.abs(disturbed.astype(int) - 128)[mask > 0.3].mean() > 2


def test_views_are_disturbed_in_turn_by_seed_and_stay_as_they_are() -> None:
    views = [Image.fromarray(np.full((SIDE, SIDE, 3), level, np.uint8)) for level in (40, 200)]
    found, masks = disturb_views(views, range(3), seed=1)
    assert masks.shape == (6, SIDE, SIDE)
    for number, (image, mask) in enumerate(zip(found, masks, strict=True)):
        np.testing.assert_array_equal(np.asarray(image)[mask == 0], (40, 200)[number % 2])
    again, other = disturb_views(views, range(3), seed=1)[0], disturb_views(views, range(3), seed=2)[0]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(found, again, strict=True))
    assert any(a.tobytes() != b.tobytes() for a, b in zip(found, other, strict=True))
    (later, _), (alone, _) = disturb_views(views, range(1, 3), seed=1), disturb_views(views[1:], [2], seed=1)
    assert [image.tobytes() for image in later] == [image.tobytes() for image in found[2:]]
    assert alone[0].tobytes() == found[5].tobytes()
    assert [np.unique(np.asarray(view)).tolist() for view in views] == [[40], [200]]
