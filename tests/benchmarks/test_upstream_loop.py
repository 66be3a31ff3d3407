"""The original PromptAD's loop, which benchmarks/train_speed.py times, computes the same as our baseline."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from train_speed import CLASS, OriginalLoop, encode_whole

from promptad.backbones.clip import Backbone
from promptad.backbones.open_clip_vit import open_clip_of
from promptad.data.datasets import read_class
from promptad.evaluation.evaluator import evaluate, read_test_split
from promptad.models.base import Subject, TrainTask
from promptad.models.registry import train
from promptad.models.single_anchor.prompts import average_anchors
from promptad.models.support import encode_support
from promptad.settings import default_settings

pytestmark = pytest.mark.slow


def test_both_paths_run_to_their_ends_give_the_same_features(tiny: Backbone) -> None:
    pixels = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    found = tiny.image_encoder.encode(pixels, layers=True)
    with torch.no_grad():
        expected = encode_whole(open_clip_of(tiny).visual, pixels, tiny.image_encoder.layer_indices)
    assert found.layers
    assert expected.layers
    for one, other in zip(found.layers, expected.layers, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.class_token, expected.class_token, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.patch_tokens, expected.patch_tokens, rtol=0, atol=1e-5)


def test_the_baseline_trains_and_evaluates_as_the_original_loop(tiny: Backbone, mvtec: Path) -> None:
    images = read_class("mvtec", mvtec.parent, CLASS)
    plain = default_settings("single-anchor")
    settings = replace(
        plain,
        backbone=tiny.settings,
        training=replace(plain.training, epochs=2),
        scoring=replace(plain.scoring, resolution=64),
    )
    support = images.normal[:2]
    original = OriginalLoop(tiny, settings)
    bank = original.encode(support).layers
    assert bank
    for _ in range(2):
        measured = original.epoch(support, images, bank)

    task = TrainTask(Subject("mvtec", CLASS, (), ""), encode_support(tiny, support, settings), settings)
    *_, (last,) = train(tiny, [task])
    split = read_test_split(tiny, images.test, 64, 32, layers=True)
    found, _ = evaluate(last.detector, split)
    assert found.image_auroc == pytest.approx(measured, abs=1e-6)
    anchors = average_anchors(original.prompts()).detach()
    torch.testing.assert_close(last.detector.learned()["text_features"], anchors, rtol=0, atol=1e-5)
    for name in ("normal_context", "abnormal_context"):
        assert getattr(original.prompts, name).grad.abs().max() > 0
