"""The speed of judging: ours, PatchCore and PaDiM side by side, as models of anomalib in one process.

PYTHONPATH=src .anomalib/bin/python benchmarks/anomalib_speed.py [--json FILE]

All have random weights, which change no time: ours ViT-B-16-plus-240, with and without a memory bank, theirs the
backbones that they have by default. Each learns from the same images, then judges the same batch in turns, from floats
[N, 3, H, W] as anomalib's inferencers take them to scores and maps, with resizing. A ratio is the median of one against
ours of its turn.
"""

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from anomalib.models.components import AnomalibModule
from anomalib.models.image.padim.lightning_model import Padim
from anomalib.models.image.patchcore.lightning_model import Patchcore
from predict_speed import CLASS, rate, share
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from train_speed import ARCHITECTURE, random_backbone

from promptad.backbones.clip import Backbone
from promptad.data.demo.writer import draw_good
from promptad.integrations.anomalib import DetectorModel, InputPreProcessor
from promptad.models.base import Subject, TrainTask
from promptad.models.registry import train
from promptad.models.support import encode_support
from promptad.settings import ScoringSettings, Settings, TrainingSettings
from promptad.utils.files import whole_file

OURS = "ours"
SHOTS = 4  # images that are learned from


def main() -> None:
    """Time all in turns; print and, if requested, write."""
    options = _parse()
    images = [draw_good(CLASS, 0, number) for number in range(options.batch_size + SHOTS)]
    support, judged = images[:SHOTS], as_batch(images[SHOTS:])
    backbone = random_backbone(ARCHITECTURE)
    models = {
        OURS: ours(backbone, support, memory=False),
        "ours + memory bank": ours(backbone, support, memory=True),
        "PatchCore": fitted(Patchcore(pre_trained=False), as_batch(support)),
        "PaDiM": fitted(Padim(pre_trained=False), as_batch(support)),
    }
    rates: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        for turn in range(options.turns + 1):
            for name, model in models.items():
                measured = rate(lambda model=model: model(judged), len(judged))  # type: ignore[misc]
                if turn > 0:  # the first warms up
                    rates[name].append(measured)
    console = Console(highlight=False)
    height, width = judged.shape[-2:]
    table = Table("model", title=f"{options.batch_size} images of {width} x {height} pixels, {SHOTS} learned from")
    for head in ("images a second", "of ours"):
        table.add_column(head, justify="right")
    figures = {name: (statistics.median(own), share(own, rates[OURS])) for name, own in rates.items()}
    for name, (speed, ratio) in figures.items():
        table.add_row(name, f"{speed:.2f}", f"{ratio:.2f}")
    console.print(table)
    if options.json:
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n")


def ours(backbone: Backbone, support: list[np.ndarray], *, memory: bool) -> nn.Module:
    """Return our detector with its initial context vectors: it judges as fast as a trained one."""
    settings = Settings(
        backbone=backbone.settings,
        training=TrainingSettings(epochs=0, views=2, k_shot=len(support)),
        scoring=replace(ScoringSettings(), memory=memory),
    )
    task = TrainTask(Subject("demo", CLASS, (), ""), encode_support(backbone, support, settings), settings)
    (start,) = next(train(backbone, [task]))
    model = DetectorModel(backbone)
    model.set_detector(start.final_detector())
    return nn.Sequential(InputPreProcessor(backbone), model).eval()


def fitted(theirs: AnomalibModule, support: Tensor) -> nn.Module:
    """Return a model of anomalib that has learned: PatchCore's memory bank is filled, PaDiM's Gaussians are fitted."""
    theirs.model.train()
    theirs.model(theirs.pre_processor(support))
    theirs.fit()
    return nn.Sequential(theirs.pre_processor, theirs.model).eval()


def as_batch(images: list[np.ndarray]) -> Tensor:
    """Return images as floats [N, 3, H, W] in [0, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
