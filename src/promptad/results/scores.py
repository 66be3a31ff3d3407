"""The score of every test image, in a file beside the table of results: for reports and other analyses."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptad.errors import InputError
from promptad.structures import Prediction, TestImage
from promptad.utils.files import whole_file
from promptad.utils.json_text import is_number, parse_json


@dataclass(frozen=True)
class ScoredImage:
    """A labelled test image with its scores."""

    image: TestImage
    score: float  # in [0, 1]
    max_score: float  # the highest value of its anomaly map, in [0, 1]


def write_scores(file: Path, run: str, images: Sequence[TestImage], prediction: Prediction) -> None:
    """Write the scores of a test split as JSON, with the `run` that its row of results names too.

    Raises:
        InputError: the folder cannot be written to.
    """
    lines = [
        {
            "path": str(image.path.resolve()),
            "defect": image.defect,
            "mask": image.mask_path and str(image.mask_path.resolve()),
            "score": float(score),
            "raw": float(raw),
            "peak": float(anomaly_map.max()),
        }
        for image, score, raw, anomaly_map in zip(
            images, prediction.score, prediction.raw_score, prediction.anomaly_map, strict=True
        )
    ]
    with whole_file(file) as temporary:
        temporary.write_text(json.dumps({"run": run, "pictures": lines}, indent=1) + "\n", encoding="utf-8")


def read_scores(file: Path, run: str) -> tuple[ScoredImage, ...]:
    """Return the scored images of a run.

    Raises:
        InputError: there is no such file, it is damaged, or it is of another run.
    """
    cure = "measure the class again, with promptad test"
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
        scored = tuple(_scored(line) for line in content["pictures"])
        known = content["run"]
    except FileNotFoundError as error:
        raise InputError(f"no scores of single pictures in {file.name}: {cure}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file.name} cannot be read as scores: {cure}") from error
    if known != run:
        raise InputError(f"{file.name} is of another training than the row of results: {cure}")
    return scored


def _scored(line: dict[str, Any]) -> ScoredImage:
    path, defect, mask, score, max_score = (line[name] for name in ("path", "defect", "mask", "score", "peak"))
    if not (isinstance(path, str) and isinstance(defect, str) and (mask is None or isinstance(mask, str))):
        raise TypeError(f"{path!r}, {defect!r} or {mask!r} is no text")
    if not (is_number(score) and is_number(max_score)):
        raise TypeError(f"{score!r} or {max_score!r} is no number")
    return ScoredImage(
        TestImage(Path(path), defect, None if mask is None else Path(mask)), float(score), float(max_score)
    )
