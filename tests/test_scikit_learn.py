"""The estimator among scikit-learn's tools, and what else a Python user expects of it."""

import copy
import logging
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import refusal
from PIL import Image
from sklearn.base import clone, is_outlier_detector
from sklearn.exceptions import NotFittedError
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted

from promptad import PromptAD, Settings
from promptad.backbones.factory import as_device
from promptad.backbones.feature_cache import CacheLike, FeatureCache
from promptad.data.demo import draw_image, draw_twins
from promptad.models.registry import load_with_thresholds
from promptad.settings import SINGLE_ANCHOR, ScoringSettings, TrainingSettings, default_settings
from promptad.structures import ANOMALY, GOOD

STYLE = 7
LIGHT = Settings(training=TrainingSettings(epochs=2, views=4), scoring=ScoringSettings(resolution=48, sigma=1.0))
GOODS = [draw_image("carpet", style_seed=STYLE, instance_seed=number)[0] for number in range(4)]
HOLES = [
    draw_twins("carpet", style_seed=STYLE, instance_seed=number, defect="hole", difficulty="easy")[1]
    for number in (30, 31)
]
BLANK = np.full((64, 64, 3), 255, np.uint8)


def unfitted(**options: Any) -> PromptAD:
    chosen: dict[str, Any] = {"backbone": "tiny", "settings": LIGHT} | options
    return PromptAD("carpet", **chosen)


@pytest.fixture(scope="module")
def fitted() -> PromptAD:
    """Tests only read it."""
    return unfitted().fit(GOODS[:2])


@pytest.fixture(scope="module")
def baseline() -> PromptAD:
    plain = default_settings(SINGLE_ANCHOR)
    light = replace(plain, training=TrainingSettings(epochs=1), scoring=replace(plain.scoring, resolution=32, sigma=1))
    return unfitted(settings=light).fit(GOODS[:2])


def test_it_tells_what_it_is_in_one_line(fitted: PromptAD, baseline: PromptAD) -> None:
    assert repr(unfitted()) == "PromptAD('carpet', not fitted, multi-prototype, backbone tiny)"
    threshold = fitted.detector.metadata.threshold
    assert (
        repr(fitted)
        == f"PromptAD('carpet', fitted on 2 images, multi-prototype, backbone tiny, threshold {threshold:.4g})"
    )
    assert repr(baseline) == "PromptAD('carpet', fitted on 2 images, single-anchor, backbone tiny, no threshold)"


def test_parameters_are_kept_as_they_were_given() -> None:
    given = {
        "n_pro": 2,
        "states": ["with hole"],
        "region": (0, 0, 9, 9),
        "tiles": (1, 2),
        "device": torch.device("cpu"),
    }
    estimator = unfitted(**given)
    for name, value in given.items():
        assert vars(estimator)[name] is value
    again = clone(estimator)
    expected: dict[str, Any] = estimator.get_params()  # type: ignore[no-untyped-call]
    assert given.items() <= expected.items()
    assert again.get_params() == expected
    assert again is not estimator


def test_a_clone_learns_the_same(fitted: PromptAD) -> None:
    again = clone(fitted)
    with pytest.raises(NotFittedError):
        check_is_fitted(again)
    np.testing.assert_array_equal(again.fit(GOODS[:2]).predict(HOLES).raw_score, fitted.predict(HOLES).raw_score)
    check_is_fitted(again)


def test_what_is_set_counts_for_the_next_fit() -> None:
    estimator = unfitted().set_params(n_pro=2).fit(GOODS[:1])  # type: ignore[no-untyped-call]
    assert estimator.settings_.prompts.n_pro == 2
    assert estimator.k_shot_ == 1
    assert estimator.settings is LIGHT
    with pytest.raises(ValueError, match="Invalid parameter 'n_prototypes'"):
        estimator.set_params(n_prototypes=2)


def test_what_is_not_fitted_is_known_to_scikit_learn() -> None:
    estimator = unfitted()
    with pytest.raises(NotFittedError, match="learned nothing yet: call fit"):
        estimator.predict(GOODS)
    assert not hasattr(estimator, "offset_")
    assert "fit" in dir(estimator)


def test_copies_and_pickles_decide_the_same(fitted: PromptAD) -> None:
    expected = fitted.predict(HOLES)
    for again in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(again.predict(HOLES).raw_score, expected.raw_score)
        assert repr(again) == repr(fitted)


