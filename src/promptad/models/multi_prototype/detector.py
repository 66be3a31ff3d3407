"""The multi-prototype detector: a trained head on a backbone, as it predicts and as it is saved."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from promptad.backbones.clip import Backbone
from promptad.errors import InputError
from promptad.features import ImageFeatures
from promptad.models.anomaly_map import Scores
from promptad.models.base import AnomalyDetector, Subject
from promptad.models.memory_bank import CalibratedMemory
from promptad.models.multi_prototype.explain import explain
from promptad.models.multi_prototype.head import PrototypeHead
from promptad.models.multi_prototype.known_defects import KnownDefects
from promptad.models.multi_prototype.names import abnormal_names
from promptad.models.multi_prototype.normal_scores import NormalScoreDistribution
from promptad.models.multi_prototype.scoring import score_class_tokens
from promptad.models.multi_prototype.similarities import normal_similarities
from promptad.models.multi_prototype.threshold import Thresholds
from promptad.models.multi_prototype.verdicts import Taught
from promptad.runtime.metadata import Metadata
from promptad.settings import ScoringSettings, Settings
from promptad.structures import Look

# The checkpoint keys that differ from the names in the code.
THRESHOLD_KEYS = {
    "image": "image_level",
    "pixel": "map_level",
    "image_scale": "image_spread",
    "pixel_scale": "map_spread",
}
CALIBRATION_KEYS = {"normal_bias": "normal_offsets"}
LAYER_KEYS = ("first", "second")  # further ones are layer_3, layer_4 …
PROTOTYPE_KEYS = ("normal_prototypes", "abnormal_prototypes", "centre", "normal_share", "abnormal_share")
RATES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # of false alarms, whose thresholds are told beside its own
SILENT = 0.05  # weight below which the log calls words silent
LEARNED_KEYS = (*PROTOTYPE_KEYS, "calibration", "memory", "normal_scores", "vocabulary")  # since format 6 "likeness"
LOOK_KEY = "support_look"  # of checkpoints that know how the support images look as a whole


@dataclass(frozen=True, eq=False)
class MultiPrototypeDetector(AnomalyDetector):
    """A trained multi-prototype detector of one class."""

    backbone: Backbone
    head: PrototypeHead
    settings: Settings
    subject: Subject
    normal_scores: NormalScoreDistribution | None = None  # of the epoch that is kept
    looks: tuple[Look, ...] = ()  # of the support images, if they are known
    taught: Taught | None = None  # by verdicts of people; None if it was not

    @property
    def untaught(self) -> "MultiPrototypeDetector":
        """The detector without any verdict, its thresholds set as now."""
        if self.taught is None:
            return self
        plain = replace(self, head=self.taught.head, taught=None)
        return plain.with_thresholds(self.taught.normal_scores, self.settings.scoring)

    def with_thresholds(
        self, normal_scores: NormalScoreDistribution, scoring: ScoringSettings
    ) -> "MultiPrototypeDetector":
        """Return the detector with the thresholds that normal images exceed at the settings' false-alarm rate.

        That of raw image scores may be set by hand there; the one of maps stays that of the rate.
        """
        thresholds = normal_scores.thresholds(scoring.false_alarm_rate, self.backbone.device)
        if scoring.threshold is not None:
            thresholds = replace(thresholds, image=torch.full_like(thresholds.image, scoring.threshold))
        suspicious = normal_scores.suspicious_level(scoring.false_alarm_rate)
        settings, head = replace(self.settings, scoring=scoring), self.head.with_thresholds(thresholds, suspicious)
        return replace(self, head=head, settings=settings, normal_scores=normal_scores)

    @property
    def known_scores(self) -> NormalScoreDistribution:
        """The scores of normal images, which thresholds are set by.

        Raises:
            InputError: it is not the detector of the kept epoch.
        """
        if self.normal_scores is None:
            raise InputError(
                "the detector was saved before its training ended and has no threshold: train the class again"
            )
        return self.normal_scores

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds, which only the detector of the kept epoch has."""
        thresholds = self.head.thresholds
        assert thresholds is not None, "the thresholds are not set yet"
        return thresholds

    def add_memory_distances(self, features: ImageFeatures) -> ImageFeatures:
        """Return features with their distances to the memory bank, if there is one."""
        return self.head.add_memory_distances(features)

    def score(self, features: ImageFeatures) -> Scores:
        """Score the features of N images, in z-scores."""
        return self.head.score(features)

    @property
    def by_class_token(self) -> bool:
        """Whether image scores are made of class tokens only: not if patches tell what is unlike the part."""
        head = self.head
        needs_patches = any(part is not None for part in (head.memory, head.defects, head.likeness))
        return not needs_patches and self.settings.scoring.image_score == "class-token"

    def score_class_tokens(self, class_token: Tensor) -> Tensor:
        """Return the image scores of class tokens [N, D], in z-scores."""
        return score_class_tokens(class_token, self.head.prototypes, self.head.calibration)

    def raw_scores(self, scores: Scores) -> Tensor:
        """Return the raw image scores: above the threshold where an image is unlike the part, or like a defect."""
        return self.thresholds.raw_scores(scores)

    def decide(self, scores: Scores) -> dict[str, Tensor]:
        """Turn raw scores into decisions, and scores and maps in [0, 1], where 0.5 is the threshold."""
        return self.thresholds.decide(scores, self.settings.scoring)

    def explain(self, features: ImageFeatures) -> dict[str, Tensor]:
        """Return why N images have their scores."""
        head, known = self.head, self.add_memory_distances(features)
        learned = head.prototypes, head.calibration, head.states
        explained = explain(known, *learned, head.image_score, head.memory, head.top_share)
        if head.likeness is not None:
            explained["lack"] = head.likeness.lack(features.patch_tokens)
        if head.distance is not None:
            explained["distance"] = head.distance.of(features.class_token)
        return explained

    def make_metadata(self) -> Metadata:
        """Return what is known of it beside its numbers."""
        states, scores, unsure = self.head.states, self.normal_scores, self.settings.scoring.unsure_rate
        return replace(
            super().make_metadata(),
            threshold=float(self.thresholds.image),
            unsure_threshold=None if scores is None or unsure is None else scores.image_level(unsure),
            by_rate=() if scores is None else tuple((rate, scores.image_level(rate)) for rate in RATES),
            phrases=states.phrases,
            groups=states.groups,
            prototype_words=tuple(", ".join(name.words) for name in abnormal_names(self.head.prototypes, states)),
            looks=self.looks,
            defects=() if self.taught is None else self.taught.defects,
        )

    def usage(self, features: ImageFeatures) -> Tensor:
        """Return the share [N, K] of each normal prototype in the patches of N images."""
        prototypes = self.head.prototypes
        similarities = normal_similarities(features.patch_tokens, prototypes) - self.head.calibration.normal_bias
        return F.one_hot(similarities.argmax(-1), len(prototypes.normal)).float().mean(1)

    @property
    def false_alarm_range(self) -> tuple[float, float] | None:
        """The lowest and highest false-alarm rate that its threshold may actually have.

        None without thresholds, or where they were set by hand, or estimated by an older promptad in another way.
        """
        if self.normal_scores is None or self.head.likeness is None or self.settings.scoring.threshold is not None:
            return None
        return self.normal_scores.rate_range(self.settings.scoring.false_alarm_rate)

    @property
    def words_are_silent(self) -> bool:
        """Whether words count for next to nothing beside a memory bank."""
        memory = self.head.memory
        return memory is not None and max(self._words_weights(memory)) < SILENT

    @staticmethod
    def _words_weights(memory: CalibratedMemory) -> tuple[float, float, float]:
        return float(memory.patches_weight), float(memory.class_token_weight), float(memory.map_weight)

    def findings(self) -> tuple[str, ...]:
        """Return what words and layers count for beside a memory bank, and how sure the threshold is, if known."""
        return (*self._of_fusion(), *self._of_threshold())

    def _of_threshold(self) -> tuple[str, ...]:
        if (by_hand := self.settings.scoring.threshold) is not None:
            return (f"threshold {by_hand:.4g}, set by hand",)
        if self.normal_scores is None or (range_ := self.false_alarm_range) is None:
            return ()
        rate = self.settings.scoring.false_alarm_rate
        images = self.settings.training.k_shot + len(self.normal_scores.confirmed_scores.good)
        how = "counted" if self.normal_scores.counts(rate) else "estimated"
        pictures = "1 good picture" if images == 1 else f"{images} good pictures"
        return (
            f"threshold for {100 * rate:.3g} % of false alarms, {how} from {pictures}:"
            f" {100 * range_[0]:.3g} to {100 * range_[1]:.3g} % are likely",
        )

    def _of_fusion(self) -> tuple[str, ...]:
        memory = self.head.memory
        if memory is None or self.settings.scoring.fusion == "sum":
            return ()
        bank = memory.bank
        shares = bank.weights.view(len(bank.distances), -1).tolist()
        each = ", ".join(
            f"{' and '.join(f'{share:.0%}' for share in of_layers)} ({name})"
            for name, of_layers in zip(bank.distances, shares, strict=True)
        )
        of_bank = f"its layers count for {each}: as they react to disturbed views of the support images"
        if self.words_are_silent:
            return (f"words do not react to disturbed views: the memory bank decides alone, and {of_bank}",)
        of_patches, of_class, in_maps = self._words_weights(memory)
        return (
            f"beside the memory bank words count for {of_patches:.0%} by patches, {of_class:.0%} by the class token,"
            f" {in_maps:.0%} in maps, {of_bank}",
        )

    def learned(self) -> dict[str, Any]:
        """Return prototypes, calibration and states, and memory, normal scores and verdicts, empty if there are none.

        All but the verdicts is of the untaught detector.
        """
        if self.taught is not None:
            assert self.normal_scores is not None
            return self.untaught.learned() | {"verdicts": _plain_taught(self.taught, self.head, self.normal_scores)}
        prototypes = self.head.prototypes
        thresholds = {THRESHOLD_KEYS[name]: number for name, number in vars(self.thresholds).items()}
        calibration = {CALIBRATION_KEYS.get(name, name): number for name, number in vars(self.head.calibration).items()}
        return {
            "normal_prototypes": prototypes.normal.cpu(),
            "abnormal_prototypes": prototypes.abnormal.cpu(),
            "centre": prototypes.mean_direction.cpu(),
            "normal_share": prototypes.normal_share.cpu(),
            "abnormal_share": prototypes.abnormal_share.cpu(),
            "calibration": _plain(calibration | thresholds),
            "vocabulary": _plain(vars(self.head.states)),
            "normal_scores": {} if self.normal_scores is None else _plain_scores(self.normal_scores),
            "memory": {} if self.head.memory is None else _plain_memory(self.head.memory),
            "likeness": {} if self.head.likeness is None else _plain(vars(self.head.likeness)),
            "verdicts": {},
        } | self._learned_look()

    def _learned_look(self) -> dict[str, Any]:
        if (distance := self.head.distance) is None:
            return {}
        lists = {field.name: [getattr(look, field.name) for look in self.looks] for field in fields(Look)}
        return {LOOK_KEY: _plain(vars(distance)) | lists}


