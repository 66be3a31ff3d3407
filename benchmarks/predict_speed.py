"""The speed of prediction, compared with open_clip's bare `encode_image` on the same batch.

python benchmarks/predict_speed.py [--json FILE]

ViT-B-16-plus-240 with random weights, images of its own size in memory. In turns, several times: open_clip's
`encode_image` on pixels that are ready; image scores of the baseline without a memory bank, which asks for no patches;
scores and maps of ours. These two include resizing, normalising, scoring, smoothing. A share is the median of one
against the bare one of its turn.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from train_speed import ARCHITECTURE, random_backbone

from promptad.backbones.clip import Backbone
from promptad.backbones.open_clip_vit import open_clip_of
from promptad.data.demo.writer import draw_good
from promptad.models.base import AnomalyDetector, Subject, TrainTask
from promptad.models.registry import train
from promptad.models.support import encode_support
from promptad.settings import MULTI_PROTOTYPE, SINGLE_ANCHOR, ScoringSettings, TrainingSettings, default_settings
from promptad.utils.files import whole_file
from promptad.utils.progress import add_task, progress_bar

CLASS = "carpet"


def main() -> None:
    """Time all three in turns; print and, if requested, write."""
    options = _parse()
    console = Console(highlight=False)
    backbone = random_backbone(options.architecture)
    images = [image_of(number, backbone) for number in range(options.batch_size)]
    by_token, with_map = (untrained(backbone, images[:2], system) for system in (SINGLE_ANCHOR, MULTI_PROTOTYPE))
    pixels = backbone.pixels(images)
    rates: dict[str, list[float]] = {"bare": [], "image": [], "map": []}
    with progress_bar(console) as progress, torch.inference_mode():
        task = add_task(progress, "turns", options.turns)
        for _ in range(options.turns):
            rates["bare"].append(rate(lambda: open_clip_of(backbone).encode_image(pixels), len(images)))
            rates["image"].append(rate(lambda: by_token.score_images(images, len(images)), len(images)))
            rates["map"].append(rate(lambda: with_map.predict(images, len(images)), len(images)))
            progress.advance(task)
    figures = {f"{name}_share": share(rates[name], rates["bare"]) for name in ("image", "map")}
    figures["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for name, own in rates.items():
        console.print(f"{name:5} {statistics.median(own):6.2f} pictures a second")
    for name, value in figures.items():
        console.print(f"{name} {value:.2f}")
    if options.json:
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n")


def untrained(backbone: Backbone, images: list[Image.Image], system: str) -> AnomalyDetector:
    """Return a detector with the initial context vectors and no memory bank: it predicts as fast as a trained one."""
    settings = replace(
        default_settings(system),
        backbone=backbone.settings,
        training=TrainingSettings(epochs=0, views=2),
        scoring=ScoringSettings(),
    )
    support = encode_support(backbone, images, settings)
    (start,) = next(train(backbone, [TrainTask(Subject("demo", CLASS, (), ""), support, settings)]))
    return start.final_detector()


def rate(work: Callable[[], object], images: int) -> float:
    """Return the images per second of some work."""
    started = time.monotonic()
    work()
    return images / (time.monotonic() - started)


def share(ours: list[float], bare: list[float]) -> float:
    """Return the median of our rates, each against the bare one of its turn."""
    return statistics.median(own / other for own, other in zip(ours, bare, strict=True))


def image_of(number: int, backbone: Backbone) -> Image.Image:
    """Draw an image of the size that a backbone resizes to."""
    return Image.fromarray(draw_good(CLASS, 0, number)).resize((backbone.resize, backbone.resize))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default=ARCHITECTURE, help="of open_clip, with random weights")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