@pytest.mark.parametrize("image_score", ["both", "class-token"])
def test_a_decision_is_negative_exactly_where_the_label_is_anomaly(image_score: str) -> None:
    scoring = replace(LIGHT.scoring, image_score=image_score)
    estimator = unfitted(settings=replace(LIGHT, scoring=scoring)).fit(GOODS[:2])
    images = [*GOODS, *HOLES, BLANK, draw_image("bottle", style_seed=1, instance_seed=1)[0]]
    found, decision = estimator.predict(images), estimator.decision_function(images)
    assert {ANOMALY, GOOD} == set(found.label)
    assert found[-2].label == ANOMALY
    assert [label == ANOMALY for label in found.label] == (decision < 0).tolist()
    np.testing.assert_array_equal(decision, estimator.score_samples(images) - estimator.offset_)
    np.testing.assert_array_equal(estimator.score_samples(images), -found.raw_score)
    assert estimator.offset_ == -float(found.threshold or 0)


def test_the_baseline_has_scores_and_no_decision(baseline: PromptAD) -> None:
    images = [*GOODS[:2], *HOLES]
    np.testing.assert_allclose(baseline.score_samples(images), -baseline.predict(images).score, atol=1e-6)
    assert not hasattr(baseline, "offset_")
    assert not hasattr(baseline, "verdicts")
    for call in (baseline.decision_function, lambda given: baseline.predict(given, false_alarm_rate=0.1)):
        assert "single-anchor has no threshold" in refusal(call, images)


def test_scorers_pipelines_and_searches_work(fitted: PromptAD) -> None:
    assert is_outlier_detector(fitted)
    images, labels = [*GOODS[2:], *HOLES], [1, 1, -1, -1]
    assert get_scorer("roc_auc")(fitted, images, labels) == 1.0
    pipeline = make_pipeline(clone(fitted)).fit(GOODS[:2], [1, 1])
    np.testing.assert_array_equal(pipeline.decision_function(images), fitted.decision_function(images))
    split = [([0, 1], [2, 3, 4, 5])]
    search = GridSearchCV(unfitted(), {"n_pro": [1, 2]}, scoring="roc_auc", cv=split, refit=False)
    search.fit([*GOODS, *HOLES], [1, 1, 1, 1, -1, -1])
    assert search.cv_results_["mean_test_score"].tolist() == [1.0, 1.0]
    assert "PromptAD" in fitted._repr_html_()


def test_another_false_alarm_rate_counts_once_and_as_on_the_command_line(fitted: PromptAD, tmp_path: Path) -> None:
    fitted.save(tmp_path / "carpet.pt")
    usual, loose = fitted.predict(GOODS), fitted.predict(GOODS, false_alarm_rate=0.3)
    assert loose.threshold is not None
    assert usual.threshold is not None
    assert loose.threshold < usual.threshold
    assert loose.threshold == load_with_thresholds(tmp_path / "carpet.pt", torch.device("cpu"), 0.3).metadata.threshold
    np.testing.assert_array_equal(loose.raw_score, usual.raw_score)
    assert fitted.predict(GOODS).threshold == usual.threshold
    assert "`false_alarm_rate` 1.5: must be between 0 and 1" in refusal(fitted.predict, GOODS, false_alarm_rate=1.5)


def test_batches_are_of_the_size_that_is_asked_for(fitted: PromptAD, read_counts: list[int]) -> None:
    done: list[int] = []
    fitted.predict(GOODS, batch_size=3, progress=done.append)
    assert read_counts == [3, 1]
    assert done == [3, 4]
    fitted.score_samples(GOODS, batch_size=2, progress=done.append)
    assert done[2:] == [2, 4]
    assert "`batch_size` 0: must be at least 1" in refusal(fitted.predict, GOODS, batch_size=0)


def test_a_training_tells_its_epochs() -> None:
    epochs: list[int] = []
    unfitted().fit(GOODS[:1], progress=epochs.append)
    assert epochs == [1, 2]


