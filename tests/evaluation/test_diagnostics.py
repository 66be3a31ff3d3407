"""Diagnostics against reference implementations written as loops."""

import io
import json
import math
from dataclasses import replace
from statistics import fmean, median, pstdev
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers import reference_centred, smooth_best
from rich.console import Console
from torch import Tensor

from promptad.backbones.clip import Backbone
from promptad.evaluation.diagnostics import diagnose, diagnostics_table, verdicts_on
from promptad.features import ImageFeatures
from promptad.models.base import Subject
from promptad.models.memory_bank import CalibratedMemory, MemoryBank
from promptad.models.multi_prototype.calibration import calibrate
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.multi_prototype.explain import StateDirections
from promptad.models.multi_prototype.head import PrototypeHead
from promptad.models.multi_prototype.prototypes import Prototypes
from promptad.settings import ScoringSettings, Settings

DIMENSIONS = 16
PATCHES = 9
SCORING = ScoringSettings()


def random_units(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, DIMENSIONS, generator=generator), dim=-1)


def axes(*numbers: int) -> Tensor:
    """Unit vectors along the given axes."""
    return torch.eye(DIMENSIONS)[list(numbers)]


def make_detector(
    backbone: Backbone, normal: Tensor, abnormal: Tensor, support: ImageFeatures
) -> MultiPrototypeDetector:
    """A detector with these directions, whose mean direction is the last axis."""
    half = torch.tensor(0.5)
    prototypes = Prototypes(normal, abnormal, axes(-1)[0], half.expand(len(normal)), half.expand(len(abnormal)))
    settings = Settings()
    calibration = calibrate(support, prototypes, "prototype")
    subject = Subject("demo", "carpet", ("000.png",), "0" * 64)
    states = StateDirections.calibrated([["{} with hole"]], [random_units(1, seed=9)], prototypes, support)
    return MultiPrototypeDetector(backbone, PrototypeHead(prototypes, calibration, states), settings, subject)


def random_features(images: int, seed: int) -> ImageFeatures:
    return ImageFeatures(random_units(images, seed=seed), random_units(images, PATCHES, seed=seed + 1))


def random_case(
    backbone: Backbone, normal_count: int, abnormal_count: int
) -> tuple[MultiPrototypeDetector, ImageFeatures]:
    normal, abnormal = random_units(normal_count, seed=1), random_units(abnormal_count, seed=2)
    return make_detector(backbone, normal, abnormal, random_features(6, seed=3)), random_features(5, seed=5)


def cosine(first: Tensor, second: Tensor) -> float:
    pairs = zip(first.tolist(), second.tolist(), strict=True)
    product: float = sum(a * b for a, b in pairs)
    return product / (math.hypot(*first.tolist()) * math.hypot(*second.tolist()))


def owners_by_loop(
    detector: MultiPrototypeDetector, features: ImageFeatures
) -> tuple[list[list[int]], list[list[int]]]:
    """The normal and the abnormal prototype that each patch of each image belongs to."""
    normal, abnormal = detector.head.prototypes.normal, detector.head.prototypes.abnormal
    calibration = detector.head.calibration
    normal_owners: list[list[int]] = []
    abnormal_owners: list[list[int]] = []
    for image in features.patch_tokens:
        normal_owners.append([])
        abnormal_owners.append([])
        centred = reference_centred([[float(patch @ prototype) for prototype in normal] for patch in image])
        for patch, own in zip(image, centred, strict=True):
            similarities = [value - float(calibration.normal_bias[i]) for i, value in enumerate(own)]
            z_scores = [
                (float(patch @ prototype) - smooth_best(similarities) - float(calibration.map_mean[j]))
                / float(calibration.map_std[j])
                for j, prototype in enumerate(abnormal)
            ]
            normal_owners[-1].append(similarities.index(max(similarities)))
            abnormal_owners[-1].append(z_scores.index(max(z_scores)))
    return normal_owners, abnormal_owners


def shares_by_loop(owners: list[list[int]], count: int) -> list[float]:
    everywhere = [owner for image in owners for owner in image]
    return [everywhere.count(prototype) / len(everywhere) for prototype in range(count)]


