"""A memory bank of a second encoder: grids of its own, AnomalyDINO's distances and scores, and what is kept of it."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exported import MEMORY, PLAIN, carpet, carpets, support
from helpers import refusal
from little_vit import LITTLE, random_model, write_weights
from PIL import Image
from torch import Tensor

from promptad import PromptAD, Settings
from promptad.backbones.clip import Backbone
from promptad.backbones.factory import load_backbone
from promptad.backbones.feature_cache import FeatureCache
from promptad.backbones.timm_vit import TimmViT
from promptad.features import DisturbedFeatures, ImageFeatures, SupportFeatures
from promptad.models.anomaly_map import resampled
from promptad.models.checkpoint import is_backbone_of
from promptad.models.memory_bank import CalibratedMemory, LeftOut, MemoryBank
from promptad.models.multi_prototype.calibration import calibrate
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.multi_prototype.fusion import weigh_distances
from promptad.models.multi_prototype.prototypes import Prototypes
from promptad.models.multi_prototype.scoring import score_features
from promptad.models.multi_prototype.teaching import confirm, new_verdicts
from promptad.models.support import encode_support, support_views
from promptad.settings import SINGLE_ANCHOR, BackboneSettings, PictureSettings, ScoringSettings
from promptad.structures import GOOD

CPU = torch.device("cpu")
SIZE, SIDE = 128, 8  # pixels and patches a side of the memory backbone; `tiny` has six


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "little.safetensors")


def with_memory(weights: Path, settings: Settings = MEMORY, **more: object) -> Settings:
    given = {"memory_backbone": LITTLE, "memory_pretrained": str(weights), "memory_size": SIZE} | more
    return replace(settings, backbone=replace(settings.backbone, **given))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def backbone(weights: Path) -> Backbone:
    return load_backbone(with_memory(weights).backbone, CPU)


@pytest.fixture(scope="module")
def estimator(weights: Path) -> PromptAD:
    return PromptAD("carpet", settings=with_memory(weights)).fit(support())


def reference_dino_features(image: Image.Image) -> Tensor:
    """The unit patch features [patch, width] after timm's last block, of a picture resized as AnomalyDINO does."""
    model = random_model()
    config = model.pretrained_cfg
    interpolation = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    square = image.resize((160, 160), interpolation[config["interpolation"]])
    pixels = torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1).float() / 255
    pixels = (pixels - torch.tensor(config["mean"]).view(3, 1, 1)) / torch.tensor(config["std"]).view(3, 1, 1)
    with torch.inference_mode():
        return F.normalize(model.forward_features(pixels[None])[0, model.num_prefix_tokens :], dim=-1)


def test_distances_and_image_scores_are_those_of_anomaly_dino(weights: Path) -> None:
    """At the model's own size, where nothing is interpolated: one nearest neighbour, the mean of the largest 1 %."""
    settings = with_memory(weights, memory_size=160, memory_backbone_layers=(1.0,)).backbone
    backbone = load_backbone(settings, CPU)
    shown = [carpet(number, "hole" if number % 2 else None) for number in range(3)]
    bank = MemoryBank.from_support(backbone.encode_images(support(), 2, layers=True))
    found = bank.add_distances(backbone.encode_images(shown, 2, layers=True)).distances
    assert found is not None
    memory = CalibratedMemory.calibrated(bank, found, ScoringSettings(calibration="none"))
    scores = memory.image_score(found, 0.01)
    rows = [row for image in support() for row in reference_dino_features(image)]
    for number, image in enumerate(shown):
        distances = [min(1 - float(patch @ row) for row in rows) for patch in reference_dino_features(image)]
        torch.testing.assert_close(2 * found[number], torch.tensor(distances), rtol=0, atol=1e-5)
        largest = sorted(distances, reverse=True)[: max(1, int(len(distances) * 0.01))]
        assert 2 * float(scores[number]) == pytest.approx(sum(largest) / len(largest), abs=1e-5)


