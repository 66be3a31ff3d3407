"""Inspection: pictures without labels are judged one batch after another, each in a line of a file."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console

from promptad.data.geometry import square_picture
from promptad.data.pictures import read_picture
from promptad.detector import Detector
from promptad.drawing import save
from promptad.errors import InputError
from promptad.files import whole_file
from promptad.judgement import title_of
from promptad.overlays import Overlay, draw_overlays
from promptad.progress import add_task, progress_bar
from promptad.records import ANOMALY, Prediction
from promptad.regions import find_regions
from promptad.saved_predictions import LINES, RUN, InspectionRun

MOST_TOLD = 20  # rejected or unreadable pictures that are named in the terminal


@dataclass(frozen=True)
class Seen:
    """What is kept of a picture until it is judged: its size and the square that the backbone sees, or its error."""

    path: Path
    size: tuple[int, int] = (0, 0)  # width, height of the upright original
    square: Image.Image | None = None
    error: str = ""


@dataclass(frozen=True)
class Inspection:
    """How pictures are judged, and where the answers go."""

    detector: Detector
    run: InspectionRun
    output: Path
    console: Console
    batch_size: int
    overlays: bool

    def judge(self, pictures: Sequence[Path]) -> list[dict[str, Any]]:
        """Judge pictures and write a line of each, in their order, and the run; return the lines without regions.

        A picture that cannot be read has its error in its line. A batch is in memory at a time.
        """
        told = []
        with (
            whole_file(self.output / RUN, "--output") as run,  # takes its place right after the lines take theirs
            whole_file(self.output / LINES, "--output") as temporary,
            temporary.open("w", encoding="utf-8") as file,
            ThreadPoolExecutor() as pool,
            progress_bar(self.console) as progress,
        ):
            run.write_text(self.run.to_json(), encoding="utf-8")
            task = add_task(progress, "judge", len(pictures))
            for start in range(0, len(pictures), self.batch_size):
                batch = list(pool.map(self._see, pictures[start : start + self.batch_size]))
                for line in self._lines(batch, start):
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                    told.append({name: value for name, value in line.items() if name != "regions"})
                    progress.advance(task)
        return told

    def _see(self, path: Path) -> Seen:
        resize = self.detector.backbone.resize
        try:
            picture = read_picture(path)
        except InputError as error:
            return Seen(path, error=str(error))
        return Seen(path, picture.size, square_picture(picture, resize, resize))

    def _lines(self, batch: Sequence[Seen], start: int) -> Iterator[dict[str, Any]]:
        """Yield the lines of a batch, whose first picture is number `start` of all."""
        squares = [seen.square for seen in batch if seen.square is not None]
        prediction = self.detector.predict(squares, self.batch_size) if squares else None
        row = 0
        for number, seen in enumerate(batch, start + 1):
            if prediction is None or seen.square is None:
                yield {"path": str(seen.path), "error": seen.error}
            else:
                yield self._line(seen, prediction, row, number)
                row += 1

    def _line(self, seen: Seen, prediction: Prediction, row: int, number: int) -> dict[str, Any]:
        whole, _ = self.detector.backbone.square_of(self.detector.settings.scoring.resolution)
        heat = prediction.map[row]
        regions = find_regions(heat, whole, *seen.size)
        line = {
            "path": str(seen.path),
            "decision": prediction.decision[row],
            "score": float(prediction.score[row]),
            "raw": float(prediction.raw[row]),
            "threshold": prediction.threshold,
            "peak": float(heat.max()),
            "regions": [asdict(region) for region in regions],
            "explanation": asdict(prediction.explanations[row]),
        }
        if self.overlays:
            file = self.output / "overlays" / f"{number:04}_{seen.path.stem}.png"
            overlay = Overlay(read_picture(seen.path), heat, whole, regions, title_of(prediction, row))
            save(draw_overlays([overlay]), file, "--output")
            line["overlay"] = str(file)
        return line


def tell(lines: Sequence[dict[str, Any]], console: Console) -> None:
    """Name what was rejected or could not be read, and count all."""
    bad = [line for line in lines if line.get("decision") == ANOMALY or "error" in line]
    for line in bad[:MOST_TOLD]:
        console.print(_in_words(line), soft_wrap=True)
    if len(bad) > MOST_TOLD:
        console.print(f"… and {len(bad) - MOST_TOLD} more")
    unreadable = sum("error" in line for line in lines)
    anomalies = len(bad) - unreadable
    console.print(
        f"{len(lines)} pictures: {anomalies} anomalies, {len(lines) - len(bad)} good, {unreadable} unreadable",
        soft_wrap=True,
    )


def _in_words(line: dict[str, Any]) -> str:
    if "error" in line:
        return f"unreadable  {line['path']}: {line['error']}"
    return f"anomaly {line['score']:.2f}  {line['path']}, most like: {', '.join(line['explanation']['most_like'])}"
