"""Verdicts: what they change, that nothing else does, and that they can be undone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from promptad import InputError, PromptAD, Settings
from promptad.data.demo import draw_image
from promptad.features import ImageFeatures
from promptad.models.memory_bank import MemoryBank
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.multi_prototype.gumbel import Gumbel
from promptad.models.multi_prototype.known_defects import NEARLY_SAME, OWN_NORMAL, SHARE, KnownDefects
from promptad.models.multi_prototype.normal_scores import ConfirmedScores, NormalScoreDistribution, conformal_level
from promptad.settings import TINY_BACKBONE, BackboneSettings, ScoringSettings, TrainingSettings
from promptad.structures import ANOMALY, GOOD

PLAIN = Settings(
    backbone=BackboneSettings(name=TINY_BACKBONE),
    training=TrainingSettings(epochs=1, views=2),
    scoring=ScoringSettings(resolution=64),
)


def drawn(seed: int, defect: str | None = None) -> np.ndarray:
    return draw_image("carpet", style_seed=3, instance_seed=seed, defect=defect)[0]


SUPPORT = [drawn(1), drawn(2)]
GOODS, STAINED = [drawn(seed) for seed in (11, 12, 13)], [drawn(seed, "color stain") for seed in (21, 22, 23)]
NEW = [*(drawn(seed) for seed in (31, 32)), *(drawn(seed, "color stain") for seed in (41, 42))]


@pytest.fixture(scope="module", params=[False, True], ids=["words", "memory"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = replace(PLAIN, scoring=replace(PLAIN.scoring, memory=request.param))
    path = tmp_path_factory.mktemp("trained") / "carpet.pt"
    PromptAD("carpet", settings=settings).fit(SUPPORT).save(path)
    return path


def decided(estimator: PromptAD) -> MultiPrototypeDetector:
    assert isinstance(estimator.detector, MultiPrototypeDetector)
    return estimator.detector


def with_threshold(path: Path, threshold: float) -> PromptAD:
    """Load a detector with a threshold that its tail alone sets."""
    estimator = PromptAD.load(path)
    detector = decided(estimator)
    assert detector.normal_scores is not None
    scores = replace(detector.normal_scores, image=Gumbel(threshold, 1.0), left_out_scores=(), left_out_maxima=())
    estimator._detector = detector.with_thresholds(scores, detector.settings.scoring)
    return estimator


def predicted(estimator: PromptAD, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    found = estimator.predict(images)
    return [found.score, found.raw_score, found.anomaly_map]


def assert_equal(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_confirmed_miss_is_rejected_with_its_region_and_its_name(saved: Path, tmp_path: Path) -> None:
    estimator = with_threshold(saved, 1e3)
    assert estimator.predict(STAINED).label == (GOOD,) * 3
    estimator.confirm(defect=STAINED[:1]).save(tmp_path / "taught.pt")
    for one in (estimator, PromptAD.load(tmp_path / "taught.pt")):
        found = one.predict([STAINED[0], *GOODS])
        assert found.label == (ANOMALY, GOOD, GOOD, GOOD)
        assert found.score[0] > 0.5
        assert found.anomaly_map[0].max() > 0.5
        assert found.regions(0)
        assert [why.reason.startswith("like the defect") for why in found.explanations] == [True, False, False, False]
        assert found.explanations[0].reason == "like the defect in image 1"


def test_a_confirmed_false_alarm_raises_the_threshold_unless_that_loses_more_defects(saved: Path) -> None:
    estimator = with_threshold(saved, -1e3)
    alarms = estimator.predict(GOODS)
    assert alarms.label == (ANOMALY,) * 3
    estimator.confirm(good=GOODS)
    assert estimator.predict(GOODS).label == (GOOD,) * 3
    scores = decided(estimator).normal_scores
    assert scores is not None
    assert len(scores.confirmed_scores.good) == 3
    assert estimator.predict(GOODS).threshold == pytest.approx(max(scores.confirmed_scores.good), rel=1e-6)


def test_order_does_not_matter_and_undoing_leaves_no_trace(saved: Path) -> None:
    untaught = PromptAD.load(saved)
    at_once = PromptAD.load(saved).confirm(GOODS[:2], STAINED[:2])
    one_by_one = PromptAD.load(saved)
    for good, defect in ((), STAINED[:1]), (GOODS[:2], ()), ((), STAINED[1:2]), (GOODS[2:], STAINED[2:]):
        one_by_one.confirm(good, defect)
    assert_equal(predicted(PromptAD.load(saved), NEW), predicted(untaught, NEW))
    extra = [verdict.sha256 for verdict in one_by_one.verdicts[-2:]]
    one_by_one.undo(*extra)
    for found, expected in zip(predicted(one_by_one, NEW), predicted(at_once, NEW), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    one_by_one.undo("all")
    assert one_by_one.verdicts == ()
    assert_equal(predicted(one_by_one, NEW), predicted(untaught, NEW))
    for name, value in untaught.detector.head.state_dict().items():
        assert torch.equal(one_by_one.detector.head.state_dict()[name], value), name


def test_a_verdict_is_kept_and_told_once(saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    estimator = PromptAD.load(saved).confirm(GOODS[:1], STAINED[:1])
    estimator.save(tmp_path / "taught.pt")
    again = PromptAD.load(tmp_path / "taught.pt")
    assert again.verdicts == estimator.verdicts
    assert [(one.name, one.is_good) for one in again.verdicts] == [("image 1", True), ("image 1", False)]
    assert all(len(one.sha256) == 64 and one.time.endswith("+00:00") for one in again.verdicts)
    again.confirm(defect=STAINED[:1])
    assert caplog.messages == ["known already: image 1 is defective"]
    assert again.verdicts == estimator.verdicts


@pytest.mark.parametrize(
    ("good", "defect", "words"),
    [
        (STAINED[1:2], STAINED[1:2], "image 1 is given as good and as defective: decide for one"),
        (STAINED[:1], [], "image 1 was called defective on .*: if it is good, `undo` image 1 first"),
        ([], [STAINED[1], GOODS[0]], "image 2 was called good on .*: if it is defective, `undo` image 1 first"),
        ([], SUPPORT[1:], "image 1 is one of the good pictures that the detector learned from"),
    ],
)
def test_contradictions_are_refused(
    saved: Path, good: Sequence[np.ndarray], defect: Sequence[np.ndarray], words: str
) -> None:
    estimator = PromptAD.load(saved).confirm(GOODS[:1], STAINED[:1])
    before = estimator.detector
    with pytest.raises(InputError, match=words):
        estimator.confirm(good, defect)
    assert estimator.detector is before


def test_a_name_of_several_verdicts_or_of_none_is_refused(saved: Path) -> None:
    estimator = PromptAD.load(saved).confirm(GOODS[:1], STAINED[:1])
    with pytest.raises(InputError, match="2 verdicts are of that name; give one by its hash"):
        estimator.undo("image 1")
    with pytest.raises(InputError, match="no verdict is of that picture"):
        estimator.undo("image 9")


def test_thresholds_set_by_hand_stay(saved: Path) -> None:
    estimator = PromptAD.load(saved)
    detector = decided(estimator)
    assert detector.normal_scores is not None
    scoring = replace(detector.settings.scoring, threshold=3.0)
    estimator._detector = detector.with_thresholds(detector.normal_scores, scoring)
    assert estimator.confirm(GOODS, STAINED).predict(GOODS[:1]).threshold == 3.0


def test_the_baseline_decides_nothing() -> None:
    folder = Path(__file__).parents[1] / "format_8"
    baseline = PromptAD.load(folder / "single_anchor.pt", system="single-anchor")
    with pytest.raises(InputError, match="decides nothing"):
        baseline.confirm(good=GOODS)


def test_names_of_pictures_are_private_in_folders(saved: Path, tmp_path: Path) -> None:
    PromptAD.load(saved).confirm(defect=STAINED[:1]).save_pretrained(tmp_path / "folder")
    loaded = PromptAD.from_pretrained(tmp_path / "folder")
    assert [verdict.name for verdict in loaded.verdicts] == [""]
    assert loaded.predict(STAINED[:1]).explanations[0].reason == "like the defect number 1"
    assert loaded.undo(loaded.verdicts[0].sha256[:8]).verdicts == ()


def test_from_enough_good_pictures_on_the_threshold_is_counted() -> None:
    good = tuple(float(number) for number in range(98))
    scores = NormalScoreDistribution(Gumbel(500.0, 1.0), Gumbel(500.0, 1.0), (98.0,), (98.0,))
    few = replace(scores, confirmed_scores=ConfirmedScores(good), confirmed_maxima=ConfirmedScores(good))
    assert few.image_level(0.01) > 500
    enough = replace(scores, confirmed_scores=ConfirmedScores((*good, 99.0)))
    assert enough.image_level(0.01) == conformal_level((*good, 98.0, 99.0), 0.01) == 99.0
    assert enough.counted == 100
    assert enough.rate_range(0.01)[1] < few.rate_range(0.01)[1]


def test_left_out_distances_are_those_to_a_bank_of_the_others() -> None:
    generator = torch.Generator().manual_seed(1)
    rows, patches = (
        torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=-1) for shape in ((7, 5), (3, 4, 5))
    )
    bank = MemoryBank((rows,), torch.tensor([0.25, 0.75]), ("nearest", "soft"))
    found = bank.add_left_out_distances(ImageFeatures(patches[:, 0], patches, (patches,)))
    assert found.distances is not None
    assert found.layers == ()
    for own in range(3):
        others = torch.cat([rows, *(patches[number] for number in range(3) if number != own)])
        alone = MemoryBank((others,), bank.weights, bank.distances)
        expected = alone.add_distances(
            ImageFeatures(patches[own : own + 1, 0], patches[own : own + 1], (patches[own : own + 1],))
        )
        assert expected.distances is not None
        torch.testing.assert_close(found.distances[own], expected.distances[0])


def test_known_defects_are_the_most_unusual_patches_and_nearer_than_normal_ones() -> None:
    generator = torch.Generator().manual_seed(2)
    pictures = torch.nn.functional.normalize(torch.randn(2, 12, 6, generator=generator), dim=-1)
    normal = torch.nn.functional.normalize(torch.randn(5, 6, generator=generator), dim=-1)
    scores = torch.arange(24.0).view(2, 12)
    found = KnownDefects.fit(pictures, scores, torch.tensor(17.5), normal)
    assert found.pictures.tolist() == [0] * 3 + [1] * 6
    torch.testing.assert_close(found.tokens[:3], pictures[0, [11, 10, 9]])
    torch.testing.assert_close(found.tokens[3:], pictures[1, [11, 10, 9, 8, 7, 6]])
    for token, radius, picture in zip(found.tokens, found.radii.tolist(), found.pictures.tolist(), strict=True):
        usual = [*normal, *pictures[picture, : round(OWN_NORMAL * 12)]]
        assert radius == pytest.approx(SHARE * min(1 - float(token @ row) for row in usual), abs=1e-6)


def test_a_wide_radius_counts_in_suspicious_pictures_only() -> None:
    token = torch.tensor([[1.0, 0.0]])
    known = KnownDefects(token, torch.tensor([0.5]), torch.tensor([0]), torch.tensor(2.0))
    patches = torch.tensor([[[1.0, 0.0]], [[0.8, 0.6]], [[0.0, 1.0]]])  # at distances 0, 0.2 and 1
    calm, of = known.likeness(patches, torch.full((3,), 2.0))
    suspicious, _ = known.likeness(patches, torch.full((3,), 2.1))
    assert calm.flatten().tolist() == pytest.approx([2, 1, 0])
    assert NEARLY_SAME < 2
    assert suspicious.flatten().tolist() == pytest.approx([2, 1.6, 0])
    assert of.tolist() == [0, 0, 0]
