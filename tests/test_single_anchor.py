"""The single-anchor baseline against slow twins written with loops; its checkpoints and the ancestor's own."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import refusal, slow_text_feature
from torch import Tensor

from promptad import PromptAD
from promptad.backbone.clip import Backbone
from promptad.data.demo import draw_picture
from promptad.detection import Subject
from promptad.prompts.contexts import END_OF_TEXT, START_OF_TEXT, start_vectors
from promptad.prompts.states import own_states
from promptad.records import ImageFeatures
from promptad.settings import PromptSettings, ScoringSettings, TrainingSettings, default_settings
from promptad.single_anchor.anchors import average_anchors
from promptad.single_anchor.prompts import AnchorPrompts, TextFeatures, prompt_tokens
from promptad.single_anchor.scoring import half_harmonic_mean, memory_maps, score_features, text_score
from promptad.single_anchor.training import compute_losses, lesson_of, train_anchors, triplet_loss
from promptad.systems import load_detector

WIDTH = 8
GROUPS = own_states(("with hole", "deeply scratched {}"))
CPU = torch.device("cpu")
ANCESTOR_KEYS = {"text_features", "feature_gallery1", "feature_gallery2"}


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


def slow_anchors(text: TextFeatures) -> list[list[float]]:
    return [unit(mean_row(text.normal.tolist())), unit(mean_row([*text.manual.tolist(), *text.learned.tolist()]))]


def test_anchors_are_unit_means_of_all_features() -> None:
    text = make_text()
    assert average_anchors(text).tolist() == [pytest.approx(row) for row in slow_anchors(text)]


@pytest.mark.parametrize("patches", [0, 5])
def test_the_contrastive_loss_equals_its_slow_twin(patches: int) -> None:
    text, temperature = make_text(), 4.6
    shape = (3, patches) if patches else (3,)
    features = F.normalize(random_rows(*shape, seed=4), dim=-1)
    anchor, _ = slow_anchors(text)
    negatives = [unit(row) for row in [*text.manual.tolist(), *text.learned.tolist()]]
    tokens: list[list[float]] = features.reshape(-1, WIDTH).tolist()
    total = 0.0
    for token in tokens:
        right = math.exp(temperature * dot(token, anchor))
        total -= math.log(right / (right + sum(math.exp(temperature * dot(token, n)) for n in negatives)))
    found = compute_losses(text, features, temperature, 0.5)
    assert float(found.contrastive) == pytest.approx(total / len(tokens))


def test_the_match_loss_equals_its_slow_twin() -> None:
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
    for picture in features.tolist():
        for axis in range(WIDTH):
            difference = sum((p[axis] - normal[axis]) ** 2 - (p[axis] - abnormal[axis]) ** 2 for p in picture)
            total += max(0.0, difference)
    assert float(triplet_loss(features, anchors)) == pytest.approx(total / (2 * WIDTH))


def test_text_scores_and_fusions_equal_their_slow_twins() -> None:
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
    for picture in range(2):
        text = float(text_score(class_token, anchors, 4.6)[picture])
        assert float(plain.image[picture]) == pytest.approx(text)
        largest = float(memory_maps(distances, 8)[picture].max())
        assert float(fused.image[picture]) == pytest.approx(1 / (1 / largest + 1 / text))
        for number in range(4):
            row, column = divmod(number, 2)
            here = float(text_score(patches, anchors, 4.6)[picture, number])
            assert float(plain.patches[picture, row, column]) == pytest.approx(here)
            expected = 1 / (1 / here + 1 / float(distances[picture, number]))
            assert float(fused.patches[picture, row, column]) == pytest.approx(expected)


@pytest.mark.parametrize(("n_pro", "n_pro_ab", "n_ctx_ab"), [(3, 6, 1), (1, 4, 2), (2, 3, 1)])
def test_prompts_are_encoded_as_whole_sentences_would_be(
    tiny: Backbone, n_pro: int, n_pro_ab: int, n_ctx_ab: int
) -> None:
    settings = PromptSettings(n_pro=n_pro, n_pro_ab=n_pro_ab, n_ctx_ab=n_ctx_ab, start="random")
    normal, abnormal = start_vectors(tiny, GROUPS, settings, 5)
    tokens = prompt_tokens(tiny, "metal nut", GROUPS, settings)
    with torch.no_grad():
        found = AnchorPrompts(tiny.text_tower, tokens, normal, abnormal)()
    phrases = ["metal nut with hole", "deeply scratched metal nut"]
    manual = [(phrase, i) for phrase in phrases for i in range(n_pro)]
    assert found.normal.shape[0] == n_pro
    assert found.manual.shape[0] == len(manual)
    assert found.learned.shape[0] == n_pro * n_pro_ab

    def slow(context: list[Tensor], text: str) -> Tensor:
        ids = torch.tensor([START_OF_TEXT, *tiny.token_ids(f"{text}."), END_OF_TEXT])
        embedded = tiny.text_tower.embed(ids)
        return slow_text_feature(tiny.text_tower, torch.cat([embedded[:1], *context, embedded[1:]]))

    with torch.no_grad():
        for i in range(n_pro):
            torch.testing.assert_close(found.normal[i], slow([normal[i]], "metal nut"), rtol=0, atol=1e-5)
        for number, (phrase, i) in enumerate(manual):
            torch.testing.assert_close(found.manual[number], slow([normal[i]], phrase), rtol=0, atol=1e-5)
        for i in range(n_pro * n_pro_ab):
            context = [normal[i % n_pro], abnormal[i % n_pro_ab]]
            torch.testing.assert_close(found.learned[i], slow(context, "metal nut"), rtol=0, atol=1e-5)


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
    features = tiny.image_tower.encode(torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0)))
    for level in ("image", "pixel"):
        starts = start_vectors(tiny, GROUPS, settings.prompts, 5)
        tokens = prompt_tokens(tiny, "carpet", GROUPS, settings.prompts)
        prompts = AnchorPrompts(tiny.text_tower, tokens, *starts)
        epochs = list(train_anchors(prompts, lesson_of(features, level), tiny.log_temperature, settings))
        assert [epoch.number for epoch in epochs] == [0, 1, 2, 3, 4, 5]
        assert epochs[-1].losses.total < epochs[0].losses.total
        assert not torch.equal(epochs[0].anchors, epochs[-1].anchors)
        assert all(parameter.grad is None for parameter in tiny.text_tower.clip.parameters())


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [draw_picture("carpet", style_seed=7, instance_seed=number)[0] for number in range(3)]


@pytest.fixture(scope="module")
def fitted(pictures: list[np.ndarray]) -> PromptAD:
    settings = default_settings("single-anchor")
    light = replace(
        settings,
        training=TrainingSettings(epochs=2),
        scoring=ScoringSettings(resolution=48, memory=True),
    )
    return PromptAD("carpet", backbone="tiny", settings=light).fit(pictures[:2])


def test_a_prediction_is_in_0_to_1_and_remembered_pictures_score_least(
    fitted: PromptAD, pictures: list[np.ndarray]
) -> None:
    prediction = fitted.predict(pictures)
    assert prediction.map.shape == (3, 48, 48)
    for values in (prediction.score, prediction.map):
        assert values.min() >= 0
        assert values.max() <= 1
    assert prediction.score.argmax() == 2


def test_a_loaded_baseline_predicts_the_same_bit_for_bit(
    fitted: PromptAD, pictures: list[np.ndarray], tmp_path: Path
) -> None:
    fitted.save(tmp_path / "carpet.pt")
    checkpoint = torch.load(tmp_path / "carpet.pt", weights_only=True)
    assert checkpoint.keys() >= ANCESTOR_KEYS
    assert checkpoint["text_features"].shape == (2, 128)
    assert len(checkpoint["feature_gallery1"]) == len(checkpoint["feature_gallery2"]) == 2 * 14 * 14
    loaded = PromptAD.load(tmp_path / "carpet.pt", system="single-anchor")
    assert loaded.settings == fitted.settings
    first, again = (estimator.predict(pictures) for estimator in (fitted, loaded))
    np.testing.assert_array_equal(first.score, again.score)
    np.testing.assert_array_equal(first.map, again.map)


def test_a_bare_file_of_the_ancestor_is_loaded_with_settings_given(
    fitted: PromptAD, pictures: list[np.ndarray], tmp_path: Path, tiny: Backbone
) -> None:
    fitted.save(tmp_path / "ours.pt")
    ours = torch.load(tmp_path / "ours.pt", weights_only=True)
    bare = tmp_path / "bare.pt"
    torch.save({name: ours[name].half() for name in ANCESTOR_KEYS}, bare)  # a GPU's are of half precision
    subject = Subject("own", "carpet", (), "")
    loaded = load_detector(bare, CPU, "single-anchor", backbone=tiny, settings=fitted.settings, subject=subject)
    np.testing.assert_allclose(loaded.predict(pictures).score, fitted.predict(pictures).score, atol=1e-2)
    assert "holds no settings" in refusal(load_detector, bare, CPU, "single-anchor", backbone=tiny)
    assert "single-anchor PromptAD" in refusal(load_detector, bare, CPU, backbone=tiny)
    assert "single-anchor PromptAD" in refusal(load_detector, tmp_path / "ours.pt", CPU, backbone=tiny)
    torch.save({name: ours[name][:, :5] for name in ANCESTOR_KEYS}, bare)
    message = refusal(
        load_detector, bare, CPU, "single-anchor", backbone=tiny, settings=fitted.settings, subject=subject
    )
    assert "text features of 5 and galleries of 5 numbers" in message


def test_without_memory_only_the_text_counts(fitted: PromptAD, pictures: list[np.ndarray]) -> None:
    settings = replace(fitted.settings, scoring=replace(fitted.settings.scoring, memory=False))
    estimator = PromptAD("carpet", settings=settings).fit(pictures[:2])
    detector = estimator.detector
    features = detector.encode(pictures)
    assert features.taps is None
    anchors = torch.as_tensor(detector.learned()["text_features"])
    expected = text_score(features.class_token, anchors, detector.backbone.log_temperature)
    np.testing.assert_allclose(estimator.predict(pictures).score, expected.numpy(), atol=1e-6)
