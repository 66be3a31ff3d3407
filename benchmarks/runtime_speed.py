"""The speed of exported detectors, compared with open_clip's bare `encode_image` on the same images.

python benchmarks/runtime_speed.py [--json FILE]

ViT-B-16-plus-240 with random weights. Each contestant is a process of its own that keeps its threads to itself, and
they work in turns: what one leaves spinning would slow the next. Ours and the exported ones start from PIL images of
the backbone's size and end with scores, maps, decisions and explanations; `encode_image` starts from ready pixels.
A ratio is the median over turns of the bare time of a turn by that of a contestant. About 6 minutes on 2 cores.
"""

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from predict_speed import CLASS, image_of
from rich.console import Console
from train_speed import ARCHITECTURE, random_backbone

from promptad.backbones.open_clip_vit import open_clip_of
from promptad.data.fingerprints import support_sha256
from promptad.export.base import ExportOptions
from promptad.export.registry import export
from promptad.models.base import AnomalyDetector, Subject, TrainTask
from promptad.models.registry import train
from promptad.models.support import encode_support
from promptad.runtime.session import Session
from promptad.settings import ScoringSettings, Settings, TrainingSettings
from promptad.utils.files import whole_file
from promptad.utils.progress import add_task, progress_bar

BATCHES = (1, 8)
PAUSE = 0.05  # seconds between turns, in which the threads of the last one fall asleep
EXPORTS = {"float32": ("onnx", "xml"), "int8": ("onnx", "xml")}


class Contestant(NamedTuple):
    """A contestant by its exported file, engine and precision; without a file it is one of torch."""

    file: str = ""
    engine: str | None = None
    precision: str = "float32"


CONTESTANTS = {
    "bare": Contestant(),
    "predict": Contestant(),
    "onnxruntime_float32": Contestant("float32.onnx"),
    "openvino_float32": Contestant("float32.xml"),
    "openvino_bfloat16": Contestant("float32.xml", precision="bfloat16"),
    "onnxruntime_int8": Contestant("int8.onnx"),
    "openvino_int8": Contestant("int8.xml"),
}


def main() -> None:
    """Export, time all in turns; print and, if requested, write."""
    options = _parse()
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with console.status("exporting"):
            sizes = write_exports(folder, options)
        workers = {name: start(name, own, folder, options) for name, own in CONTESTANTS.items()}
        seconds: dict[str, list[float]] = {f"{name} {batch}": [] for batch in BATCHES for name in workers}
        with progress_bar(console) as progress:
            task = add_task(progress, "turns", len(BATCHES) * (options.turns + 1))
            for batch in BATCHES:
                for turn in range(options.turns + 1):  # the first one warms up
                    for name, worker in workers.items():
                        time.sleep(PAUSE)
                        worker.send(batch)
                        taken = worker.recv()
                        if turn:
                            seconds[f"{name} {batch}"].append(taken)
                    progress.advance(task)
        for worker in workers.values():
            worker.send(0)
    figures = {name: size / 1e6 for name, size in sizes.items()}
    for batch in BATCHES:
        for name in CONTESTANTS:
            own, bare = seconds[f"{name} {batch}"], seconds[f"bare {batch}"]
            ratio = statistics.median(other / mine for other, mine in zip(bare, own, strict=True))
            figures[name if batch == 1 else f"{name}_batch_{batch}"] = ratio
            took = 1000 * statistics.median(own) / batch
            console.print(f"batch {batch}  {name:20} {took:6.1f} ms a picture, {ratio:.2f} times encode_image")
    if options.json:
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n")


def write_exports(folder: Path, options: argparse.Namespace) -> dict[str, int]:
    """Export an untrained detector in all ways; return the bytes of each."""
    detector, support = untrained(options)
    sizes = {}
    for precision, suffixes in EXPORTS.items():
        for suffix in suffixes:
            made = export(
                detector, folder / f"{precision}.{suffix}", ExportOptions(precision=precision, support=support)
            )
            sizes[f"{precision}_{suffix}_mb"] = sum(file.stat().st_size for file in made.files)
    return sizes


def untrained(options: argparse.Namespace) -> tuple[AnomalyDetector, Sequence[Image.Image]]:
    """Return a detector with its starting words, which predicts as fast as a trained one, and its support images."""
    backbone = random_backbone(options.architecture)
    support = [image_of(number, backbone) for number in range(2)]
    settings = Settings(
        backbone=backbone.settings,
        training=TrainingSettings(epochs=0, views=2),
        scoring=replace(ScoringSettings(), memory=options.memory_bank),
    )
    subject = Subject("demo", CLASS, (), support_sha256(support))
    (start_,) = next(train(backbone, [TrainTask(subject, encode_support(backbone, support, settings), settings)]))
    return start_.final_detector(), support


def start(name: str, own: Contestant, folder: Path, options: argparse.Namespace) -> Connection:
    """Start a contestant's process; send a number of images, and it returns the seconds that it took for them."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    context.Process(target=serve, args=(there, name, own, folder, options), daemon=True).start()
    return here


def serve(connection: Connection, name: str, own: Contestant, folder: Path, options: argparse.Namespace) -> None:
    """Work whenever a number of images comes, until it is 0."""
    torch.manual_seed(0)
    work = work_of(name, own, folder, options)
    while batch := connection.recv():
        connection.send(work(batch))


def work_of(name: str, own: Contestant, folder: Path, options: argparse.Namespace) -> Callable[[int], float]:
    """Return what a contestant does with a number of images; it returns the seconds that this took."""
    backbone = random_backbone(options.architecture)
    images = [image_of(number, backbone) for number in range(max(BATCHES))]
    if own.file:
        session = Session(folder / own.file, engine=own.engine, precision=own.precision)
        return lambda batch: timed(lambda: session.predict(images[:batch], batch))
    if name == "predict":
        detector, _ = untrained(options)
        return lambda batch: timed(lambda: detector.predict(images[:batch], batch))
    pixels, clip = backbone.pixels(images), open_clip_of(backbone)

    def encode(batch: int) -> float:
        with torch.inference_mode():
            return timed(lambda: clip.encode_image(pixels[:batch]))

    return encode


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of some work."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default=ARCHITECTURE, help="of open_clip, with random weights")
    parser.add_argument("--memory-bank", action="store_true", help="with a memory bank")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