@pytest.mark.parametrize(("side", "wanted"), [(8, 6), (32, 15), (6, 8), (15, 24), (4, 2), (5, 5)])
def test_values_of_one_grid_at_the_patches_of_another(side: int, wanted: int) -> None:
    values = torch.randn(2, side * side, generator=torch.Generator().manual_seed(0))
    found = resampled(values, wanted * wanted).view(2, wanted, wanted)
    if wanted <= side:  # the mean over the area of each patch, on a grid so fine that both have whole numbers of cells
        fine = values.view(2, side, side).repeat_interleave(wanted, 1).repeat_interleave(wanted, 2)
        expected = F.avg_pool2d(fine[:, None], side)[:, 0]
    else:
        expected = F.interpolate(values.view(2, 1, side, side), (wanted, wanted), mode="bilinear", align_corners=False)[
            :, 0
        ]
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


def random_features(count: int, seed: int, patches: int = 4, own: int = 9) -> ImageFeatures:
    generator = torch.Generator().manual_seed(seed)
    tokens, layer = (torch.randn(count, size, 6, generator=generator) for size in (patches, own))
    class_token = torch.randn(count, 6, generator=generator)
    class_token, tokens, layer = (F.normalize(part, dim=-1) for part in (class_token, tokens, layer))
    return ImageFeatures(class_token, tokens, (layer,))


@pytest.mark.parametrize(("patches", "own"), [(4, 9), (9, 4), (9, 9)])
def test_scores_are_made_on_the_finer_grid(patches: int, own: int) -> None:
    normal, new = (random_features(4, seed, patches, own) for seed in (0, 1))
    prototypes = Prototypes.from_features(normal.class_token[:2], normal.class_token[None, 2:])
    calibration = calibrate(normal, prototypes, "prototype")
    bank = MemoryBank.from_support(normal)
    known = bank.add_distances(new)
    assert known.distances is not None
    memory = CalibratedMemory.calibrated(bank, known.distances, ScoringSettings(calibration="position"))
    assert memory.patch_mean.shape == (own,)
    memory = replace(memory, map_weight=torch.tensor(0.3))
    found = score_features(known, prototypes, calibration, memory, top_share=0.3)
    words = score_features(new, prototypes, calibration, top_share=0.3)
    of_memory = (known.distances - memory.map_mean) / memory.map_std
    side = math.isqrt(max(patches, own))
    on_finer = [resampled(own_scores, side * side) for own_scores in (words.patches.flatten(1), of_memory)]
    torch.testing.assert_close(found.patches, (0.3 * on_finer[0] + on_finer[1]).view(4, side, side))
    z_scores = (known.distances - memory.patch_mean) / memory.patch_std
    count = max(1, round(0.3 * own))
    largest = torch.stack([sum(sorted(row.tolist())[-count:]) / torch.tensor(count) for row in z_scores])
    torch.testing.assert_close(found.image, words.image + largest)


def test_layers_of_another_grid_are_weighed_by_their_reaction_at_the_disturbed_patches() -> None:
    views, seen = random_features(6, 0), random_features(6, 1)
    places = torch.tensor([[True, False, False, False]] * 6)
    left_out = LeftOut.measured(SupportFeatures(views, probes=DisturbedFeatures(seen, places.float())), 2)
    assert left_out.probes is not None
    assert left_out.views.shape == (1, 6, 9)
    reacting = left_out.probes.clone()
    reacting[..., 0] += 1  # inside the disturbed patch, of which it is 4 ninths
    strong = LeftOut(torch.cat([left_out.views] * 2), torch.cat([left_out.probes, reacting]), None)
    weights = weigh_distances(strong, places)
    assert float(weights[1]) > 5 * float(weights[0])


def test_a_finer_bank_keeps_even_patches_of_all_views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptad.features.MOST_ROWS", 30)
    features = random_features(6, 0)
    (kept,) = SupportFeatures(features).banked.layers
    assert kept.shape == (6, 5, 6)
    assert torch.equal(kept[0], features.layers[0][0, [0, 2, 4, 6, 8]])
    coarser = random_features(6, 0, patches=9, own=9)
    assert SupportFeatures(coarser).banked is coarser  # the encoder's own features, of one tile: all
    found = LeftOut.measured(SupportFeatures(features), 2)
    assert found.views.shape == (1, 6, 9)


