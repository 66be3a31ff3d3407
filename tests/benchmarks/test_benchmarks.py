"""The benchmarks' own arithmetic: image AUROC by kind of defect, random weights, and the supervised probe."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from demo_accuracy import Protocol, images_of, kind_means, kinds_table, rows_file
from demo_bed import TITLES, Place, auroc_by_kind, load_tiny
from rich.console import Console
from supervised_probe import halves, learn_probe, measure, measure_halves, patch_labels, score

from promptad.backbones.clip import Backbone
from promptad.backbones.frozen_clip import clip_of
from promptad.evaluation.evaluator import TestSplit
from promptad.features import ImageFeatures
from promptad.prompts.encode import encode_texts
from promptad.structures import TestImage

pytestmark = pytest.mark.slow

SIDE, RESOLUTION = 4, 256  # patches, and pixels of a map, a side


def split_of(*defects: str) -> TestSplit:
    """Images of folders; an anomalous one has its defect in the upper left patch, in one direction of the features."""
    labels = np.array([defect != "good" for defect in defects])
    random = torch.Generator().manual_seed(len(defects))
    noise = 0.1 * torch.randn(len(defects), 1 + SIDE**2, 8, generator=random)
    normal, bad = torch.eye(8)[0], torch.eye(8)[1]
    shown = torch.zeros(len(defects), 1 + SIDE**2, 1)  # [N, class token and patches, 1]
    shown[torch.from_numpy(labels), :2] = 1
    tokens = F.normalize(noise + normal + shown * bad, dim=-1)
    masks = np.zeros((len(defects), RESOLUTION, RESOLUTION), dtype=bool)
    masks[labels, : RESOLUTION // SIDE, : RESOLUTION // SIDE] = True
    images = tuple(TestImage(Path("picture.png"), defect, None) for defect in defects)
    return TestSplit(images, ImageFeatures(tokens[:, 0], tokens[:, 1:]), labels, masks, "")


@pytest.fixture
def protocol(tmp_path: Path) -> Protocol:
    """The protocol of two lines of the bottle and the gear."""
    return Protocol(
        classes=("bottle", "gear"),
        shots=(2,),
        seeds=(0,),
        lines=(200, 201),
        difficulty="normal",
        epochs=None,
        called=None,
        weights="embedded",
        work=tmp_path,
    )


def test_each_kind_is_compared_with_all_good_images_only() -> None:
    split = split_of("broken_large", "broken_large", "crack", "crack", "good", "good")
    scores = np.array([0.9, 0.8, 0.3, 0.1, 0.2, 0.0])
    assert auroc_by_kind(scores, split, "bottle") == {"broken edge": 100.0, "crack": 75.0}


def test_a_kind_is_averaged_over_the_classes_that_have_it(protocol: Protocol) -> None:
    found = {"bottle": {"crack": 60.0, "print": 50.0}, "gear": {"crack": 80.0, "burn": 90.0}}
    rows = [{"system": system, "kinds": kinds} for system in TITLES for kinds in found.values()]
    means = kind_means(rows)
    assert list(means) == ["burn", "crack", "print"]
    assert means["crack"] == dict.fromkeys(TITLES, 70.0)
    assert means["burn"] == dict.fromkeys(TITLES, 90.0)
    console = Console(width=100)
    with console.capture() as capture:
        console.print(kinds_table(rows, protocol))
    (burn,) = (line for line in capture.get().splitlines() if "burn" in line)
    assert burn.replace("│", " ").split() == ["burn", "16", *["90.0"] * len(TITLES)]


def test_images_of_a_kind_are_counted_over_classes_and_lines(protocol: Protocol) -> None:
    assert images_of("crack", protocol) == 2 * 2 * 8
    assert images_of("burn", protocol) == 2 * 8


def test_random_weights_are_the_same_each_time_and_differ_from_the_bundled_ones(tiny: Backbone) -> None:
    before = torch.random.get_rng_state()
    random, again = load_tiny("random"), load_tiny("random")
    assert torch.equal(before, torch.random.get_rng_state())
    assert random.weights_sha256 == again.weights_sha256 != tiny.weights_sha256
    assert load_tiny().weights_sha256 == tiny.weights_sha256
    own, bundled = (dict(clip_of(backbone).named_parameters()) for backbone in (random, tiny))
    assert {name: value.shape for name, value in own.items()} == {name: value.shape for name, value in bundled.items()}
    assert not any(torch.equal(own[name], bundled[name]) for name in own)
    assert random.temperature == pytest.approx(1 / 0.07)


def test_random_weights_make_unit_features_of_images_and_words(tiny: Backbone) -> None:
    random, pixels = load_tiny("random"), torch.zeros(1, 3, 112, 112)
    features = random.image_encoder.encode(pixels)
    for own in (features.class_token, features.patch_tokens, encode_texts(random, ["a photo of a gear."])):
        torch.testing.assert_close(own.norm(dim=-1), torch.ones(own.shape[:-1]))
    assert features.patch_tokens.shape == tiny.image_encoder.encode(pixels).patch_tokens.shape


def test_rows_of_random_weights_have_a_separate_file(protocol: Protocol) -> None:
    place = Place(200, "gear")
    assert rows_file(protocol, place) != rows_file(replace(protocol, weights="random"), place)


def test_a_patch_is_defective_if_more_than_a_quarter_of_it_is() -> None:
    split = split_of("crack", "good")
    assert split.masks is not None
    side = RESOLUTION // SIDE
    split.masks[1, :side, side : side + side // 2] = True  # half of the second patch
    split.masks[1, side : 2 * side, : side // 4] = True  # just a quarter of the fifth
    expected = np.zeros((2, SIDE**2), dtype=bool)
    expected[0, 0] = expected[1, 1] = True
    assert np.array_equal(patch_labels(split, SIDE), expected)


def test_halves_share_no_image_and_have_all_kinds() -> None:
    split = split_of("crack", "crack", "good", "good", "print", "print")
    first, second = halves(split)
    for half, rows in ((first, [0, 2, 4]), (second, [1, 3, 5])):
        assert [image.defect for image in half.images] == ["crack", "good", "print"]
        assert torch.equal(half.features.patch_tokens, split.features.patch_tokens[rows])
        assert torch.equal(half.features.class_token, split.features.class_token[rows])
        assert half.masks is not None
        assert half.masks.any((1, 2)).tolist() == half.labels.tolist() == [True, False, True]


def test_a_probe_finds_the_labelled_kind_of_defect_in_new_images() -> None:
    labelled, new = split_of(*["crack"] * 8, *["good"] * 8), split_of(*["crack"] * 6, *["good"] * 6)
    probe = learn_probe([labelled])
    scores = score(probe, new.features)
    assert scores.image[:6].min() > scores.image[6:].max()
    assert scores.patches.shape == (12, SIDE, SIDE)
    assert scores.patches[:6].flatten(1).argmax(1).tolist() == [0] * 6
    found = measure(probe, new)
    assert [found[by] for by in ("both", "class-token", "patches")] == [100, 100, 100]
    assert found["pixel"] > 95
    assert measure_halves(labelled)["both"] == 100


def test_a_probe_trained_on_wrong_labels_finds_the_wrong_images() -> None:
    labelled, new = split_of(*["crack"] * 8, *["good"] * 8), split_of(*["crack"] * 6, *["good"] * 6)
    wrong = replace(
        labelled, labels=~labelled.labels, masks=np.ones_like(labelled.masks) & ~labelled.labels[:, None, None]
    )
    assert measure(learn_probe([wrong]), new)["both"] == 0
