"""What is encoded of the support images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from promptad.backbones.clip import Backbone
from promptad.data.demo import draw_image
from promptad.data.transforms import make_far_views
from promptad.models.support import LEAST_DISTURBED, encode_support
from promptad.settings import SINGLE_ANCHOR, LossWeights, ScoringSettings, Settings, TrainingSettings

MEMORY = ScoringSettings(memory=True)


def drawn(count: int) -> list[Image.Image]:
    images = [draw_image("carpet", style_seed=3, instance_seed=seed)[0] for seed in range(count)]
    return [Image.fromarray(image) for image in images]


@pytest.mark.parametrize("images", [1, 2])
def test_every_view_is_disturbed_as_often_as_makes_sixteen(tiny: Backbone, images: int) -> None:
    settings = Settings(scoring=MEMORY, training=TrainingSettings(views=5))
    found = encode_support(tiny, drawn(images), settings)
    assert found.disturbed is not None
    assert found.probes is not None
    assert found.disturbed.images.layers == ()
    count = {1: 20, 2: 20}[images]
    assert len(found.views.class_token) == 5 * images
    for kind in (found.disturbed, found.probes):
        share = kind.share
        assert len(share) == len(kind.images.class_token) == count >= LEAST_DISTURBED
        assert share.shape[1] == found.views.patch_tokens.shape[1]
        assert 0 <= share.min() <= share.max() <= 1
        # Patches far from a disturbance hardly change, those under one do.
        source = found.views.patch_tokens[kind.views_of(5 * images)]
        change = 1 - (kind.images.patch_tokens * source).sum(2)
        assert change[share > 0.5].mean() > 3 * change[share == 0].mean()
    assert not torch.equal(found.disturbed.share, found.probes.share)  # nothing learned is asked of what taught it


def test_only_what_the_settings_need_is_encoded(tiny: Backbone) -> None:
    training = TrainingSettings(views=2, k_shot=2)
    for scoring, far_views, probes in (
        (ScoringSettings(), False, False),
        (MEMORY, True, True),
        (replace(MEMORY, fusion="sum"), True, False),
        (replace(MEMORY, far_views=False), False, True),
    ):
        settings = Settings(scoring=scoring, training=training)
        found = encode_support(tiny, drawn(2), settings)
        assert ((found.far_views is not None), (found.probes is not None)) == (far_views, probes)
        assert found.disturbed is not None
        assert len(found.banked.class_token) == 4 + 4 * far_views
        alone = encode_support(tiny, drawn(1), replace(settings, training=replace(training, k_shot=1)))
        assert alone.far_views is not None  # how much a new image may differ from the only one
        assert len(alone.banked.class_token) == 2 + 2 * scoring.far_views
    weights = replace(training, weights=LossWeights(reaction=0.0))
    assert encode_support(tiny, drawn(2), Settings(training=weights)).disturbed is None
    baseline = encode_support(tiny, drawn(2), Settings(system=SINGLE_ANCHOR, scoring=MEMORY, training=training))
    assert (baseline.far_views, baseline.disturbed, baseline.probes) == (None, None, None)


def test_the_order_of_images_does_not_matter(tiny: Backbone) -> None:
    settings = Settings(scoring=MEMORY, training=TrainingSettings(views=8))
    there, back = (encode_support(tiny, images, settings) for images in (drawn(2), drawn(2)[::-1]))
    assert there.disturbed is not None
    assert back.disturbed is not None
    assert there.probes is not None
    assert back.probes is not None
    for found, same in (
        (there.banked, back.banked),
        (there.disturbed.images, back.disturbed.images),
        (there.probes.images, back.probes.images),
    ):
        images = same.class_token.view(-1, 2, 8, same.class_token.shape[1])  # [part, image, view, D]
        torch.testing.assert_close(found.class_token, images.flip(1).flatten(0, 2))


def test_far_views_differ_more_than_views_and_depend_on_the_seed() -> None:
    views = drawn(2)
    far, again, other = (make_far_views(views, seed) for seed in (1, 1, 2))
    for view, own, same, another in zip(views, far, again, other, strict=True):
        assert own.size == view.size
        assert own.tobytes() == same.tobytes() != another.tobytes()
        assert np.abs(np.asarray(own, float) - np.asarray(view, float)).mean() > 2
