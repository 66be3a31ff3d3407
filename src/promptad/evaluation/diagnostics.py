"""Diagnostics: are the prototypes healthy? Measured on images without their labels."""

from typing import Any

import torch
import torch.nn.functional as F
from rich.table import Table
from rich.text import Text
from torch import Tensor

from promptad.features import ImageFeatures
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.multi_prototype.prototypes import Prototypes
from promptad.models.multi_prototype.similarities import margins
from promptad.settings import HEALTHY_SEPARATION, HEALTHY_USAGE
from promptad.structures import prototype_names
from promptad.utils.numbers import decimal

COLLAPSE_LIMIT = 0.5  # mean cosine between two abnormal prototypes
DOMINANCE = 0.8  # of an image's patches on one normal prototype
DOMINANCE_LIMIT = 0.2  # of the images
LEAST_RANGE = 0.1  # z-scores: a map that varies by less within an image shows no place
BANKED = 1e-5  # distance to a memory bank: images that are in it say nothing of maps


def diagnose(detector: MultiPrototypeDetector, features: ImageFeatures) -> dict[str, Any]:
    """Return the diagnostics of a detector on the features of N images, as plain data for JSON.

    A patch belongs to the normal prototype with the highest similarity less balancing bias, and to the abnormal
    prototype with the highest z-score. Cosines are between directions with the mean direction projected out;
    `raw_cosines` are those of the raw text features.
    """
    prototypes, calibration = detector.head.prototypes, detector.head.calibration
    patch_margins = margins(features.patch_tokens, prototypes, calibration.normal_bias)  # [N, patch, M]
    abnormal_owner = ((patch_margins - calibration.map_mean) / calibration.map_std).argmax(-1)
    shares = detector.usage(features)  # [N, K]
    result = {
        "class_name": detector.class_name,
        "k": detector.settings.training.k_shot,
        "normal_prototype_frequencies": shares.mean(0).tolist(),
        "abnormal_prototype_frequencies": _shares(abnormal_owner, len(prototypes.abnormal)).mean(0).tolist(),
        "abnormal_collapse": _pair_statistics(prototypes.abnormal),
        "normal_abnormal_separation": _separation(prototypes.normal, prototypes.abnormal),
        "abnormal_to_mean_normal": _to_mean_normal(prototypes.normal, prototypes.abnormal).tolist(),
        "raw_cosines": _raw_cosines(prototypes),
        "dominance_statistics": _dominance(shares.amax(1)),
        "total_patches": abnormal_owner.numel(),
        "total_images": len(abnormal_owner),
    }
    known = {"false_alarm_range": detector.false_alarm_range, "findings": findings_on(detector, features)}
    return result | {"verdicts": verdicts_on(result)} | known


def findings_on(detector: MultiPrototypeDetector, features: ImageFeatures) -> list[str]:
    """Return what else a user should know of a detector, in words: a constant map, words that say nothing."""
    found = []
    known = detector.add_memory_distances(features)
    patches = detector.score(known).patches.flatten(1)
    varies = float((patches.amax(1) - patches.amin(1)).median())
    is_banked = known.distances is not None and float(known.distances.max()) < BANKED
    if varies < LEAST_RANGE and not is_banked and detector.settings.scoring.calibration != "none":
        found.append(
            f"the anomaly map is constant (it varies by {varies:.2f} within an image): it shows no place; train on"
            " pictures in which the part can be seen"
        )
    if detector.words_are_silent:
        found.append("the words are silent: beside the memory bank they count for nothing, and it decides alone")
    return found