def test_each_encoder_sees_a_support_image_as_a_new_one(backbone: Backbone, weights: Path) -> None:
    settings = with_memory(weights)
    found = encode_support(backbone, support(), settings)
    views = settings.support_views
    as_new = backbone.encode_images(support(), 2, layers=True)
    for own, other in ((found.views.patch_tokens, as_new.patch_tokens), (found.views.layers[1], as_new.layers[1])):
        torch.testing.assert_close(own[::views], other, rtol=0, atol=1e-5)
    assert (backbone.canvas, backbone.resize) == (SIZE, 48)
    assert found.views.layers[0].shape[1:] == (SIDE * SIDE, 64)
    assert found.views.patch_tokens.shape[1] == 36
    plain = encode_support(replace(backbone, memory=None), support(), settings)
    assert found.looks == plain.looks
    assert found.probes is not None
    assert found.probes.share.shape == (16, 36)
    assert 0.005 < float(found.probes.share.mean()) < 0.3
    disturbed, views_of = found.probes.images.layers[1], found.probes.views_of(2 * views)
    change = 1 - (disturbed * found.views.layers[1][views_of]).sum(2)  # at the memory's own patches
    at_tokens, places = resampled(change, 36), found.probes.places
    assert float(at_tokens[places].mean()) > 1.2 * float(at_tokens[~places].mean())


def test_a_small_memory_backbone_sees_a_support_image_as_a_new_one(weights: Path) -> None:
    settings = with_memory(weights, memory_size=32)
    backbone = load_backbone(settings.backbone, CPU)
    found, as_new = encode_support(backbone, support(), settings), backbone.encode_images(support(), 2, layers=True)
    assert (backbone.canvas, found.views.layers[0].shape[1]) == (48, 4)
    for own, other in ((found.views.patch_tokens, as_new.patch_tokens), (found.views.layers[1], as_new.layers[1])):
        torch.testing.assert_close(own[:: settings.support_views], other, rtol=0, atol=1e-5)
    views = support_views(backbone, support(), settings, settings.support_views)
    second = backbone.encode_images([views[settings.support_views + 1]], 1, layers=True)
    torch.testing.assert_close(found.views.layers[0][[settings.support_views + 1]], second.layers[0], rtol=0, atol=1e-5)


def test_the_centre_that_is_kept_of_a_picture_is_that_of_both_encoders(weights: Path) -> None:
    settings = replace(with_memory(weights).backbone, resize=64, crop=48, memory_size=96)
    backbone = load_backbone(settings, CPU)
    image = carpet(3)
    centre = image.resize((640, 640), Image.Resampling.BICUBIC).crop((80, 80, 560, 560))
    whole = load_backbone(replace(settings, resize=48, crop=None), CPU)
    assert (backbone.memory_resize, whole.memory_resize) == (128, 96)
    one, other = backbone.encode_images([image], 1, layers=True), whole.encode_images([centre], 1, layers=True)
    far = whole.encode_images([image], 1, layers=True)
    near, apart = (float(1 - (one.layers[0] * own.layers[0]).sum(2).mean()) for own in (other, far))
    assert near < 0.5 * apart