def layer_keys(count: int) -> tuple[str, ...]:
    """Return the names of a memory bank's layers in a checkpoint.

    >>> layer_keys(1), layer_keys(3)
    (('first',), ('first', 'second', 'layer_3'))
    """
    return (*LAYER_KEYS, *(f"layer_{number}" for number in range(3, count + 1)))[:count]


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return tensors on the CPU, and tuples as lists, which are plain data for a checkpoint."""
    return {name: value.cpu() if isinstance(value, Tensor) else list(value) for name, value in values.items()}


def _plain_scores(scores: NormalScoreDistribution) -> dict[str, Any]:
    counted = {"image_scores": list(scores.left_out_scores), "peak_scores": list(scores.left_out_maxima)}
    return {"image": list(scores.image), "peaks": list(scores.map_max), **counted}


def _plain_taught(taught: Taught, head: PrototypeHead, scores: NormalScoreDistribution) -> dict[str, Any]:
    """Return verdicts, the features of their pictures, and what was found of these that takes time to find again."""
    verdicts, features, defects = taught.verdicts, taught.features, head.defects
    of_images, of_maps = scores.confirmed_scores, scores.confirmed_maxima
    tensors = {"class_token": features.class_token, "patch_tokens": features.patch_tokens}
    layers = dict(zip(layer_keys(len(features.layers)), features.layers, strict=True))
    return {
        "names": [verdict.name for verdict in verdicts],
        "sha256": [verdict.sha256 for verdict in verdicts],
        "times": [verdict.time for verdict in verdicts],
        "good": [verdict.is_good for verdict in verdicts],
        **_plain(tensors | layers),
        "good_scores": list(of_images.good),
        "good_peaks": list(of_maps.good),
        "defect_scores": list(of_images.defective),
        "defect_peaks": list(of_maps.defective),
        "defects": {} if defects is None else _plain_defects(defects),
    }


def _plain_defects(defects: KnownDefects) -> dict[str, Any]:
    return _plain({"tokens": defects.tokens, "radii": defects.radii, "pictures": defects.pictures.tolist()})


def _plain_memory(memory: CalibratedMemory) -> dict[str, Any]:
    bank = memory.bank
    named = dict(zip(layer_keys(len(bank.layers)), bank.layers, strict=True)) | {"weights": bank.weights}
    return _plain(named | {name: number for name, number in vars(memory).items() if name != "bank"})
