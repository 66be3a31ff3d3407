"""The single-anchor baseline against loop-written references; its checkpoints and upstream ones."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import reference_text_feature, refusal
from torch import Tensor

from promptad import PromptAD
from promptad.backbones.clip import Backbone
from promptad.backbones.frozen_clip import clip_of
from promptad.data.demo import draw_image
from promptad.features import ImageFeatures
from promptad.models.base import Subject
from promptad.models.losses import triplet_loss
from promptad.models.registry import load_detector
from promptad.models.single_anchor.prompts import AnchorPrompts, TextFeatures, average_anchors, prompt_tokens
from promptad.models.single_anchor.scoring import half_harmonic_mean, memory_maps, score_features, text_score
from promptad.models.single_anchor.trainer import Trainer, compute_losses, run_epochs
from promptad.prompts.prompt_learner import initial_contexts
from promptad.prompts.states import user_states
from promptad.settings import PromptSettings, ScoringSettings, TrainingSettings, default_settings

WIDTH = 8
GROUPS = user_states(("with hole", "deeply scratched {}"))
CPU = torch.device("cpu")
UPSTREAM_KEYS = {"text_features", "feature_gallery1", "feature_gallery2"}


def random_rows(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(seed)).double()


def make_text() -> TextFeatures:
    return TextFeatures(random_rows(2, seed=1), random_rows(5, seed=2), random_rows(6, seed=3))


def unit(row: list[float]) -> list[float]:
    length = math.sqrt(sum(value**2 for value in row))
    return [value / length for value in row]


def dot(first: list[float], second: list[float]) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))


def mean_row(rows: list[list[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def reference_anchors(text: TextFeatures) -> list[list[float]]:
    return [unit(mean_row(text.normal.tolist())), unit(mean_row([*text.manual.tolist(), *text.learned.tolist()]))]


def test_anchors_are_unit_means_of_all_features() -> None:
    text = make_text()
    assert average_anchors(text).tolist() == [pytest.approx(row) for row in reference_anchors(text)]


@pytest.mark.parametrize("patches", [0, 5])
def test_the_contrastive_loss_equals_its_reference(patches: int) -> None:
    text, temperature = make_text(), 4.6
    shape = (3, patches) if patches else (3,)
    features = F.normalize(random_rows(*shape, seed=4), dim=-1)
    anchor, _ = reference_anchors(text)
    negatives = [unit(row) for row in [*text.manual.tolist(), *text.learned.tolist()]]
    tokens: list[list[float]] = features.reshape(-1, WIDTH).tolist()
    total = 0.0
    for token in tokens:
        right = math.exp(temperature * dot(token, anchor))
        total -= math.log(right / (right + sum(math.exp(temperature * dot(token, n)) for n in negatives)))
    found = compute_losses(text, features, temperature, 0.5)
    assert float(found.contrastive) == pytest.approx(total / len(tokens))


def test_the_match_loss_equals_its_reference() -> None:
    text = make_text()
    manual, learned = (mean_row([unit(row) for row in rows.tolist()]) for rows in (text.manual, text.learned))
    expected = sum((a - b) ** 2 for a, b in zip(manual, learned, strict=True))
    found = compute_losses(text, F.normalize(random_rows(3, seed=4), dim=-1), 4.6, 0.5)
    assert float(found.match) == pytest.approx(expected)
    assert float(found.total) == pytest.approx(float(found.contrastive + found.triplet) + 0.5 * expected)


def test_the_triplet_loss_of_class_tokens_compares_distances() -> None:
    features, anchors = F.normalize(random_rows(4, seed=4), dim=-1), F.normalize(random_rows(2, seed=5), dim=-1)
    total = 0.0
    for row in features.tolist():
        near, far = (sum((a - b) ** 2 for a, b in zip(row, anchor, strict=True)) for anchor in anchors.tolist())
        total += max(0.0, near - far)
    assert total > 0
    assert float(triplet_loss(features, anchors)) == pytest.approx(total / 4)


def test_the_triplet_loss_of_patch_tokens_sums_over_patches() -> None:
    features, anchors = F.normalize(random_rows(2, 5, seed=4), dim=-1), F.normalize(random_rows(2, seed=5), dim=-1)
    normal, abnormal = anchors.tolist()
    total = 0.0
    for image in features.tolist():
        for axis in range(WIDTH):
            difference = sum((p[axis] - normal[axis]) ** 2 - (p[axis] - abnormal[axis]) ** 2 for p in image)
            total += max(0.0, difference)
    assert float(triplet_loss(features, anchors)) == pytest.approx(total / (2 * WIDTH))


def test_text_scores_and_fusions_equal_their_references() -> None:
    anchors = F.normalize(random_rows(2, seed=5), dim=-1)
    tokens = F.normalize(random_rows(3, seed=6), dim=-1)
    for token, score in zip(tokens.tolist(), text_score(tokens, anchors, 4.6).tolist(), strict=True):
        normal, abnormal = (math.exp(4.6 * dot(token, anchor)) for anchor in anchors.tolist())
        assert score == pytest.approx(abnormal / (normal + abnormal))
    one, other = torch.tensor([0.5, 0.0]), torch.tensor([0.25, 0.7])
    assert half_harmonic_mean(one, other).tolist() == pytest.approx([1 / (2 + 4), 0])


def test_scores_fuse_text_and_memory() -> None:
    anchors = F.normalize(random_rows(2, seed=5), dim=-1)
    class_token, patches = (F.normalize(random_rows(*shape, seed=6), dim=-1) for shape in ((2,), (2, 4)))
    distances = torch.rand(2, 4, generator=torch.Generator().manual_seed(7)).double()
    plain = score_features(ImageFeatures(class_token, patches), anchors, 4.6, 8)
    fused = score_features(ImageFeatures(class_token, patches, distances=distances), anchors, 4.6, 8)
    for image in range(2):
        text = float(text_score(class_token, anchors, 4.6)[image])
        assert float(plain.image[image]) == pytest.approx(text)
        largest = float(memory_maps(distances, 8)[image].max())
        assert float(fused.image[image]) == pytest.approx(1 / (1 / largest + 1 / text))
        for number in range(4):
            row, column = divmod(number, 2)
            here = float(text_score(patches, anchors, 4.6)[image, number])
            assert float(plain.patches[image, row, column]) == pytest.approx(here)
            expected = 1 / (1 / here + 1 / float(distances[image, number]))
            assert float(fused.patches[image, row, column]) == pytest.approx(expected)


@pytest.mark.parametrize(("n_pro", "n_pro_ab", "n_ctx_ab"), [(3, 6, 1), (1, 4, 2), (2, 3, 1)])
def test_prompts_equal_whole_sentences_encoded_by_the_reference(
    tiny: Backbone, n_pro: int, n_pro_ab: int, n_ctx_ab: int
) -> None:
    settings = PromptSettings(n_pro=n_pro, n_pro_ab=n_pro_ab, n_ctx_ab=n_ctx_ab, start="random")
    normal, abnormal = initial_contexts(tiny, GROUPS, settings, 5)
    tokens = prompt_tokens(tiny, "metal nut", GROUPS, settings)
    with torch.no_grad():
        found = AnchorPrompts(tiny.text_encoder, tokens, normal, abnormal)()
    phrases = ["metal nut with hole", "deeply scratched metal nut"]
    manual = [(phrase, i) for phrase in phrases for i in range(n_pro)]
    assert found.normal.shape[0] == n_pro
    assert found.manual.shape[0] == len(manual)
    assert found.learned.shape[0] == n_pro * n_pro_ab

    def reference(context: list[Tensor], text: str) -> Tensor:
        ids = torch.tensor(tiny.prompt_ids(f"{text}."))
        embedded = tiny.text_encoder.embed(ids)
        return reference_text_feature(tiny, torch.cat([embedded[:1], *context, embedded[1:]]))

    with torch.no_grad():
        for i in range(n_pro):
            torch.testing.assert_close(found.normal[i], reference([normal[i]], "metal nut"), rtol=0, atol=1e-5)
        for number, (phrase, i) in enumerate(manual):
            torch.testing.assert_close(found.manual[number], reference([normal[i]], phrase), rtol=0, atol=1e-5)
        for i in range(n_pro * n_pro_ab):
            context = [normal[i % n_pro], abnormal[i % n_pro_ab]]
            torch.testing.assert_close(found.learned[i], reference(context, "metal nut"), rtol=0, atol=1e-5)


def test_a_prompt_that_is_too_long_is_refused(tiny: Backbone) -> None:
    message = refusal(prompt_tokens, tiny, "nut", GROUPS, PromptSettings(n_ctx=80))
    assert "exceed CLIP's 77" in message


def test_the_defaults_are_those_that_were_published() -> None:
    settings = default_settings("single-anchor")
    assert (settings.prompts.start, settings.scoring.memory) == ("random", True)
    assert (settings.training.lr, settings.training.momentum, settings.training.weight_decay) == (0.002, 0.9, 0.0005)
    assert (settings.single_anchor.lambda1, settings.single_anchor.eta_min) == (0.001, 1e-5)


def test_training_lowers_the_loss_and_every_epoch_is_yielded(tiny: Backbone) -> None:
    settings = replace(default_settings("single-anchor"), training=TrainingSettings(epochs=5, lr=0.02))
    features = tiny.image_encoder.encode(torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0)))
    for level in ("image", "pixel"):
        starts = initial_contexts(tiny, GROUPS, settings.prompts, 5)
        tokens = prompt_tokens(tiny, "carpet", GROUPS, settings.prompts)
        prompts = AnchorPrompts(tiny.text_encoder, tokens, *starts)
        trainer = Trainer(prompts, features, tiny.log_temperature, replace(settings, level=level))
        epochs = [(number, float(trainer.losses.total.detach()), trainer.anchors) for number in run_epochs(trainer)]
        assert [number for number, *_ in epochs] == [0, 1, 2, 3, 4, 5]
        assert epochs[-1][1] < epochs[0][1]
        assert not torch.equal(epochs[0][2], epochs[-1][2])
        assert all(parameter.grad is None for parameter in clip_of(tiny).parameters())


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [draw_image("carpet", style_seed=7, instance_seed=number)[0] for number in range(3)]


@pytest.fixture(scope="module")
def fitted(images: list[np.ndarray]) -> PromptAD:
    settings = default_settings("single-anchor")
    light = replace(
        settings,
        training=TrainingSettings(epochs=2),
        scoring=ScoringSettings(resolution=48, memory=True),
    )
    return PromptAD("carpet", backbone="tiny", settings=light).fit(images[:2])


def test_a_prediction_is_in_0_to_1_and_support_images_score_least(fitted: PromptAD, images: list[np.ndarray]) -> None:
    prediction = fitted.predict(images)
    assert prediction.anomaly_map.shape == (3, 48, 48)
    for values in (prediction.score, prediction.anomaly_map):
        assert values.min() >= 0
        assert values.max() <= 1
    assert prediction.score.argmax() == 2


def test_a_loaded_baseline_predicts_the_same_bit_for_bit(
    fitted: PromptAD, images: list[np.ndarray], tmp_path: Path
) -> None:
    fitted.save(tmp_path / "carpet.pt")
    checkpoint = torch.load(tmp_path / "carpet.pt", weights_only=True)
    assert checkpoint.keys() >= UPSTREAM_KEYS
    assert checkpoint["text_features"].shape == (2, 128)
    assert len(checkpoint["feature_gallery1"]) == len(checkpoint["feature_gallery2"]) == 2 * 14 * 14
    loaded = PromptAD.load(tmp_path / "carpet.pt", system="single-anchor")
    assert loaded.settings_ == fitted.settings_
    first, again = (estimator.predict(images) for estimator in (fitted, loaded))
    np.testing.assert_array_equal(first.score, again.score)
    np.testing.assert_array_equal(first.anomaly_map, again.anomaly_map)


def test_an_upstream_checkpoint_is_loaded_with_given_settings(
    fitted: PromptAD, images: list[np.ndarray], tmp_path: Path, tiny: Backbone
) -> None:
    fitted.save(tmp_path / "ours.pt")
    ours = torch.load(tmp_path / "ours.pt", weights_only=True)
    bare = tmp_path / "bare.pt"
    torch.save({name: ours[name].half() for name in UPSTREAM_KEYS}, bare)  # a GPU's are of half precision
    subject = Subject("own", "carpet", (), "")
    loaded = load_detector(bare, CPU, "single-anchor", backbone=tiny, settings=fitted.settings_, subject=subject)
    np.testing.assert_allclose(loaded.predict(images).score, fitted.predict(images).score, atol=1e-2)
    assert "holds no settings" in refusal(load_detector, bare, CPU, "single-anchor", backbone=tiny)
    assert "single-anchor PromptAD" in refusal(load_detector, bare, CPU, backbone=tiny)
    assert "single-anchor PromptAD" in refusal(load_detector, tmp_path / "ours.pt", CPU, backbone=tiny)
    torch.save({name: ours[name][:, :5] for name in UPSTREAM_KEYS}, bare)
    message = refusal(
        load_detector, bare, CPU, "single-anchor", backbone=tiny, settings=fitted.settings_, subject=subject
    )
    assert "text features of 5 and galleries of 5 numbers" in message


def test_without_memory_only_the_text_is_scored(fitted: PromptAD, images: list[np.ndarray]) -> None:
    settings = replace(fitted.settings_, scoring=replace(fitted.settings_.scoring, memory=False))
    estimator = PromptAD("carpet", settings=settings).fit(images[:2])
    detector = estimator.detector
    features = detector.encode(images)
    assert features.layers == ()
    anchors = torch.as_tensor(detector.learned()["text_features"])
    expected = text_score(features.class_token, anchors, detector.backbone.log_temperature)
    np.testing.assert_allclose(estimator.predict(images).score, expected.numpy(), atol=1e-6)


def test_a_gallery_that_is_no_tensor_is_refused_in_one_line(tiny: Backbone, tmp_path: Path) -> None:
    content = {"text_features": torch.ones(2, 128), "feature_gallery1": torch.ones(4, 128), "feature_gallery3": [1.0]}
    torch.save(content, tmp_path / "odd.pt")
    known = {"settings": default_settings("single-anchor"), "subject": Subject("own", "carpet", (), "")}
    message = refusal(load_detector, tmp_path / "odd.pt", CPU, "single-anchor", backbone=tiny, **known)
    assert "feature_gallery3 is no tensor of numbers" in message