def verdicts_on(diagnostics: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the four verdicts on diagnostics, each with its value, its limit and, if it fails, advice."""
    usage = diagnostics["normal_prototype_frequencies"]
    fair = 1 / len(usage)
    band = [fair * (1 - HEALTHY_USAGE), min(fair * (1 + HEALTHY_USAGE), 1.0)]
    collapse = diagnostics["abnormal_collapse"]["mean"]
    separation = diagnostics["normal_abnormal_separation"]["mean_to_mean_normal"]
    dominance = diagnostics["dominance_statistics"]
    # A single normal prototype owns every patch, and a single abnormal one has no pair: both always count as healthy.
    dominated = dominance["images_above_80pct"] / dominance["total_images"] if len(usage) > 1 else 0.0
    return [
        _verdict(
            "balanced usage",
            band[0] <= min(usage) and max(usage) <= band[1],
            max(usage, key=lambda share: abs(share - fair)),
            band,
            "raise `weights.balance` or `epochs`, or take fewer normal prototypes (`n_pro`)",
        ),
        _verdict(
            "no collapse",
            collapse is None or collapse < COLLAPSE_LIMIT,
            collapse,
            COLLAPSE_LIMIT,
            "take more abnormal prototypes (`n_pro_ab`), raise `weights.repulsion`, or give distinct `states`",
        ),
        _verdict(
            "separation",
            separation < HEALTHY_SEPARATION,
            separation,
            HEALTHY_SEPARATION,
            "change the learning rate (`lr`) or train longer (`epochs`); `start` words helps",
        ),
        _verdict(
            "no dominance",
            dominated < DOMINANCE_LIMIT,
            dominated,
            DOMINANCE_LIMIT,
            "raise `weights.balance`, or take more normal prototypes (`n_pro`) or support images (`k_shot`)",
        ),
    ]


def _verdict(name: str, healthy: bool, value: float | None, limit: float | list[float], advice: str) -> dict[str, Any]:
    return {"name": name, "healthy": healthy, "value": value, "limit": limit, "advice": "" if healthy else advice}


def _shares(owners: Tensor, count: int) -> Tensor:
    """Return the share [N, count] of each prototype in the patches of each image, given their owners [N, patch]."""
    return F.one_hot(owners, count).float().mean(1)


def abnormal_cosines(abnormal: Tensor) -> Tensor:
    """Return the cosines [M, M] between abnormal prototypes [M, D]."""
    return abnormal @ abnormal.T


def _pair_statistics(abnormal: Tensor) -> dict[str, float | int | None]:
    first, second = torch.triu_indices(len(abnormal), len(abnormal), offset=1)
    pairs = abnormal_cosines(abnormal)[first, second]
    if len(pairs) == 0:
        return {"mean": None, "min": None, "max": None, "num_pairs": 0}
    return {"mean": float(pairs.mean()), "min": float(pairs.min()), "max": float(pairs.max()), "num_pairs": len(pairs)}


def _to_mean_normal(normal: Tensor, abnormal: Tensor) -> Tensor:
    return abnormal @ F.normalize(normal.mean(0), dim=0)


def _separation(normal: Tensor, abnormal: Tensor) -> dict[str, float]:
    to_mean, pairs = _to_mean_normal(normal, abnormal), abnormal @ normal.T
    return {
        "mean_to_mean_normal": float(to_mean.mean()),
        "min_to_mean_normal": float(to_mean.min()),
        "max_to_mean_normal": float(to_mean.max()),
        "std_to_mean_normal": float(to_mean.std(correction=0)),
        "all_pairs_mean": float(pairs.mean()),
        "all_pairs_min": float(pairs.min()),
        "all_pairs_max": float(pairs.max()),
    }


def _raw_cosines(prototypes: Prototypes) -> dict[str, float | int | None]:
    normal, abnormal = prototypes.raw_normal(), prototypes.raw_abnormal()
    return {
        "abnormal_to_abnormal": _pair_statistics(abnormal)["mean"],
        "abnormal_to_mean_normal": float(_to_mean_normal(normal, abnormal).mean()),
    }


def _dominance(largest: Tensor) -> dict[str, float | int]:
    """Return statistics of the largest share [N] that one normal prototype has in each image."""
    return {
        "mean": float(largest.mean()),
        "median": float(largest.quantile(0.5)),
        "min": float(largest.min()),
        "max": float(largest.max()),
        "std": float(largest.std(correction=0)),
        "images_above_80pct": int((largest > DOMINANCE).sum()),
        "images_above_90pct": int((largest > 0.9).sum()),
        "total_images": len(largest),
    }


def diagnostics_table(diagnostics: dict[str, Any]) -> Table:
    """Return the verdicts, and the numbers behind them, for the terminal."""
    table = Table("Verdict", "Value", "Healthy", title=f"Prototypes of {diagnostics['class_name']}")
    for verdict in diagnostics["verdicts"]:
        limit = verdict["limit"]
        healthy = f"{limit[0]:.0%} to {limit[1]:.0%}" if isinstance(limit, list) else f"below {limit}"
        value = "-" if verdict["value"] is None else _in_words(verdict["value"], share=isinstance(limit, list))
        mark = Text("\u2713 ", "green") if verdict["healthy"] else Text("\u2717 ", "red")
        table.add_row(mark.append(verdict["name"], "default"), value, healthy)
    table.add_section()
    for side in ("normal", "abnormal"):
        shares, names = diagnostics[f"{side}_prototype_frequencies"], prototype_names(diagnostics, side)
        if not names:
            table.add_row(f"{side} usage", " ".join(f"{share:.0%}" for share in shares))
        for number, (share, name) in enumerate(zip(shares, names, strict=False), 1):
            table.add_row(f"{side} {number}: {name}", f"{share:.0%}")
        table.add_section()
    cosines = {f"raw cosine, {name.replace('_', ' ')}": value for name, value in diagnostics["raw_cosines"].items()}
    cosines["nearest abnormal pair"] = diagnostics["abnormal_collapse"]["max"]
    for name, value in cosines.items():
        table.add_row(name, "-" if value is None else decimal(value))
    advice = [f"{verdict['name']}: {verdict['advice']}" for verdict in diagnostics["verdicts"] if verdict["advice"]]
    table.caption = "\n".join([*advice, *diagnostics["findings"]])
    return table


def _in_words(value: float, *, share: bool) -> str:
    return f"{value:.0%}" if share else decimal(value)
