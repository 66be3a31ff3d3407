"""What detectors of one image encoder take in one process: `python loading_times.py KIND FILE` prints it as JSON.

A process of its own measures it, with no more than a detector of that kind needs: an exported one needs no torch.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

CHECKPOINT, EXPORTED = "checkpoint", "exported"
# Detectors of one encoder that are opened beside the first one. The second half of them counts: the first one may go
# where loading the encoder has left room.
MANY, FEW = 400, 20  # of small ones, and of those with a memory bank
SMALL, MIB = 5e6, 2**20  # bytes

Opener = Callable[[], object]


def main(kind: str, file: str) -> None:
    """Open one detector, then more; print seconds of the clock and MiB, and the megabytes of a file."""
    started = time.perf_counter()
    more = {CHECKPOINT: checkpoints, EXPORTED: exported}[kind](Path(file))
    kept = [more()]
    first_seconds, first = time.perf_counter() - started, psutil.Process().memory_info().rss
    half = (MANY if _size(Path(file)) < SMALL else FEW) // 2
    kept += [more() for _ in range(half)]
    started, before = time.perf_counter(), psutil.Process().memory_info().rss
    kept += [more() for _ in range(half)]
    figures = {
        "first_seconds": first_seconds,
        "more_seconds": (time.perf_counter() - started) / half,
        "first_mib": first / MIB,
        "more_mib": (psutil.Process().memory_info().rss - before) / half / MIB,
        "file_mb": _size(Path(file)) / 1e6,
    }
    print(json.dumps(figures))


def checkpoints(file: Path) -> Opener:
    """Open a checkpoint with its backbone; return what opens it again on the same one, and uses it once."""
    import torch  # noqa: PLC0415 exported ones do without it

    from promptad.models.registry import load_with_thresholds  # noqa: PLC0415 the same

    torch.set_num_threads(1)
    device = torch.device("cpu")
    backbone = load_with_thresholds(file, device).backbone
    features = backbone.encode_squares(_black(backbone.image_encoder.image_size), layers=True)

    def more() -> object:
        detector = load_with_thresholds(file, device, known=[backbone])
        with torch.inference_mode():
            detector.outputs(features)
        return detector

    return more


def exported(file: Path) -> Opener:
    """Open an exported head with its tower; return what opens it again on the same one, and uses it once."""
    from promptad.runtime.session import Session  # noqa: PLC0415 checkpoints do without it

    first = Session(file, threads=1)
    assert first.tower is not None
    tower = first.tower
    features = tower.graph.run({"images": _black(first.metadata.image_size)})

    def more() -> object:
        session = Session(file, tower=tower)
        session.head.run(features)
        return session

    return more


def _size(file: Path) -> int:
    """Return the bytes of a file, with OpenVINO's weights beside it."""
    weights = file.with_suffix(".bin")
    return file.stat().st_size + (weights.stat().st_size if file.suffix == ".xml" else 0)


def _black(side: int) -> np.ndarray:
    return np.zeros((1, side, side, 3), np.uint8)


if __name__ == "__main__":
    main(*sys.argv[1:])
