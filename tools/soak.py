#!/usr/bin/env python
"""Soak test: damaged files, wrong commands, kills and many writers, for as long as is asked.

usage: python tools/soak.py [--minutes 10] [--seed 0] [--only KIND] [--json FILE]

Every trial has a number from which all its chance is drawn. One that fails is printed with its kind and number:
`--only KIND --seed NUMBER` starts with it again. A failure is anything but the right result or a refusal in one line.
The JSON file holds {"tried": N, "failed": N, "kinds": {KIND: {"tried": N, "failed": N}}, "failures": [...]}.
"""

import argparse
import contextlib
import io
import json
import logging
import math
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from promptad.cli.main import main as promptad
from promptad.data.demo import make_demo_class
from promptad.data.images import find_bit_depth, read_image
from promptad.data.masks import read_mask
from promptad.errors import InputError
from promptad.estimator import PromptAD
from promptad.reports.comparison.rows import read_rows
from promptad.reports.run_summary import read_diagnostics
from promptad.results.paths import ResultFolder
from promptad.results.scores import read_scores
from promptad.results.table import RESULT_COLUMNS, read_results, write_result
from promptad.runtime.predictions import read_predictions
from promptad.runtime.records import PredictionRecord

SUFFIXES = (".png", ".jpg", ".bmp", ".tif", ".webp", ".gif", ".jp2", ".ppm")
CLASSES = ("carpet", "grid")
LIGHT = ("--Epoch", "1", "--views", "2", "--resolution", "64", "--feature-cache", "False")
PATIENCE = 120  # seconds that one trial may take
WRITERS, ROWS = 8, 5
ODD_WORDS = (
    *(
        "",
        " ",
        "-",
        "--",
        "\0",
        "\n",
        "nan",
        "inf",
        "-1",
        "0",
        "1e999",
        "9" * 400,
        "x" * 300,
        "../..",
        "/",
        "~",
        "*",
        "[",
        "{}",
    ),
    *("äöü", "漢字", "\x1b[31m", "\udcff", "None", "True", "a,b", ",", "0-99999999", "/dev/null", "/proc/self/mem"),
)


