"""Restore a multi-prototype detector from a checkpoint, of this format or an older one."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from promptad.backbones.clip import Backbone
from promptad.models.base import subject_of
from promptad.models.checkpoint import check_shapes, damaged
from promptad.models.memory_bank import WORDS_WEIGHTS, CalibratedMemory, MemoryBank
from promptad.models.multi_prototype.calibration import Calibration
from promptad.models.multi_prototype.detector import (
    LOOK_KEY,
    PROTOTYPE_KEYS,
    THRESHOLD_KEYS,
    MultiPrototypeDetector,
    layer_keys,
)
from promptad.models.multi_prototype.explain import StateDirections
from promptad.models.multi_prototype.gumbel import Gumbel
from promptad.models.multi_prototype.head import PrototypeHead
from promptad.models.multi_prototype.likeness import Likeness
from promptad.models.multi_prototype.normal_scores import NormalScoreDistribution
from promptad.models.multi_prototype.prototypes import Prototypes
from promptad.models.multi_prototype.restored_verdicts import check_verdicts, restore_taught
from promptad.models.multi_prototype.support_distance import SupportDistance
from promptad.models.multi_prototype.threshold import Thresholds
from promptad.settings import Settings
from promptad.structures import Look

MEMORY_NUMBERS = ("patch_mean", "patch_std", "map_mean", "map_std", *WORDS_WEIGHTS)
MEMORY_KEYS = (*MEMORY_NUMBERS, "weights")
COUNTED_KEYS = ("image_scores", "peak_scores")  # of normal scores, since format 6


def restore(path: Path, checkpoint: Mapping[str, Any], backbone: Backbone) -> MultiPrototypeDetector:
    """Build the detector of a checkpoint on its backbone.

    Raises:
        InputError: its tensors do not agree with each other, with its settings or with the backbone.
    """
    checkpoint = _upgraded(checkpoint)
    _check(path, checkpoint, backbone)

    def moved(values: Mapping[str, Any]) -> dict[str, Any]:
        return {n: v.to(backbone.device) if isinstance(v, Tensor) else tuple(v) for n, v in values.items()}

    learned = moved({name: checkpoint[name] for name in PROTOTYPE_KEYS})
    calibration, memory, likeness = (moved(checkpoint[name]) for name in ("calibration", "memory", "likeness"))
    thresholds = Thresholds(**{name: calibration.pop(key) for name, key in THRESHOLD_KEYS.items()})
    look = moved(checkpoint.get(LOOK_KEY, {}))
    looks = tuple(Look(*own) for own in zip(*(look.get(field.name, ()) for field in fields(Look)), strict=True))
    settings: Settings = checkpoint["settings"]
    head = PrototypeHead(
        Prototypes(*learned.values()),
        Calibration(calibration.pop("normal_offsets"), **calibration),
        StateDirections(**moved(checkpoint["vocabulary"])),
        _memory_of(memory, settings.scoring.memory_distances) if memory else None,
        Likeness(**likeness) if likeness else None,
        settings.scoring.image_score,
        settings.scoring.top_share,
        thresholds,
    )
    if look:
        head = head.with_distance(SupportDistance(look["mean"], look["limit"]))
    detector = MultiPrototypeDetector(backbone, head, settings, subject_of(checkpoint), looks=looks)
    if not (scores := moved(checkpoint["normal_scores"])):
        return detector
    counted = (scores.get(name, ()) for name in COUNTED_KEYS)
    distribution = NormalScoreDistribution(Gumbel(*scores["image"]), Gumbel(*scores["peaks"]), *counted)
    detector = detector.with_thresholds(distribution, settings.scoring)
    return restore_taught(detector, checkpoint["verdicts"]) if checkpoint["verdicts"] else detector


def _upgraded(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a checkpoint of format 4 to 7 as one of format 8.

    Before 8, there were no verdicts; before 7, a memory bank had one distance, whose weights were of its layers, and
    words had one weight for images and maps; before 6, layers had the same weight, and no image was unlike the part;
    before 5, words had their full weight beside a memory bank.
    """
    version = checkpoint["format_version"]
    checkpoint = {
        "likeness": None if version >= 6 else {},
        "verdicts": None if version >= 8 else {},
    } | dict(checkpoint)
    memory = checkpoint["memory"]
    if version >= 7 or not isinstance(memory, Mapping) or not memory:
        return checkpoint
    memory = dict(memory)
    if version == 4:
        memory |= dict.fromkeys(WORDS_WEIGHTS, torch.ones(()))
    memory = {"map_weight": memory.get("patches_weight")} | memory
    if version < 6:
        layers = len(memory) - len(MEMORY_NUMBERS)
        memory["layer_weights"] = torch.full((layers,), 1 / max(layers, 1))
    weights = {"weights": memory.pop("layer_weights")} if "layer_weights" in memory else {}
    return {**checkpoint, "memory": memory | weights}


