"""What one core takes for each stage of a picture, and for a part: measured on this machine.

All of ViT-B-16-plus-240 has random weights, and `tiny` its own. Times are the processor's, the fewest of some runs:
what other programs do on the machine hardly changes them. Times of loading are of the clock.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from predict_speed import CLASS, image_of
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from promptad.backbones.clip import Backbone
from promptad.backbones.factory import load_backbone
from promptad.data.demo.writer import draw_good
from promptad.data.fingerprints import support_sha256
from promptad.data.images import read_image
from promptad.export.base import ExportOptions
from promptad.export.registry import export
from promptad.models.base import AnomalyDetector, Subject, TrainTask
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.registry import train
from promptad.models.support import encode_support
from promptad.runtime.metadata import Metadata
from promptad.runtime.postprocess import Outputs
from promptad.runtime.predict import Loaded, load_image, predict_loaded
from promptad.runtime.predictions import PredictionRun, predictions_file
from promptad.runtime.session import Session
from promptad.settings import PictureSettings, Settings

MEGAPIXELS = {"PNG, 1 megapixel": (1024, 1024), "JPEG, 1 megapixel": (1024, 1024), "JPEG, 5 megapixels": (2592, 1944)}
NOISE = 3.0  # grey levels, standard deviation: a camera's; without it a drawing is smoother than a photograph
QUALITY = 90  # of JPEG
TOWERS = {"onnxruntime": ("float32", "onnx"), "OpenVINO": ("float32", "xml"), "OpenVINO, int8": ("int8", "xml")}
LINES = 500


class Picture(NamedTuple):
    """Milliseconds of one core that reading a picture takes, and the bytes of its file."""

    decode: float
    resize: float
    size: int


class Engine(NamedTuple):
    """Milliseconds of one core that encoding and the head take, words alone and with a memory bank."""

    encode: float
    head: float
    bank: float


class Loading(NamedTuple):
    """What detectors of one tower take in one process."""

    first_seconds: float
    more_seconds: float
    first_mib: float  # of the process, after its first picture
    more_mib: float  # of each further one, used once
    file_mb: float  # of a further one


@dataclass(frozen=True)
class Known:
    """A predictor whose outputs are known already: what is left is turning them into a record."""

    metadata: Metadata
    outputs: Outputs
    on_gpu: bool = False

    def with_picture(self, picture: PictureSettings) -> "Known":
        """Return it looking at another region."""
        return replace(self, metadata=replace(self.metadata, settings=replace(self.metadata.settings, picture=picture)))

    def run(self, squares: np.ndarray) -> Outputs:  # noqa: ARG002 as of any predictor
        """Return what is known."""
        return self.outputs


@dataclass(frozen=True)
class Part:
    """A trained part, its support images, and the seconds of one core that it took."""

    detector: MultiPrototypeDetector
    support: Sequence[Image.Image]
    encoding: float
    epochs: float


def best(work: Callable[[], object], repeats: int, clock: Callable[[], float] = time.process_time) -> float:
    """Return the fewest seconds of some runs, after one that warms up."""
    work()
    taken = []
    for _ in range(repeats):
        started = clock()
        work()
        taken.append(clock() - started)
    return min(taken)


def write_pictures(folder: Path) -> dict[str, Path]:
    """Write a picture of each kind, by its name, with the noise of a camera."""
    noise, files = np.random.default_rng(0), {}
    for name, (width, height) in MEGAPIXELS.items():
        drawn = cv2.resize(draw_good(CLASS, 0, 0), (width, height), interpolation=cv2.INTER_CUBIC)
        noisy = np.clip(drawn + noise.normal(0, NOISE, drawn.shape), 0, 255).astype(np.uint8)
        suffix = "png" if name.startswith("PNG") else "jpg"
        files[name] = folder / f"{width}.{suffix}"
        Image.fromarray(noisy).save(files[name], quality=QUALITY)  # which a PNG passes over
    return files


def time_reading(file: Path, known: Metadata, repeats: int) -> Picture:
    """Time decoding a picture, and all else until its square is ready."""
    decode = best(lambda: read_image(file), repeats)
    whole = best(lambda: load_image(file, known), repeats)
    return Picture(1000 * decode, 1000 * max(0.0, whole - decode), file.stat().st_size)


def train_part(backbone: Backbone, epochs: int, *, memory: bool) -> Part:
    """Train a part of two images with the default settings, one core at a time."""
    support = [image_of(number, backbone) for number in range(2)]
    plain = Settings(backbone=backbone.settings)
    settings = replace(
        plain,
        training=replace(plain.training, epochs=epochs),
        scoring=replace(plain.scoring, memory=memory),
    )
    started = time.process_time()
    features = encode_support(backbone, support, settings)
    encoded = time.process_time()
    subject = Subject("own", CLASS, (), support_sha256(support))
    *_, (last,) = train(backbone, [TrainTask(subject, features, settings)])
    detector = last.final_detector()
    assert isinstance(detector, MultiPrototypeDetector)
    return Part(detector, support, encoded - started, time.process_time() - encoded)


def export_parts(parts: dict[str, Part], folder: Path, precision: str, suffix: str) -> dict[str, Path]:
    """Export parts as heads of one tower; return their files by name."""
    tower, files = folder / f"tower_{precision}.{suffix}", {}
    for name, part in parts.items():
        files[name] = folder / f"{name}_{precision}.{suffix}"
        options = ExportOptions(precision=precision, tower=tower, support=part.support)
        export(part.detector, files[name], options)
    return files


def time_torch(text: AnomalyDetector, bank: AnomalyDetector, square: np.ndarray, repeats: int) -> Engine:
    """Time encoding a square, and both heads, by torch."""
    backbone, squares = text.backbone, square[None]
    features = backbone.encode_squares(squares, layers=True)
    encode = best(lambda: backbone.encode_squares(squares), repeats)
    with torch.inference_mode():
        heads = [best(lambda own=own: own.outputs(features), repeats) for own in (text, bank)]  # type: ignore[misc]
    return Engine(1000 * encode, *(1000 * seconds for seconds in heads))


def time_exported(files: dict[str, Path], square: np.ndarray, repeats: int) -> Engine:
    """Time encoding a square, and the heads of `text` and `bank`, by the engine of their files."""
    text = Session(files["text"], threads=1)
    assert text.tower is not None
    bank, tower, given = Session(files["bank"], tower=text.tower), text.tower.graph, {"images": square[None]}
    features = tower.run(given)
    encode = best(lambda: tower.run(given), repeats)
    heads = [best(lambda own=own: own.head.run(features), repeats) for own in (text, bank)]  # type: ignore[misc]
    return Engine(1000 * encode, *(1000 * seconds for seconds in heads))


def time_record(detector: AnomalyDetector, loaded: Loaded, folder: Path, repeats: int) -> tuple[float, float]:
    """Return the milliseconds from a picture's outputs to its record, with regions, and those of writing its line."""
    known = Known(detector.metadata, detector.run(loaded.squares))
    making = best(lambda: list(predict_loaded(known, ["picture.png"], [loaded])), repeats)
    ((record, _),) = predict_loaded(known, ["picture.png"], [loaded])
    run = PredictionRun.of(Path(__file__), detector.metadata)

    def write() -> None:
        with predictions_file(folder / "lines", run, []) as lines:
            for _ in range(LINES):
                lines.write(record)

    return 1000 * making, 1000 * best(write, 3, time.perf_counter) / LINES


