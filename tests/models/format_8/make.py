"""Make the checkpoints of this folder, and what they predict, with the `tiny` of the package.

python tests/models/format_8/make.py

They guard what is on users' disks: make them anew only where `tiny` itself has other weights.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from promptad import PromptAD, Settings
from promptad.data.demo import draw_image
from promptad.settings import (
    SINGLE_ANCHOR,
    TINY_BACKBONE,
    BackboneSettings,
    PromptSettings,
    ScoringSettings,
    TrainingSettings,
)

FOLDER, SIDE = Path(__file__).parent, 32
PLAIN = Settings(
    backbone=BackboneSettings(name=TINY_BACKBONE, resize=SIDE),
    training=TrainingSettings(epochs=2, views=2),
    scoring=ScoringSettings(resolution=16),
)
MEMORY = replace(PLAIN, scoring=replace(PLAIN.scoring, memory=True))
MADE = {
    "multi_prototype": PLAIN,
    "multi_prototype_memory": MEMORY,
    "single_anchor": replace(MEMORY, system=SINGLE_ANCHOR, prompts=PromptSettings(start="random")),
}


def drawn(seed: int, defect: str | None = None) -> np.ndarray:
    """A small picture of a carpet."""
    image, _ = draw_image("carpet", style_seed=3, instance_seed=seed, defect=defect)
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE)))


def main() -> None:
    """Train on two pictures, and predict three others, of which the last is stained; teach one of each kind."""
    images = [drawn(3), drawn(4), drawn(5, "color stain")]
    np.savez_compressed(FOLDER / "images.npz", images=np.stack(images))
    for name, settings in MADE.items():
        detector = PromptAD("carpet", settings=settings).fit([drawn(1), drawn(2)])
        write(detector, name, images)
        if settings is MEMORY:
            write(detector.confirm(drawn(6), drawn(7, "color stain")), f"{name}_taught", images)


def write(detector: PromptAD, name: str, images: list[np.ndarray]) -> None:
    """Write a detector, and what it predicts."""
    detector.save(FOLDER / f"{name}.pt")
    prediction = detector.predict(images)
    found = {"score": prediction.score, "raw": prediction.raw_score, "map": prediction.anomaly_map}
    if prediction.threshold is not None:
        found["threshold"] = np.array(prediction.threshold)
    np.savez_compressed(FOLDER / f"{name}.npz", allow_pickle=False, **found)


if __name__ == "__main__":
    main()
