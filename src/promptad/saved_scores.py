"""The score of every test picture, as a file beside the table of results: for reports and for own analyses."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from promptad.errors import InputError
from promptad.files import whole_file
from promptad.records import Prediction, TestPicture


@dataclass(frozen=True)
class ScoredPicture:
    """A labelled test picture with what a detector said of it."""

    picture: TestPicture
    score: float  # in [0, 1]
    peak: float  # the highest point of its map, in [0, 1]


def write_scores(file: Path, run: str, pictures: Sequence[TestPicture], prediction: Prediction) -> None:
    """Write the scores of a test split as JSON, with the `run` that its row of results names too.

    Raises:
        InputError: the folder cannot be written to.
    """
    lines = [
        {
            "path": str(picture.path.resolve()),
            "defect": picture.defect,
            "mask": picture.mask_path and str(picture.mask_path.resolve()),
            "score": float(score),
            "raw": float(raw),
            "peak": float(heat.max()),
        }
        for picture, score, raw, heat in zip(pictures, prediction.score, prediction.raw, prediction.map, strict=True)
    ]
    with whole_file(file) as temporary:
        temporary.write_text(json.dumps({"run": run, "pictures": lines}, indent=1) + "\n", encoding="utf-8")


def read_scores(file: Path, run: str) -> tuple[ScoredPicture, ...]:
    """Return the scored pictures of a run.

    Raises:
        InputError: there is no such file, it is damaged, or it is of another run.
    """
    cure = "measure the class again, with promptad test"
    if not file.is_file():
        raise InputError(f"no scores of single pictures in {file.name}: {cure}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        scored = tuple(_scored(line) for line in content["pictures"])
        known = content["run"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file.name} cannot be read as scores: {cure}") from error
    if known != run:
        raise InputError(f"{file.name} is of another training than the row of results: {cure}")
    return scored


def _scored(line: dict[str, object]) -> ScoredPicture:
    mask = None if line["mask"] is None else Path(str(line["mask"]))
    picture = TestPicture(Path(str(line["path"])), str(line["defect"]), mask)
    return ScoredPicture(picture, float(str(line["score"])), float(str(line["peak"])))
