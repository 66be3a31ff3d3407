"""The estimator and its detector: the same prediction for every type of image, and after a reload."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import refusal
from PIL import Image

from promptad import InputError, PromptAD, Settings
from promptad.backbones.clip import Backbone
from promptad.data.demo import draw_image, draw_twins
from promptad.data.images import ImageLike, read_image
from promptad.models.registry import load_detector
from promptad.settings import BackboneSettings, LossWeights, PromptSettings, ScoringSettings, TrainingSettings

STYLE = 7  # of the drawn carpet
RESOLUTION = 48
LIGHT = Settings(
    training=TrainingSettings(epochs=2, views=4),
    scoring=ScoringSettings(resolution=RESOLUTION, sigma=1.0),
)


@dataclass(frozen=True)
class Fitted:
    """An estimator fitted to two drawn carpets, with these as arrays and as files; tests only read it."""

    estimator: PromptAD
    arrays: list[np.ndarray]
    paths: list[Path]


def draw_good(number: int) -> np.ndarray:
    image, _ = draw_image("carpet", style_seed=STYLE, instance_seed=number)
    return image


def make_estimator() -> PromptAD:
    return PromptAD("carpet", backbone="tiny", settings=LIGHT)


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    folder = tmp_path_factory.mktemp("carpets")
    arrays = [draw_good(number) for number in range(2)]
    paths = [folder / f"{number}.png" for number in range(2)]
    for array, path in zip(arrays, paths, strict=True):
        Image.fromarray(array).save(path)
    return Fitted(make_estimator().fit(paths), arrays, paths)


@pytest.fixture(scope="session")
def saved(fitted: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("saved") / "carpet.pt"
    fitted.estimator.save(file)
    return file


def as_arrays(fitted: Fitted) -> list[ImageLike]:
    return list(fitted.arrays)


def as_images(fitted: Fitted) -> list[ImageLike]:
    return [Image.fromarray(array) for array in fitted.arrays]


def as_text(fitted: Fitted) -> list[ImageLike]:
    return [str(path) for path in fitted.paths]


@pytest.mark.parametrize("form", [as_arrays, as_images, as_text])
def test_an_image_may_be_of_any_supported_type(fitted: Fitted, form: Callable[[Fitted], list[ImageLike]]) -> None:
    images = form(fitted)
    probe = [draw_good(9), *images]
    first, second = fitted.estimator.predict(probe), make_estimator().fit(images).predict(probe)
    np.testing.assert_array_equal(first.score, second.score)
    np.testing.assert_array_equal(first.anomaly_map, second.anomaly_map)


def test_a_prediction_has_a_score_and_a_map_for_each_image(fitted: Fitted) -> None:
    prediction = fitted.estimator.predict([draw_good(number) for number in (10, 11, 12)])
    assert prediction.score.shape == (3,)
    assert prediction.anomaly_map.shape == (3, RESOLUTION, RESOLUTION)
    for values in (prediction.score, prediction.anomaly_map):
        assert np.isfinite(values).all()
        assert values.min() >= 0
        assert values.max() <= 1


def test_a_score_does_not_depend_on_the_images_beside_it(fitted: Fitted) -> None:
    images = [draw_good(number) for number in (20, 21, 22)]
    together = fitted.estimator.predict(images)
    for number, image in enumerate(images):
        alone = fitted.estimator.predict([image])
        np.testing.assert_allclose(alone.score[0], together.score[number], atol=1e-5)
        np.testing.assert_allclose(alone.anomaly_map[0], together.anomaly_map[number], atol=1e-5)


def test_support_images_are_not_above_the_threshold(fitted: Fitted) -> None:
    assert fitted.estimator.predict(fitted.paths).score.max() <= 0.5 + 1e-5


@pytest.mark.parametrize("defect", ["hole", "cut"])
def test_a_defective_image_scores_above_its_good_twin(fitted: Fitted, defect: str) -> None:
    for number in (30, 31, 32):
        good, defective, mask = draw_twins(
            "carpet", style_seed=STYLE, instance_seed=number, defect=defect, difficulty="easy"
        )
        prediction = fitted.estimator.predict([good, defective])
        assert prediction.score[1] > prediction.score[0]
        rise = prediction.anomaly_map[1] - prediction.anomaly_map[0]
        inside = np.asarray(Image.fromarray(mask > 0).resize((RESOLUTION, RESOLUTION), Image.Resampling.NEAREST))
        assert rise[inside].mean() > rise[~inside].mean()


def test_a_loaded_detector_predicts_the_same_bit_for_bit(fitted: Fitted, saved: Path, tmp_path: Path) -> None:
    probe: list[ImageLike] = [draw_good(40), *fitted.paths]
    first, loaded = fitted.estimator.predict(probe), PromptAD.load(saved)
    again = loaded.predict(probe)
    np.testing.assert_array_equal(first.score, again.score)
    np.testing.assert_array_equal(first.anomaly_map, again.anomaly_map)
    assert loaded.settings_ == fitted.estimator.settings_
    assert loaded.class_name == "carpet"
    loaded.save(tmp_path / "again.pt")
    one, other = (torch.load(file, weights_only=True) for file in (saved, tmp_path / "again.pt"))
    assert one["settings"] == other["settings"]
    assert all(torch.equal(one["calibration"][name], other["calibration"][name]) for name in one["calibration"])


def test_a_checkpoint_records_what_it_was_trained_on(saved: Path, fitted: Fitted, tiny: Backbone) -> None:
    checkpoint = torch.load(saved, weights_only=True)
    assert checkpoint["support_images"] == [path.name for path in fitted.paths]
    assert checkpoint["settings"]["training"]["k_shot"] == 2
    assert checkpoint["weights_sha256"] == tiny.weights_sha256
    assert Settings.from_dict(checkpoint["settings"]) == fitted.estimator.settings_


def test_other_weights_are_refused(saved: Path, tiny: Backbone) -> None:
    other = replace(tiny, weights_sha256="0" * 64)
    with pytest.raises(InputError, match=r"other weights of tiny .* 000000000000.*train again"):
        load_detector(saved, torch.device("cpu"), backbone=other)


def test_another_image_size_is_refused(saved: Path, tiny: Backbone) -> None:
    other = replace(tiny, settings=BackboneSettings(name="tiny", resize=64))
    with pytest.raises(InputError, match=r"tiny at its own picture size, not tiny at `resize` 64"):
        load_detector(saved, torch.device("cpu"), backbone=other)


@pytest.mark.parametrize("action", ["predict", "save"])
def test_an_estimator_that_is_not_fitted_is_refused(action: str, tmp_path: Path) -> None:
    estimator = make_estimator()
    with pytest.raises(InputError, match="learned nothing yet: call fit"):
        estimator.predict([draw_good(0)]) if action == "predict" else estimator.save(tmp_path / "none.pt")
    assert list(tmp_path.iterdir()) == []


def test_fitting_without_images_is_refused() -> None:
    with pytest.raises(InputError, match="no images to learn from"):
        make_estimator().fit([])


def test_a_failed_fit_keeps_what_was_learned_before(fitted: Fitted) -> None:
    estimator = make_estimator().fit(fitted.arrays)
    before = estimator.predict(fitted.arrays)
    with pytest.raises(InputError, match=r"no picture at nowhere\.png"):
        estimator.fit(["nowhere.png"])
    np.testing.assert_array_equal(estimator.predict(fitted.arrays).score, before.score)


def test_predicting_without_images_is_refused(fitted: Fitted) -> None:
    with pytest.raises(InputError, match="no images"):
        fitted.estimator.predict([])


def test_one_image_alone_counts_as_a_list_of_one(fitted: Fitted) -> None:
    path = fitted.paths[0]
    expected = fitted.estimator.predict([path]).raw_score
    opened = read_image(path)
    pixels = np.asarray(opened)
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    for image in (path, str(path), opened, pixels, pixels / 255, tensor, tensor / 255, tensor[None]):
        assert fitted.estimator.predict(image).raw_score == pytest.approx(expected, abs=1e-4)


def test_states_in_one_text_are_refused() -> None:
    with pytest.raises(InputError, match="states"):
        PromptAD("carpet", backbone="tiny", states="with hole")


def test_a_backbone_by_name_keeps_the_other_settings() -> None:
    settings = Settings(backbone=BackboneSettings(resize=64))
    assert PromptAD("carpet", backbone="tiny", settings=settings)._chosen_settings().backbone.resize == 64


def test_settings_survive_plain_data() -> None:
    settings = Settings(
        backbone=BackboneSettings(name="ViT-L-14", pretrained="openai", resize=224, crop=196),
        prompts=PromptSettings(n_pro=1, n_pro_ab=4, n_ctx=8, n_ctx_ab=2, start="random", states=("with hole",)),
        training=TrainingSettings(k_shot=4, epochs=7, lr=0.01, seed=5, weights=LossWeights(margin=0.5, grouping=2)),
        scoring=ScoringSettings(resolution=100, sigma=2.5, calibration="none"),
    )
    assert Settings.from_dict(settings.to_dict()) == settings
    assert Settings.from_dict(Settings().to_dict()) == Settings()


def test_settings_are_frozen() -> None:
    settings = Settings()
    for part, name in ((settings, "prompts"), (settings.prompts, "n_pro"), (settings.training.weights, "margin")):
        with pytest.raises(FrozenInstanceError):
            setattr(part, name, 1)


@pytest.mark.parametrize(
    ("part", "name", "value", "flag"),
    [
        (PromptSettings, "n_pro", 0, "`n_pro` 0"),
        (PromptSettings, "n_pro_ab", -1, "`n_pro_ab` -1"),
        (PromptSettings, "n_ctx", 0, "`n_ctx` 0"),
        (PromptSettings, "start", "middle", "`start` middle"),
        (TrainingSettings, "k_shot", 0, "`k_shot` 0"),
        (TrainingSettings, "epochs", -1, "`epochs` -1"),
        (TrainingSettings, "lr", -0.1, "`lr` -0.1"),
        (TrainingSettings, "lr", float("nan"), "`lr` nan"),
        (TrainingSettings, "momentum", 1.0, "`momentum` 1.0"),
        (TrainingSettings, "seed", -1, "`seed` -1"),
        (TrainingSettings, "views", 1, "`views` 1"),
        (ScoringSettings, "resolution", 0, "`resolution` 0"),
        (ScoringSettings, "sigma", -1.0, "`sigma` -1.0"),
        (ScoringSettings, "calibration", "all", "`calibration` all"),
        (BackboneSettings, "resize", 0, "`resize` 0"),
        (LossWeights, "balance", -1.0, "`weights.balance` -1.0"),
        pytest.param(PromptSettings, "n_pro", 2.5, "`n_pro` 2.5"),
        pytest.param(TrainingSettings, "epochs", 1.5, "`epochs` 1.5"),
        pytest.param(TrainingSettings, "lr", float("inf"), "`lr` inf"),
        pytest.param(LossWeights, "margin", float("inf"), "`weights.margin` inf"),
        pytest.param(ScoringSettings, "sigma", float("inf"), "`sigma` inf"),
    ],
)
def test_settings_refuse_invalid_values(part: type[Any], name: str, value: object, flag: str) -> None:
    with pytest.raises(InputError, match=f"^{flag}: "):
        part(**{name: value})


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        (PromptSettings, "n_pro", 101),
        (PromptSettings, "n_pro_ab", 10**9),
        (PromptSettings, "n_ctx", 1001),
        (TrainingSettings, "k_shot", 10**6),
        (TrainingSettings, "views", 10**5),
        (TrainingSettings, "epochs", 10**9),
        (BackboneSettings, "resize", 10**6),
        (ScoringSettings, "sigma", 300.0),
    ],
)
def test_settings_have_a_bound_that_a_machine_can_bear(part: type, name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"`{name}` {value}: must be at most"):
        part(**{name: value})


def test_a_state_without_a_word_is_refused_instead_of_looping(fitted: Fitted) -> None:
    estimator = PromptAD("carpet", backbone="tiny", states=["&nbsp;"])
    assert "`states`" in refusal(estimator.fit, fitted.paths[:1])