@pytest.mark.parametrize("kind", ["folder", "cache", "usual"])
def test_features_are_taken_from_the_cache(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_counts: list[int]
) -> None:
    monkeypatch.setenv("PROMPTAD_CACHE", str(tmp_path))
    caches: dict[str, CacheLike] = {"folder": tmp_path, "cache": FeatureCache(tmp_path), "usual": True}
    cache = caches[kind]
    estimator = unfitted().fit(GOODS[:2], cache=cache)
    first = estimator.predict(HOLES)
    read_counts.clear()
    again = estimator.predict(HOLES)
    assert read_counts == []
    assert again.anomaly_map.tobytes() == first.anomaly_map.tobytes()
    assert again.raw_score.tobytes() == first.raw_score.tobytes()
    estimator.save(tmp_path / "carpet.pt")
    loaded = PromptAD.load(tmp_path / "carpet.pt", cache=cache)
    assert loaded.predict(HOLES).raw_score.tobytes() == first.raw_score.tobytes()
    assert PromptAD.load(tmp_path / "carpet.pt").predict(HOLES, cache=cache).score.tobytes() == first.score.tobytes()
    unfitted().fit(GOODS[:2], cache=cache)
    assert read_counts == []
    estimator.predict(HOLES, cache=False)
    assert sum(read_counts) == 2


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("gpu", "`device` 'gpu': give cpu, cuda, or a certain GPU, such as cuda:0"),
        (1.5, "`device` 1.5: give cpu"),
        ("mps", "`device` mps: promptad computes on cpu and cuda; choose one of them"),
        ("cuda:0", "`device` cuda:0: torch finds no CUDA device here; choose cpu"),
    ],
)
def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, device: str, words: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for call in (unfitted, lambda device: PromptAD.load("none.pt", device=device)):
        assert words in refusal(call, device=device)


def test_a_device_is_named_as_in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    cpu = torch.device("cpu")
    assert as_device(None) == as_device("cpu") == as_device(cpu) == cpu
    assert as_device("cuda:1") == as_device(torch.device("cuda", 1)) == torch.device("cuda", 1)
    assert as_device("cuda").type == "cuda"
    assert "this machine has cuda:0 to cuda:1" in refusal(as_device, "cuda:2")


def as_sixteen_bits(image: np.ndarray) -> np.ndarray:
    return image.astype(np.uint16) * 257


def as_transparent(image: np.ndarray) -> np.ndarray:
    return np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])


def as_first(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1).copy()) / 255


@pytest.mark.parametrize("form", [as_sixteen_bits, as_transparent, as_first])
def test_arrays_of_all_kinds_are_the_same_images(fitted: PromptAD, form: Callable[[np.ndarray], Any]) -> None:
    expected = fitted.predict(HOLES).raw_score
    np.testing.assert_allclose(fitted.predict([form(image) for image in HOLES]).raw_score, expected, atol=1e-4)


def test_a_folder_is_learned_from_and_predicted_in_order(fitted: PromptAD, tmp_path: Path) -> None:
    for number, image in enumerate([*HOLES, *GOODS[2:]]):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    found = fitted.predict(tmp_path)
    assert [Path(one.path or "").name for one in found] == ["0.png", "1.png", "2.png", "3.png"]
    np.testing.assert_allclose(found.raw_score, fitted.predict([*HOLES, *GOODS[2:]]).raw_score, atol=1e-4)
    assert unfitted().fit(tmp_path).k_shot_ == 4


def test_errors_name_the_argument_and_no_flag(fitted: PromptAD) -> None:
    assert refusal(fitted.predict, [GOODS[0], 3]).startswith("`images[1]` is a int")
    assert refusal(fitted.confirm, defect=[3]).startswith("`defect[0]` is a int")
    message = refusal(PromptAD.load, "none.pt")
    assert message == "no checkpoint none.pt: check its path, or train the class first"
    assert "`states`" in refusal(unfitted, states="with hole")


def test_what_was_found_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="promptad"):
        unfitted().fit(GOODS[:1])
    assert "carpet: threshold for 1 % of false alarms" in caplog.text


def test_python_use_is_silent(fitted: PromptAD, tmp_path: Path) -> None:
    fitted.save(tmp_path / "carpet.pt")
    code = "import numpy as np; from promptad import PromptAD\n"
    code += "image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)\n"
    code += "from promptad.settings import *; light = Settings(training=TrainingSettings(epochs=1, views=2))\n"
    code += "estimator = PromptAD('carpet', backbone='tiny', settings=light).fit([image], progress=True)\n"
    code += "estimator.confirm(good=image).confirm(good=image); estimator.predict(image, progress=True).plot()\n"
    code += "estimator.save_pretrained('folder'); PromptAD.from_pretrained('folder'); PromptAD.load('carpet.pt')"
    ran = subprocess.run(
        [sys.executable, "-W", "default", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