@dataclass
class Bench:
    """A folder with a small data set and what was made of it, which trials damage copies of."""

    folder: Path
    scratch: Path = field(init=False)

    def __post_init__(self) -> None:
        self.scratch = self.folder / "scratch"
        self.scratch.mkdir()
        for name in CLASSES:
            carpet = make_demo_class(self.data / "demo", name)
            for kind in (carpet / "test").iterdir():
                for image in sorted(kind.iterdir())[2:]:
                    image.unlink()
                    (carpet / "ground_truth" / kind.name / f"{image.stem}_mask.png").unlink(missing_ok=True)
        assert run("train-all", *self.arguments, "--root-dir", str(self.folder / "result")) == 0
        assert run("predict", str(self.checkpoint), str(self.images), "--output", str(self.predictions)) == 0

    @property
    def data(self) -> Path:
        """The folder above the data set."""
        return self.folder / "data"

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments of a training of all classes."""
        return ("--dataset", "demo", "--data-root", str(self.data), "--classes", ",".join(CLASSES), *LIGHT)

    @property
    def results(self) -> ResultFolder:
        """Their results."""
        return ResultFolder(self.folder / "result", "demo", 2, 111)

    @property
    def checkpoint(self) -> Path:
        """A detector."""
        return self.results.checkpoint(CLASSES[0])

    @property
    def images(self) -> Path:
        """Its test images."""
        return self.data / "demo" / CLASSES[0] / "test"

    @property
    def predictions(self) -> Path:
        """Its predictions of these."""
        return self.folder / "predictions"

    @cached_property
    def seconds(self) -> float:
        """How long a training of all classes takes in a process of its own."""
        started = time.monotonic()
        subprocess.run(self.command("train-all", self.folder / "timed"), check=True, capture_output=True)
        return time.monotonic() - started

    def command(self, name: str, output: Path) -> list[str]:
        """Return a command that writes to `output`, for a process of its own."""
        by_name = {
            "train-all": (*self.arguments, "--root-dir", str(output)),
            "predict": (str(self.checkpoint), str(self.images), "--output", str(output), "--batch-size", "2"),
        }
        return [sys.executable, "-m", "promptad", name, *by_name[name]]


def run(*arguments: str) -> int:
    """Run a command in this process; its output must be one line at most if it refuses, and never a traceback."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = promptad(arguments)
    assert code in (0, 2, 3), f"exit code {code}: {errors.getvalue()}"
    assert (code == 2) == (errors.getvalue().count("\n") == 1), errors.getvalue()
    assert "\x1b" not in output.getvalue() + errors.getvalue(), "a raw escape code"
    return code


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return bytes with a few flipped, cut, doubled or overwritten places."""
    spoilt = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(max(len(spoilt), 1))
        if chance.random() < 0.3:  # the head says most of what follows
            place = min(place, chance.randrange(64))
        kind = chance.randrange(5)
        if kind == 0:
            spoilt[place : place + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            del spoilt[place:]
        elif kind == 2:
            spoilt[place:place] = spoilt[place : place + chance.randrange(1, 64)]
        elif kind == 3:
            spoilt[place : place + 4] = chance.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"))
        else:
            del spoilt[place : place + chance.randrange(1, 64)]
    return bytes(spoilt)


def read_or_refuse(read: Callable[[], Any]) -> Any:
    """Return what was read, or None if it was refused in one line."""
    try:
        return read()
    except InputError as error:
        message = str(error)
    assert message
    assert "\n" not in message.strip()
    return None


def try_image(bench: Bench, chance: random.Random) -> None:
    """A damaged image becomes 8-bit RGB, or is refused."""
    size = (chance.randint(1, 80), chance.randint(1, 80))
    noise = np.random.default_rng(chance.randrange(2**32)).integers(0, 2 ** chance.choice((8, 10, 16)), (*size, 3))
    suffix = chance.choice(SUFFIXES)
    deep = suffix in (".png", ".tif") and chance.random() < 0.5
    image = Image.fromarray(noise[..., 0].astype(np.uint16) if deep else noise.astype(np.uint8))
    file = bench.scratch / f"image{suffix}"
    image.save(file)
    file.write_bytes(damaged(file.read_bytes(), chance))
    depth = find_bit_depth([file])
    read = read_or_refuse(lambda: read_image(file, depth))
    if read is not None:
        assert read.mode == "RGB"
        assert np.asarray(read).shape == (read.height, read.width, 3)


def try_mask(bench: Bench, chance: random.Random) -> None:
    """A damaged mask shows a defect, or is refused."""
    image, file = bench.scratch / "image.png", bench.scratch / "mask.png"
    mask = Image.new("L", (60, 40))
    Image.new("RGB", mask.size, "red").save(image)
    mask.paste(chance.randrange(1, 256), (chance.randrange(50), chance.randrange(30), 60, 40))
    mask.save(file)
    file.write_bytes(damaged(file.read_bytes(), chance))
    read = read_or_refuse(lambda: read_mask(file, (32, 32), image))
    assert read is None or (read.shape == (32, 32) and read.any())


def try_checkpoint(bench: Bench, chance: random.Random) -> None:
    """A damaged checkpoint scores as the whole one, or is refused."""
    file = bench.scratch / "detector.pt"
    file.write_bytes(damaged(bench.checkpoint.read_bytes(), chance))
    detector = read_or_refuse(lambda: PromptAD.load(file))
    if detector is not None:
        whole, (image, *_) = PromptAD.load(bench.checkpoint), sorted(bench.images.rglob("*.png"))
        assert detector.predict(image).score == whole.predict(image).score


def try_results(bench: Bench, chance: random.Random) -> None:
    """A damaged file of results is read as what it may hold, or refused."""
    copy = bench.scratch / "results"
    shutil.rmtree(copy, ignore_errors=True)
    results, diagnostics = ResultFolder(copy, "demo", 2, 111), bench.results.diagnostics(CLASSES[0])
    lines = copy / "predictions" / "predictions.jsonl"
    run_of = read_results(bench.results.csv)[0]["run"]
    kind: tuple[Path, Path, Callable[[], object]] = chance.choice(
        (
            (bench.results.csv, results.csv, lambda: read_rows(results)),
            (bench.results.scores(CLASSES[0]), copy / "scores.json", lambda: read_scores(copy / "scores.json", run_of)),
            (diagnostics, copy / "health.json", lambda: read_diagnostics(copy / "health.json", "gone")),
            (bench.predictions / "predictions.jsonl", lines, lambda: read_predictions(lines)),
        )
    )
    source, target, read = kind
    target.parent.mkdir(parents=True, exist_ok=True)
    if target == lines:
        shutil.copy(bench.predictions / "run.json", target.parent)
    target.write_bytes(damaged(source.read_bytes(), chance))
    read_or_refuse(read)


def try_command(bench: Bench, chance: random.Random) -> None:
    """A command with wrong words ends in a result, or in one line."""
    train = ["train", *bench.arguments[:4], "--class-name", "carpet", "--root-dir", str(bench.scratch / "r"), *LIGHT]
    base = chance.choice(
        (
            train,
            ["predict", str(bench.checkpoint), str(bench.images), "--output", str(bench.scratch / "p")],
            ["compare", "--dataset", "demo", "--root-dir", str(bench.folder / "result")],
            ["test", *train[1:7]],
        )
    )
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(1, len(base))
        base = [*base[:place], chance.choice(ODD_WORDS), *base[place + chance.randint(0, 1) :]]
    with contextlib.chdir(bench.scratch):
        run(*base)


def try_kill(bench: Bench, chance: random.Random) -> None:
    """A command that is killed leaves whole files, and the next start ends as if nothing had been."""
    name = chance.choice(("train-all", "predict"))
    output = bench.scratch / "killed"
    shutil.rmtree(output, ignore_errors=True)
    with subprocess.Popen(bench.command(name, output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0, bench.seconds))
        process.kill()
    check_whole(output)
    assert run(*bench.command(name, output)[3:]) == 0
    check_whole(output)
    if name == "predict":
        made, expected = (read_predictions(place)[1] for place in (output, bench.predictions))
        assert [record.path for record in made] == [record.path for record in expected]
        for one, other in zip(made, expected, strict=True):
            assert math.isclose(one.raw_score, other.raw_score, abs_tol=1e-3)
    else:
        rows = read_results(ResultFolder(output, "demo", 2, 111).csv)
        assert [row["class"] for row in sorted(rows, key=lambda row: row["class"])] == sorted(CLASSES)


def check_whole(folder: Path) -> None:
    """Check that every visible file can be read."""
    for file in (file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".")):
        if file.suffix == ".pt":
            torch.load(file, weights_only=True)
        elif file.suffix == ".json":
            json.loads(file.read_text())
        elif file.suffix == ".csv":
            read_results(file)
        elif file.name == "predictions.jsonl.part":
            for line in file.read_text().split("\n")[:-1]:
                PredictionRecord.from_line(line)


def try_writers(bench: Bench, chance: random.Random) -> None:
    """Rows that several processes write at once are all there."""
    file = bench.scratch / f"rows{chance.randrange(2**32)}.csv"
    writers = [multiprocessing.Process(target=write_rows, args=(file, number)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert all(writer.exitcode == 0 for writer in writers)
    names = {row["class"] for row in read_results(file)}
    assert names == {f"{number}-{row}" for number in range(WRITERS) for row in range(ROWS)}
    file.unlink()


def write_rows(file: Path, number: int) -> None:
    """Write the rows of one writer."""
    for row in range(ROWS):
        write_result(file, dict.fromkeys(RESULT_COLUMNS[1:5], "x") | {"class": f"{number}-{row}"})


# Each kind of trial, and how many of it make a round.
KINDS: dict[str, tuple[Callable[[Bench, random.Random], None], int]] = {
    "image": (try_image, 400),
    "mask": (try_mask, 100),
    "checkpoint": (try_checkpoint, 20),
    "results": (try_results, 200),
    "command": (try_command, 10),
    "writers": (try_writers, 1),
    "kill": (try_kill, 2),
}


@contextlib.contextmanager
def patience(seconds: int) -> Iterator[None]:
    """Raise TimeoutError if the body takes longer."""

    def give_up(*_: object) -> None:
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def tried(bench: Bench, kind: str, number: int) -> str:
    """Make one trial; return why it failed, or an empty text."""
    try:
        with patience(PATIENCE):
            KINDS[kind][0](bench, random.Random(f"{kind} {number}"))
    except KeyboardInterrupt:
        raise
    except BaseException:
        return traceback.format_exc()
    return ""


def soak(bench: Bench, numbers: Iterator[tuple[str, int]]) -> dict[str, Any]:
    """Make trials, print those that fail, and return how many there were of each kind."""
    kinds = {kind: {"tried": 0, "failed": 0} for kind in KINDS}
    failures = []
    for kind, number in numbers:
        kinds[kind]["tried"] += 1
        if reason := tried(bench, kind, number):
            kinds[kind]["failed"] += 1
            failures.append({"kind": kind, "number": number, "reason": reason})
            print(f"{kind} {number} failed: {reason}", flush=True)
    total = {name: sum(of_kind[name] for of_kind in kinds.values()) for name in ("tried", "failed")}
    return {**total, "kinds": kinds, "failures": failures}


def rounds(kinds: list[str], first: int, until: float) -> Iterator[tuple[str, int]]:
    """Yield kinds and numbers, round by round, until a time of the monotonic clock."""
    number = first
    while True:
        for kind in kinds:
            for _ in range(KINDS[kind][1]):
                if time.monotonic() > until:
                    return
                yield kind, number
                number += 1


def main() -> int:
    """Soak for the minutes asked; return 1 if a trial failed."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0, help="number of the first trial")
    parser.add_argument("--only", choices=KINDS, help="trials of one kind only")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PROMPTAD_CACHE"] = f"{folder}/cache"
        bench = Bench(Path(folder))
        until = time.monotonic() + 60 * options.minutes
        figures = soak(bench, rounds([options.only] if options.only else list(KINDS), options.seed, until))
    figures["peak_memory_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    for kind, of_kind in figures["kinds"].items():
        print(f"{kind:<12}{of_kind['tried']:>8} tried {of_kind['failed']:>4} failed")
    print(f"all         {figures['tried']:>8} tried {figures['failed']:>4} failed; {figures['peak_memory_gb']} GB")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(figures["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
