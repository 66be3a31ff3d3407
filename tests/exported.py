"""Detectors to export, and images to compare them on."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from promptad import PromptAD, Settings
from promptad.data.demo import draw_image
from promptad.models.base import AnomalyDetector
from promptad.settings import SINGLE_ANCHOR, TINY_BACKBONE, BackboneSettings, ScoringSettings, TrainingSettings

SIDE = 48  # pixels a side that `tiny` is given: 36 patches
PLAIN = Settings(
    backbone=BackboneSettings(name=TINY_BACKBONE, resize=SIDE),
    training=TrainingSettings(epochs=1, views=4),
    scoring=ScoringSettings(resolution=24, sigma=1.0),
)
MEMORY = replace(PLAIN, scoring=replace(PLAIN.scoring, memory=True))
DETECTORS = {
    "multi-prototype": PLAIN,
    "multi-prototype+memory": MEMORY,
    "single-anchor": replace(PLAIN, system=SINGLE_ANCHOR),
    "single-anchor+memory": replace(MEMORY, system=SINGLE_ANCHOR),
}


def carpet(number: int, defect: str | None = None) -> Image.Image:
    """An image of a carpet, of a size of its own."""
    drawn, _ = draw_image("carpet", style_seed=7, instance_seed=number, defect=defect)
    return Image.fromarray(drawn).resize((90 + number, 120))


def support() -> list[Image.Image]:
    """Two good carpets."""
    return [carpet(20), carpet(21)]


@cache
def carpets() -> tuple[Image.Image, ...]:
    """Twelve other ones, every third with a hole."""
    return tuple(carpet(number, "hole" if number % 3 == 2 else None) for number in range(12))


@cache
def trained(name: str) -> PromptAD:
    """A detector of carpets."""
    return PromptAD("carpet", settings=DETECTORS[name], system=DETECTORS[name].system).fit(support())


@cache
def head_of(name: str, suffix: str, folder: Path) -> Path:
    """The exported head of a detector, beside the tower that all of them share."""
    path = folder / f"{name}{suffix}"
    trained(name).export(path, tower=folder / f"tower{suffix}")
    return path


@cache
def expected(detector: AnomalyDetector) -> dict[str, np.ndarray]:
    """All outputs of a detector for the twelve images."""
    features = detector.encode(carpets())
    return {name: output.cpu().numpy() for name, output in detector.outputs(features).items()}