def test_tokens_stay_in_the_cache_whatever_the_memory_backbone(
    backbone: Backbone, tmp_path: Path, read_counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    complete = TimmViT.features

    def features(self: TimmViT, pixels: Tensor) -> tuple[Tensor, ...]:
        counts.append(len(pixels))
        return complete(self, pixels)

    monkeypatch.setattr(TimmViT, "features", features)
    cached = replace(backbone, cache=FeatureCache(tmp_path))
    plain = replace(cached, memory=None, settings=PLAIN.backbone)
    images = [carpet(number) for number in range(3)]
    first = plain.encode_images(images, 3)
    assert (sum(read_counts), sum(counts)) == (3, 0)
    assert torch.equal(cached.encode_images(images, 3).patch_tokens, first.patch_tokens)
    assert (sum(read_counts), sum(counts)) == (3, 0)
    known = cached.encode_images(images, 3, layers=True)
    assert (sum(read_counts), sum(counts)) == (6, 3)
    again = cached.encode_images(images, 3, layers=True)
    assert (sum(read_counts), sum(counts)) == (6, 3)
    assert all(torch.equal(one, other) for one, other in zip(known.layers, again.layers, strict=True))
    assert cached.memory is not None
    for change in ({"weights_sha256": "0"}, {"layer_indices": (3,)}, {"interpolation": "bilinear"}):
        other = replace(cached.memory, **change)  # type: ignore[type-var]
        replace(cached, memory=other).encode_images(images, 3, layers=True)
    assert sum(counts) == 3 * 4
    plain.encode_images(images, 3, layers=True)  # its own layers are stored by themselves
    assert plain.encode_images(images, 3, layers=True).layers[0].shape[1:] != known.layers[0].shape[1:]


def test_a_detector_is_loaded_with_its_memory_backbone(estimator: PromptAD, weights: Path, tmp_path: Path) -> None:
    estimator.save(tmp_path / "carpet.pt")
    content = torch.load(tmp_path / "carpet.pt", weights_only=True)
    assert estimator.detector.backbone.memory is not None
    assert content["memory_weights_sha256"] == estimator.detector.backbone.memory.weights_sha256
    assert content["settings"]["backbone"]["memory_backbone"] == LITTLE
    assert content["memory"]["first"].shape[1] == 64
    loaded = PromptAD.load(tmp_path / "carpet.pt")
    known, found = (own.predict(carpets()[:4]) for own in (estimator, loaded))
    np.testing.assert_array_equal(found.raw_score, known.raw_score)
    np.testing.assert_array_equal(found.anomaly_map, known.anomaly_map)
    moved = weights.rename(weights.with_name("moved.safetensors"))
    try:
        assert "no such file" in refusal(PromptAD.load, tmp_path / "carpet.pt")
        again = PromptAD.load(tmp_path / "carpet.pt", memory_weights=str(moved))
        np.testing.assert_array_equal(again.predict(carpets()[:4]).raw_score, known.raw_score)
    finally:
        moved.rename(weights)


def test_another_memory_backbone_is_refused(estimator: PromptAD, tmp_path: Path) -> None:
    file = tmp_path / "carpet.pt"
    estimator.save(file)
    other = write_weights(tmp_path / "other.safetensors", shift=0.1)
    words = refusal(PromptAD.load, file, memory_weights=str(other))
    assert f"was trained on other weights of {LITTLE}" in words
    assert "give those by `memory_pretrained`" in words
    content = torch.load(file, weights_only=True)
    content["settings"]["backbone"]["memory_size"] = 96
    torch.save(content, file)
    assert "was trained on other weights" in refusal(PromptAD.load, file)  # positions are those of another size
    content["settings"]["backbone"]["memory_size"] = SIZE
    del content["memory_weights_sha256"]
    torch.save(content, file)
    assert "memory_weights_sha256 is no text" in refusal(PromptAD.load, file)


def test_a_backbone_is_shared_by_detectors_of_the_same_memory_backbone(backbone: Backbone, weights: Path) -> None:
    assert backbone.memory is not None
    known = {"weights_sha256": backbone.weights_sha256, "memory_weights_sha256": backbone.memory.weights_sha256}
    settings = with_memory(weights)
    assert is_backbone_of({"settings": settings, **known}, backbone)
    moved = with_memory(Path("elsewhere.safetensors"))
    assert is_backbone_of({"settings": moved, **known}, backbone)
    assert not is_backbone_of({"settings": settings, **known, "memory_weights_sha256": "0"}, backbone)
    assert not is_backbone_of({"settings": with_memory(weights, memory_size=96), **known}, backbone)
    assert not is_backbone_of({"settings": MEMORY, "weights_sha256": backbone.weights_sha256}, backbone)


def test_settings_without_a_memory_backbone_are_those_of_before(weights: Path) -> None:
    plain = MEMORY.to_dict()
    assert not [name for name in plain["backbone"] if name.startswith("memory_") and name != "memory_layers"]
    assert Settings.from_dict(plain) == MEMORY
    known = with_memory(weights)
    assert Settings.from_dict(known.to_dict()) == known
    assert known.backbone.without_folders().memory_pretrained == weights.name


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"memory_backbone_layers": (0.0, 1.0)},
            "`memory_backbone_layers` 0.0, 1.0: give shares of the depth from above",
        ),
        ({"memory_backbone_layers": ()}, "`memory_backbone_layers` (): give shares"),
        ({"memory_size": 0}, "`memory_size` 0: must be a whole number of at least 1"),
        ({"memory_backbone": "", "memory_size": 224}, "`memory_size` 224 is of a `memory_backbone`: name one"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], words: str) -> None:
    given: dict[str, object] = {"memory_backbone": LITTLE} | settings
    assert words in refusal(BackboneSettings, **given)