def _check(path: Path, checkpoint: Mapping[str, Any], backbone: Backbone) -> None:
    """Check that types and shapes of all that was learned agree with K, M, D and the backbone.

    Raises:
        InputError: they do not.
    """
    prompts, encoder = checkpoint["settings"].prompts, backbone.image_encoder
    k, m, d = prompts.n_pro, prompts.n_pro_ab, encoder.dimensions
    shapes: dict[str, tuple[int | None, ...]] = {"normal_prototypes": (k, d), "abnormal_prototypes": (m, d)}
    check_shapes(path, checkpoint, shapes | {"centre": (d,), "normal_share": (k,), "abnormal_share": (m,)})
    for name in ("calibration", "vocabulary", "normal_scores", "memory", "likeness", "verdicts"):
        if not isinstance(checkpoint[name], Mapping):
            raise damaged(path, f"{name} is no mapping")
    calibration, states = checkpoint["calibration"], checkpoint["vocabulary"]
    check_shapes(
        path,
        calibration,
        {
            "normal_offsets": (k,),
            **dict.fromkeys(("class_mean", "class_std", "map_mean", "map_std"), (m,)),
            **dict.fromkeys(("patch_mean", "patch_std"), (None, m)),
            **dict.fromkeys(THRESHOLD_KEYS.values(), ()),
        },
    )
    phrases, groups = states.get("phrases"), states.get("groups")
    if not (isinstance(phrases, list) and isinstance(groups, list) and len(phrases) == len(groups)):
        raise damaged(path, "the states have no phrases or no groups")
    check_shapes(path, states, {"directions": (len(phrases), d), "mean": (len(phrases),), "std": (len(phrases),)})
    _check_normal_scores(path, checkpoint["normal_scores"])
    if memory := checkpoint["memory"]:
        banked = backbone.banked
        layers = dict.fromkeys(layer_keys(len(banked.layer_indices)), (None, banked.width))
        positions, numbers = dict.fromkeys(MEMORY_NUMBERS[:2], (None,)), dict.fromkeys(MEMORY_NUMBERS[2:], ())
        terms = len(layers) * len(checkpoint["settings"].scoring.memory_distances)
        check_shapes(path, memory, {**layers, **positions, **numbers, "weights": (terms,)})
        if (found := len(memory) - len(MEMORY_KEYS)) != len(layers):
            name = backbone.settings.memory_backbone or backbone.settings.name
            raise damaged(path, f"its memory bank has {found} layers, {name} {len(layers)}")
    if likeness := checkpoint["likeness"]:
        check_shapes(path, likeness, {"samples": (None, d), "limit": ()})
        if not float(likeness["limit"]) > 0:
            raise damaged(path, "likeness.limit is not above 0")
    if LOOK_KEY in checkpoint:
        _check_look(path, checkpoint[LOOK_KEY], d)
    if verdicts := checkpoint["verdicts"]:
        check_verdicts(path, verdicts, backbone, checkpoint["settings"])
    for place, values in (("calibration", calibration), ("states", states), ("memory", memory)):
        for name, value in values.items():
            if name.endswith(("std", "spread")) and not bool((value > 0).all()):
                raise damaged(path, f"{place}.{name} is not above 0")


def _check_look(path: Path, look: object, d: int) -> None:
    """Check that the look of the support images is a mean [D], a limit above 0, and lists of equal length.

    Raises:
        InputError: it is not.
    """
    if not isinstance(look, Mapping):
        raise damaged(path, f"{LOOK_KEY} is no mapping")
    check_shapes(path, look, {"mean": (d,), "limit": ()})
    if not float(look["limit"]) > 0:
        raise damaged(path, f"{LOOK_KEY}.limit is not above 0")
    lists: list[Any] = [look.get(field.name) for field in fields(Look)]
    if not all(isinstance(own, list) and all(isinstance(one, float) for one in own) for own in lists):
        raise damaged(path, f"{LOOK_KEY} has no lists of numbers")
    if len({len(own) for own in lists}) > 1:
        raise damaged(path, f"{LOOK_KEY} has lists of different lengths")


def _check_normal_scores(path: Path, scores: Mapping[str, Any]) -> None:
    """Check that normal scores are two distributions, and as many scores of images as of maps.

    Raises:
        InputError: they are not.
    """
    for name, numbers in scores.items():
        listed = isinstance(numbers, list) and all(isinstance(number, float) for number in numbers)
        if name in COUNTED_KEYS and not listed:
            raise damaged(path, f"normal_scores.{name} is no list of scores")
        if name not in COUNTED_KEYS and not (listed and name in ("image", "peaks") and len(numbers) == 2):
            raise damaged(path, f"normal_scores.{name} is no location and scale")
    if scores and not {"image", "peaks"} <= scores.keys():
        raise damaged(path, "normal_scores has no image or no peaks")
    of_images, of_maps = (len(scores.get(name, ())) for name in COUNTED_KEYS)
    if of_images != of_maps:
        raise damaged(path, f"normal_scores has {of_images} image scores, but {of_maps} of maps")


def _memory_of(tensors: Mapping[str, Tensor], distances: tuple[str, ...]) -> CalibratedMemory:
    layers = tuple(tensors[name] for name in layer_keys(len(tensors) - len(MEMORY_KEYS)))
    numbers = {name: tensors[name] for name in MEMORY_NUMBERS}
    return CalibratedMemory(MemoryBank(layers, tensors["weights"], distances), **numbers)
