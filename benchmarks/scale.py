"""How many pictures a day, and at what cost: by one core, a machine, a GPU and a cluster, for 1 part and for 1,000.

OMP_NUM_THREADS=1 python benchmarks/scale.py [--json FILE] [--figure FILE]

Measures what one core takes for each stage of a picture and for a part (`stage_times.py`), counts the operations of the
image encoder, assumes the rest (`capacity.py`; each assumption is an option), and computes tables. No GPU is measured,
unless `--device cuda` names one. `--measured FILE` takes what an earlier run has measured from its `--json`.
"""

import argparse
import json
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import torch
from capacity import (
    DECODE,
    ENCODE,
    HEAD,
    LINE,
    RECORD,
    RESIZE,
    Assumptions,
    Place,
    Work,
    gpu_milliseconds,
)
from loading_times import CHECKPOINT, EXPORTED
from rich.console import Console
from rich.table import Table
from scale_figure import draw_stages
from scale_tables import Setup, kinds_table, needs_table, parts_table, setups_table
from stage_times import (
    MEGAPIXELS,
    TOWERS,
    Engine,
    Loading,
    Part,
    Picture,
    counted_operations,
    export_parts,
    measure_loading,
    saved_backbone,
    time_batch,
    time_exported,
    time_reading,
    time_record,
    time_torch,
    train_part,
    write_pictures,
)
from train_speed import ARCHITECTURE, random_backbone

from promptad.backbones.factory import as_device, load_backbone
from promptad.runtime.predict import Loaded, load_image
from promptad.settings import BATCH_SIZE, TINY_BACKBONE, BackboneSettings
from promptad.utils.files import whole_file

TORCH, ONNX, OPENVINO, INT8 = "torch", *TOWERS
WIDTH = 132  # columns that the tables need


@dataclass(frozen=True)
class Measured:
    """What was measured and counted."""

    processor: str
    pictures: dict[str, Picture]
    engines: dict[str, Engine]
    record: float  # milliseconds from outputs to a record
    line: float  # milliseconds of writing its line
    encoding_seconds: float  # of a part's support images and their views
    epochs_seconds: float  # of its training
    loading: dict[str, Loading]
    operations: int  # floating-point, of an image through the image encoder
    device: str = ""  # that the next number is of
    device_milliseconds: float = 0.0  # of a picture through encoder and head, in a batch

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "Measured":
        """Return what was written as JSON."""
        kinds = {"pictures": Picture, "engines": Engine, "loading": Loading}
        named = {key: {name: kind(*own) for name, own in plain[key].items()} for key, kind in kinds.items()}
        return cls(**plain | named)

    def work(self, engine: str, picture: str, *, memory: bool = False) -> Work:
        """Return what a picture takes where cores do it all."""
        read, own = self.pictures[picture], self.engines[engine]
        head = own.bank if memory else own.head
        return Work({DECODE: read.decode, RESIZE: read.resize, ENCODE: own.encode, HEAD: head} | self._after, read.size)

    def gpu_work(self, picture: str, assumed: Assumptions) -> Work:
        """Return what a picture takes where a GPU encodes it: measured there, or by the operations that are counted.

        The head is taken to be as many times faster there as the image encoder.
        """
        read, own = self.pictures[picture], self.engines[TORCH]
        encode = gpu_milliseconds(self.operations, assumed)
        gpu = self.device_milliseconds or encode * (1 + own.head / own.encode)
        return Work({DECODE: read.decode, RESIZE: read.resize} | self._after, read.size, gpu)

    @property
    def _after(self) -> dict[str, float]:
        return {RECORD: self.record, LINE: self.line}


def main() -> None:
    """Measure, compute, print; if requested, write and draw."""
    options = _parse()
    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    assumed = Assumptions(**{field.name: getattr(options, field.name) for field in fields(Assumptions)})
    if options.measured:
        measured = Measured.from_json(json.loads(options.measured.read_text(encoding="utf-8"))["measured"])
    else:
        measured = measure(options, console)
    rows = setups(measured, assumed, options.picture)
    for table in tables(rows, measured, assumed):
        console.print(table)
    if options.figure:
        draw_stages({row.name: row.work for row in rows if row.drawn}, options.figure)
    if options.json:
        figures = {row.name: row.figures(assumed) for row in rows}
        plain = {"measured": asdict(measured), "assumed": asdict(assumed), "set-ups": figures}
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps(plain, indent=2) + "\n")


def tables(rows: list[Setup], measured: Measured, assumed: Assumptions) -> Iterator[Table]:
    """Yield what is printed."""
    title = f"milliseconds of one core ({measured.processor}), measured"
    stages = Table("", *(name for name in measured.work(TORCH, next(iter(MEGAPIXELS))).stages), "sum", title=title)
    for engine in measured.engines:
        for memory in (False, True):
            work = measured.work(engine, next(iter(MEGAPIXELS)), memory=memory)
            cells = [*work.stages.values(), work.core]
            stages.add_row(f"{engine}{', memory bank' if memory else ''}", *(f"{own:.2f}" for own in cells))
    yield stages
    yield setups_table(rows, assumed)
    works = {name: (measured.work(INT8, name), measured.gpu_work(name, assumed)) for name in measured.pictures}
    yield kinds_table(works, assumed)
    yield parts_table(measured.loading, measured.encoding_seconds + measured.epochs_seconds, assumed)
    yield needs_table(rows, assumed)