def test_it_needs_a_memory_bank_and_is_not_for_the_baseline(weights: Path) -> None:
    backbone = with_memory(weights).backbone
    assert "switch that on, by `memory` True" in refusal(replace, PLAIN, backbone=backbone)
    words = refusal(replace, MEMORY, backbone=backbone, system=SINGLE_ANCHOR)
    assert "the memory bank of the single-anchor baseline is CLIP's own; leave it out" in words


def test_the_estimator_keeps_a_memory_bank_of_the_encoder_that_it_is_given() -> None:
    chosen = PromptAD("carpet", memory_backbone="dinov2-small")._chosen_settings()
    assert (chosen.backbone.memory_backbone, chosen.scoring.memory) == ("dinov2-small", True)
    assert PromptAD("carpet", memory_backbone=None)._chosen_settings() == Settings()


def test_verdicts_are_taught_and_kept(estimator: PromptAD, tmp_path: Path) -> None:
    detector, images = estimator.detector, carpets()
    assert isinstance(detector, MultiPrototypeDetector)
    passed = [image for image, label in zip(images, detector.predict(images).label, strict=True) if label == GOOD]
    taught = confirm(detector, new_verdicts(detector, passed[1:3], passed[:1]))
    assert taught.head.memory is not None
    assert detector.head.memory is not None
    added = len(taught.head.memory.bank.layers[0]) - len(detector.head.memory.bank.layers[0])
    assert added == 2 * SIDE * SIDE
    assert taught.predict(passed[:1]).label != (GOOD,)
    taught.save(tmp_path / "taught.pt")
    loaded = PromptAD.load(tmp_path / "taught.pt")
    np.testing.assert_array_equal(loaded.predict(passed).raw_score, taught.predict(passed).raw_score)


def test_tiles_and_one_image(weights: Path) -> None:
    tiled = replace(with_memory(weights), picture=PictureSettings(tiles=(1, 2)))
    detector = PromptAD("carpet", settings=tiled).fit(support()[:1])
    found = detector.predict(carpets()[:3])
    assert found.anomaly_map.shape[0] == 3
    assert np.isfinite(found.raw_score).all()
    np.testing.assert_allclose(detector.predict([carpets()[1]]).raw_score, found.raw_score[1:2], rtol=1e-4, atol=1e-3)


def test_scores_at_places_and_without_smoothing_of_calibration(weights: Path) -> None:
    by_place = with_memory(weights, replace(MEMORY, scoring=replace(MEMORY.scoring, calibration="position")))
    detector = PromptAD("carpet", settings=by_place).fit(support()).detector
    assert isinstance(detector, MultiPrototypeDetector)
    assert detector.head.memory is not None
    assert detector.head.memory.patch_mean.shape == (SIDE * SIDE,)
    assert detector.head.calibration.patch_mean.shape[0] == 36
    assert np.isfinite(detector.predict(carpets()[:2]).raw_score).all()


def test_a_folder_names_no_file_of_this_machine(estimator: PromptAD, weights: Path, tmp_path: Path) -> None:
    estimator.save_pretrained(tmp_path / "folder")
    words = refusal(PromptAD.from_pretrained, tmp_path / "folder")
    assert f"needs the weights {weights.name} of {LITTLE}" in words
    card = (tmp_path / "folder" / "README.md").read_text(encoding="utf-8")
    assert f'memory_weights="path/to/{weights.name}")' in card
    assert f"with a memory bank of {LITTLE} |" in card
    loaded = PromptAD.from_pretrained(tmp_path / "folder", memory_weights=str(weights))
    known = estimator.predict(carpets()[:2])
    np.testing.assert_array_equal(loaded.predict(carpets()[:2]).raw_score, known.raw_score)
