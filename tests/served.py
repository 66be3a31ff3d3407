"""Exported detectors, requests and a running service for the tests of `promptad.serve`."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from promptad import PromptAD

CHECKPOINTS = Path(__file__).parent / "models" / "format_7"  # of images of 32 pixels a side


@cache
def detector_of(name: str) -> PromptAD:
    """The detector of a checkpoint."""
    return PromptAD.load(CHECKPOINTS / name)


def export_whole(file: Path) -> Path:
    detector_of("multi_prototype_memory.pt").export(file)
    return file


def export_heads(folder: Path) -> list[Path]:
    """Two detectors of one class, of one tower, which lies beside them."""
    folder.mkdir(exist_ok=True)
    heads = [folder / "banked.onnx", folder / "plain.onnx"]
    for head, name in zip(heads, ("multi_prototype_memory.pt", "multi_prototype.pt"), strict=True):
        detector_of(name).export(head, tower=folder / "tower.onnx")
    return heads


def picture(seed: int, size: tuple[int, int] = (48, 40), kind: str = "PNG") -> bytes:
    """The bytes of a file of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@dataclass(frozen=True)
class Served:
    """A running service."""

    process: subprocess.Popen[str]
    address: str

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.address.rpartition(":")[2])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def running(*arguments: str | Path, **environment: str) -> Iterator[Served]:
    """A service in a process of its own, on a free port."""
    command = [sys.executable, "-m", "promptad.serve", *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )
    assert process.stdout is not None
    try:
        words = process.stdout.readline().split()
        assert "at" in words, process.communicate()
        yield Served(process, words[words.index("at") + 1].rstrip(","))
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