def time_batch(detector: AnomalyDetector, square: np.ndarray, batch: int, repeats: int) -> float:
    """Return the milliseconds of a picture, encoder and head, in a batch: what a device takes, by the clock."""
    squares = np.repeat(square[None], batch, 0)
    return 1000 * best(lambda: detector.run(squares), repeats, time.perf_counter) / batch


def counted_operations(backbone: Backbone) -> int:
    """Return the floating-point operations of one image through the image encoder, as torch counts them."""
    encoder = backbone.image_encoder
    pixels = torch.zeros(1, 3, encoder.image_size, encoder.image_size)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        encoder.encode(pixels)
    return int(counter.get_total_flops())


def measure_loading(files: Mapping[str, Mapping[str, Path]]) -> dict[str, Loading]:
    """Measure the loading of detectors, by their kind and name, each in a process of its own."""
    found = {}
    for kind, own in files.items():
        for name, file in own.items():
            command = [sys.executable, str(Path(__file__).with_name("loading_times.py")), kind, str(file)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found[f"{kind}, {name}"] = Loading(**json.loads(done.stdout))
    return found


def saved_backbone(random: Backbone, folder: Path) -> Backbone:
    """Write a backbone of random weights as a weight file, and load it from there, as any other is."""
    from promptad.backbones.open_clip_vit import open_clip_of  # noqa: PLC0415 `tiny` does without it

    file = folder / "weights.pt"
    torch.save(open_clip_of(random).state_dict(), file)
    return load_backbone(replace(random.settings, pretrained=str(file)), torch.device("cpu"))