def setups(measured: Measured, assumed: Assumptions, picture: str) -> list[Setup]:
    """Return where pictures are judged, and what each takes there."""
    machine = Place(assumed.machine_cores)
    by_gpu = Place(assumed.machine_cores, 1)
    whole, gpu = f"{machine.cores} cores", measured.gpu_work(picture, assumed)
    works = {engine: measured.work(engine, picture) for engine in measured.engines}
    drawn = (TORCH, OPENVINO, INT8)
    rows = [Setup(f"1 core, {name}", work, Place(), drawn=name in drawn) for name, work in works.items()]
    bank = measured.work(INT8, picture, memory=True)
    rows += [Setup(f"1 core, {INT8}, memory bank", bank, Place(), drawn=True)]
    rows += [Setup(f"{whole}, {name}", works[name], machine) for name in (OPENVINO, INT8)]
    rows += [
        Setup(f"1 GPU and {whole}, one process", gpu, by_gpu, one_process=True, drawn=True),
        Setup(f"1 GPU and {whole}, several processes", gpu, by_gpu),
    ]
    for name, work, place in ((f"{whole}, {INT8}", works[INT8], machine), (f"1 GPU and {whole}", gpu, by_gpu)):
        rows.append(Setup(f"{assumed.machines} x {name}", work, Place(place.cores, place.gpus, assumed.machines)))
    return rows


def measure(options: argparse.Namespace, console: Console) -> Measured:
    """Measure all, on one core."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as place, console.status("training") as status:
        folder = Path(place)
        backbone = saved_backbone(random_backbone(options.architecture), folder)
        parts = {
            "text": train_part(backbone, options.epochs, memory=False),
            "bank": train_part(backbone, 0, memory=True),  # its prompts do not matter for how long it takes
        }
        text = parts["text"].detector
        files = write_pictures(folder)
        status.update("reading pictures")
        pictures = {name: time_reading(file, text.metadata, options.repeats) for name, file in files.items()}
        loaded = load_image(next(iter(files.values())), text.metadata)
        assert isinstance(loaded, Loaded)
        record, line = time_record(text, loaded, folder, options.repeats)
        status.update("engines")
        engines, exported = time_engines(parts, loaded, folder, options.repeats)
        status.update("loading")
        checkpoints = {name: folder / f"{name}.pt" for name in parts}
        for name, part in parts.items():
            part.detector.save(checkpoints[name])
        loading = measure_loading({CHECKPOINT: checkpoints, EXPORTED: exported})
        status.update("device")
        taken = time_device(options, loaded) if options.device else 0.0
        return Measured(
            processor(),
            pictures,
            engines,
            record,
            line,
            parts["text"].encoding,
            parts["text"].epochs,
            loading,
            counted_operations(backbone),
            options.device,
            taken,
        )


def time_engines(
    parts: dict[str, Part], loaded: Loaded, folder: Path, repeats: int
) -> tuple[dict[str, Engine], dict[str, Path]]:
    """Time all engines on a square; return the exported heads in float32, by engine and name, too."""
    square = loaded.squares[0]
    engines = {TORCH: time_torch(parts["text"].detector, parts["bank"].detector, square, repeats)}
    exported: dict[str, dict[str, Path]] = {}
    for name, (precision, suffix) in TOWERS.items():
        exported[name] = export_parts(parts, folder, precision, suffix)
        engines[name] = time_exported(exported[name], square, repeats)
    tiny = load_backbone(BackboneSettings(name=TINY_BACKBONE), torch.device("cpu"))
    text, bank = (train_part(tiny, 0, memory=memory).detector for memory in (False, True))
    small = square[: tiny.image_encoder.image_size, : tiny.image_encoder.image_size]
    engines["`tiny`, torch"] = time_torch(text, bank, small, repeats)
    return engines, {f"{engine}, {name}": exported[engine][name] for name in parts for engine in (ONNX, OPENVINO)}


def time_device(options: argparse.Namespace, loaded: Loaded) -> float:
    """Return the milliseconds of a picture on another device, in half precision unless that is the processor."""
    device = as_device(options.device)
    precision = "float32" if device.type == "cpu" else "float16"
    backbone = random_backbone(options.architecture, device=device, precision=precision)
    return time_batch(train_part(backbone, 0, memory=False).detector, loaded.squares[0], BATCH_SIZE, options.repeats)


def processor() -> str:
    """Return the processor's name, and the number of its family's model, which tells the generation."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    known = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    found = {name.strip(): value.strip() for name, value in known.items()}
    return f"{found.get('model name', platform.machine())}, model {found.get('model', '?')}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default=ARCHITECTURE, help="of open_clip, with random weights")
    parser.add_argument("--picture", default=next(iter(MEGAPIXELS)), choices=MEGAPIXELS, help="what pictures are")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=7, help="of each short run, the fastest of which counts")
    parser.add_argument("--device", default="", help="measure encoder and head there too, such as cuda")
    parser.add_argument("--measured", type=Path, help="take what was measured from this file of --json")
    for field in fields(Assumptions):
        name = f"--{field.name.replace('_', '-')}"
        words = f"assumed: {field.metadata['words']} (default: {field.default})"
        parser.add_argument(name, type=type(field.default), default=field.default, help=words)
    parser.add_argument("--figure", type=Path, help="picture file to draw the stages to")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
