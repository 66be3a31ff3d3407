"""The ancestor's own loop, which the benchmark of training speed times, computes what our baseline computes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from train_speed import CLASS, Ancestor, encode_whole

from promptad.backbone.clip import Backbone
from promptad.data.layouts import read_class
from promptad.detection import Subject
from promptad.evaluation import evaluate, read_test_split
from promptad.fitting import encode_support
from promptad.settings import default_settings
from promptad.single_anchor.anchors import average_anchors
from promptad.systems import Pupil, learn


def test_both_paths_run_to_their_ends_give_the_same_features(tiny: Backbone) -> None:
    pixels = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    found = tiny.image_tower.encode(pixels, taps=True)
    with torch.no_grad():
        expected = encode_whole(tiny.text_tower.clip.visual, pixels, tiny.image_tower.tapped)
    assert found.taps
    assert expected.taps
    for one, other in zip(found.taps, expected.taps, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.class_token, expected.class_token, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.patch_tokens, expected.patch_tokens, rtol=0, atol=1e-5)


def test_our_baseline_learns_and_measures_the_same(tiny: Backbone, mvtec: Path) -> None:
    pictures = read_class("mvtec", mvtec.parent, CLASS)
    plain = default_settings("single-anchor")
    settings = replace(
        plain,
        backbone=tiny.settings,
        training=replace(plain.training, epochs=2),
        scoring=replace(plain.scoring, resolution=64),
    )
    support = pictures.normal[:2]
    ancestor = Ancestor(tiny, settings)
    bank = ancestor.encode(support).taps
    assert bank
    for _ in range(2):
        measured = ancestor.epoch(support, pictures, bank)

    pupil = Pupil(Subject("mvtec", CLASS, (), ""), encode_support(tiny, support, settings), settings)
    *_, (last,) = learn(tiny, [pupil])
    split = read_test_split(tiny, pictures.test, 64, 32, taps=True)
    found, _ = evaluate(last.detector, split)
    assert found.image_auroc == pytest.approx(measured, abs=1e-6)
    anchors = average_anchors(ancestor.prompts()).detach()
    torch.testing.assert_close(last.detector.learned()["text_features"], anchors, rtol=0, atol=1e-5)
    for name in ("normal_context", "abnormal_context"):
        assert getattr(ancestor.prompts, name).grad.abs().max() > 0