def verdict_of(diagnostics: dict[str, Any], name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = [verdict for verdict in diagnostics["verdicts"] if verdict["name"] == name]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(("normal_count", "abnormal_count"), [(3, 6), (2, 4), (1, 3), (4, 1), (1, 1)])
def test_usage_and_dominance_equal_those_of_a_loop(tiny: Backbone, normal_count: int, abnormal_count: int) -> None:
    detector, features = random_case(tiny, normal_count, abnormal_count)
    result = diagnose(detector, features)
    normal_owners, abnormal_owners = owners_by_loop(detector, features)
    assert result["normal_prototype_frequencies"] == pytest.approx(shares_by_loop(normal_owners, normal_count))
    assert result["abnormal_prototype_frequencies"] == pytest.approx(shares_by_loop(abnormal_owners, abnormal_count))
    largest = [max(image.count(prototype) for prototype in range(normal_count)) / PATCHES for image in normal_owners]
    assert result["dominance_statistics"] == pytest.approx(
        {
            "mean": fmean(largest),
            "median": median(largest),
            "min": min(largest),
            "max": max(largest),
            "std": pstdev(largest),
            "images_above_80pct": sum(share > 0.8 for share in largest),
            "images_above_90pct": sum(share > 0.9 for share in largest),
            "total_images": 5,
        }
    )
    assert (result["total_images"], result["total_patches"]) == (5, 5 * PATCHES)


@pytest.mark.parametrize(("normal_count", "abnormal_count"), [(3, 6), (2, 4), (1, 2)])
def test_collapse_and_separation_equal_those_of_a_loop(tiny: Backbone, normal_count: int, abnormal_count: int) -> None:
    detector, features = random_case(tiny, normal_count, abnormal_count)
    result = diagnose(detector, features)
    normal, abnormal = detector.head.prototypes.normal, detector.head.prototypes.abnormal
    pairs = [cosine(abnormal[i], abnormal[j]) for i in range(abnormal_count) for j in range(i)]
    assert result["abnormal_collapse"] == pytest.approx(
        {"mean": fmean(pairs), "min": min(pairs), "max": max(pairs), "num_pairs": len(pairs)}, abs=1e-5
    )
    mean_normal = sum(normal, start=torch.zeros(DIMENSIONS))
    to_mean = [cosine(prototype, mean_normal) for prototype in abnormal]
    across = [cosine(one, other) for one in abnormal for other in normal]
    assert result["normal_abnormal_separation"] == pytest.approx(
        {
            "mean_to_mean_normal": fmean(to_mean),
            "min_to_mean_normal": min(to_mean),
            "max_to_mean_normal": max(to_mean),
            "std_to_mean_normal": pstdev(to_mean),
            "all_pairs_mean": fmean(across),
            "all_pairs_min": min(across),
            "all_pairs_max": max(across),
        },
        abs=1e-5,
    )
    assert result["abnormal_to_mean_normal"] == pytest.approx(to_mean, abs=1e-5)


def test_raw_cosines_include_the_mean_direction(tiny: Backbone) -> None:
    normal, abnormal = axes(0, 1), axes(2, 3, 4)  # a raw feature is half the mean direction, the rest its own
    detector = make_detector(tiny, normal, abnormal, random_features(6, seed=3))
    result = diagnose(detector, random_features(5, seed=5))["raw_cosines"]
    raw_normal, raw_abnormal = (0.5 * axes(-1) + math.sqrt(0.75) * side for side in (normal, abnormal))
    assert result["abnormal_to_abnormal"] == pytest.approx(0.25)
    expected = fmean(cosine(prototype, raw_normal.mean(0)) for prototype in raw_abnormal)
    assert result["abnormal_to_mean_normal"] == pytest.approx(expected)


def test_verdicts_equal_those_of_a_loop(tiny: Backbone) -> None:
    for seed in range(20):
        normal, abnormal = random_units(3, seed=seed), random_units(4, seed=seed + 50)
        abnormal = F.normalize(
            abnormal + seed / 10 * normal[:1], dim=-1
        )  # nearer and nearer to each other and to normal
        detector = make_detector(tiny, normal, abnormal, random_features(6, seed=3))
        result = diagnose(detector, random_features(5, seed=seed))
        usage = result["normal_prototype_frequencies"]
        statistics = result["dominance_statistics"]
        expected = {
            "balanced usage": all(0.6 / 3 <= share <= 1.4 / 3 for share in usage),
            "no collapse": result["abnormal_collapse"]["mean"] < 0.5,
            "separation": result["normal_abnormal_separation"]["mean_to_mean_normal"] < 0.3,
            "no dominance": statistics["images_above_80pct"] / 5 < 0.2,
        }
        assert {verdict["name"]: verdict["healthy"] for verdict in result["verdicts"]} == expected
        assert all(bool(verdict["advice"]) != verdict["healthy"] for verdict in result["verdicts"])


def healthy_case(backbone: Backbone) -> tuple[MultiPrototypeDetector, ImageFeatures]:
    """Three normal prototypes with a third of every image each, and six abnormal ones orthogonal to all."""
    patches = axes(0, 1, 2, 0, 1, 2, 0, 1, 2).expand(4, PATCHES, DIMENSIONS)
    features = ImageFeatures(axes(0, 1, 2, 0), F.normalize(patches + 0.05 * random_units(4, PATCHES, seed=1), dim=-1))
    return make_detector(backbone, axes(0, 1, 2), axes(*range(3, 9)), features), features


def test_healthy_prototypes_get_no_advice(tiny: Backbone) -> None:
    result = diagnose(*healthy_case(tiny))
    assert [verdict["healthy"] for verdict in result["verdicts"]] == [True] * 4
    assert [verdict["advice"] for verdict in result["verdicts"]] == [""] * 4
    assert result["normal_prototype_frequencies"] == pytest.approx([1 / 3] * 3)


def test_collapsed_prototypes_get_advice(tiny: Backbone) -> None:
    healthy, features = healthy_case(tiny)
    near = F.normalize(axes(3) + 0.05 * random_units(6, seed=4), dim=-1)
    verdict = verdict_of(diagnose(make_detector(tiny, axes(0, 1, 2), near, features), features), "no collapse")
    assert not verdict["healthy"]
    assert verdict["value"] > 0.9
    assert "more abnormal prototypes (`n_pro_ab`)" in verdict["advice"]
    assert verdict_of(diagnose(healthy, features), "no collapse")["healthy"]


def test_abnormal_prototypes_near_normal_ones_fail_separation(tiny: Backbone) -> None:
    _, features = healthy_case(tiny)
    near = F.normalize(axes(0, 1, 2).mean(0) + 0.5 * axes(*range(3, 9)), dim=-1)
    verdict = verdict_of(diagnose(make_detector(tiny, axes(0, 1, 2), near, features), features), "separation")
    assert not verdict["healthy"]
    assert "learning rate (`lr`)" in verdict["advice"]


def test_one_prototype_on_each_whole_image_fails_dominance_only(tiny: Backbone) -> None:
    detector, _ = healthy_case(tiny)
    complete = axes(0, 1, 2)[:, None].expand(3, PATCHES, DIMENSIONS)
    result = diagnose(detector, ImageFeatures(axes(0, 1, 2), complete))
    assert [verdict["name"] for verdict in result["verdicts"] if not verdict["healthy"]] == ["no dominance"]
    assert result["dominance_statistics"]["images_above_90pct"] == 3


def test_one_prototype_on_most_patches_fails_usage(tiny: Backbone) -> None:
    detector, _ = healthy_case(tiny)
    patches = axes(0, 0, 0, 0, 0, 0, 1, 1, 2).expand(2, PATCHES, DIMENSIONS)
    result = diagnose(detector, ImageFeatures(axes(0, 1), patches))
    verdict = verdict_of(result, "balanced usage")
    assert (verdict["healthy"], verdict["value"]) == (False, pytest.approx(6 / 9))
    assert verdict["limit"] == pytest.approx([0.2, 1.4 / 3])


@pytest.mark.parametrize(("normal_count", "abnormal_count"), [(1, 6), (3, 1), (1, 1)])
def test_a_single_prototype_is_always_healthy(tiny: Backbone, normal_count: int, abnormal_count: int) -> None:
    _, features = healthy_case(tiny)
    normal, abnormal = axes(*range(normal_count)), axes(*range(3, 3 + abnormal_count))
    result = diagnose(make_detector(tiny, normal, abnormal, features), features)
    assert [verdict["healthy"] for verdict in result["verdicts"]] == [True] * 4
    if abnormal_count == 1:
        assert result["abnormal_collapse"] == {"mean": None, "min": None, "max": None, "num_pairs": 0}


@pytest.mark.parametrize(("normal_count", "abnormal_count"), [(3, 6), (1, 1)])
def test_diagnostics_are_plain_data_and_printed(tiny: Backbone, normal_count: int, abnormal_count: int) -> None:
    result = diagnose(*random_case(tiny, normal_count, abnormal_count))
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert verdicts_on(result) == result["verdicts"]
    console = Console(file=io.StringIO(), width=200)
    console.print(diagnostics_table(result))
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    for verdict in result["verdicts"]:
        assert verdict["name"] in printed
        assert verdict["advice"] in printed
    assert "Prototypes of carpet" in printed


def test_a_constant_map_is_found(tiny: Backbone) -> None:
    detector, features = random_case(tiny, 3, 4)
    assert diagnose(detector, features)["findings"] == []
    alike = ImageFeatures(features.class_token, features.patch_tokens[:, :1].expand(-1, PATCHES, -1))
    result = diagnose(detector, alike)
    (finding,) = result["findings"]
    assert finding.startswith("the anomaly map is constant")
    with_table = Console(file=io.StringIO(), width=300)
    with_table.print(diagnostics_table(result))
    assert isinstance(with_table.file, io.StringIO)
    assert finding in " ".join(with_table.file.getvalue().split())


def test_silent_words_are_found(tiny: Backbone) -> None:
    detector, features = random_case(tiny, 3, 4)
    known = replace(features, distances=torch.rand(len(features.class_token), PATCHES))
    assert known.distances is not None
    memory = CalibratedMemory.calibrated(MemoryBank((torch.zeros(1, 1),), torch.ones(1)), known.distances, SCORING)
    for weight, said in ((0.5, False), (0.02, True)):
        share = torch.tensor(weight)
        weighted = replace(memory, class_token_weight=share, patches_weight=share, map_weight=share)
        beside = replace(detector, head=detector.head.with_memory(weighted))
        findings = diagnose(beside, known)["findings"]
        assert any("words are silent" in finding for finding in findings) == said
        assert any("do not react" in finding for finding in beside.findings()) == said
