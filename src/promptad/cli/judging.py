"""The commands predict and watch: pictures without labels, of one part or of many."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from promptad.cli.builders import check_batch_size
from promptad.cli.detectors import open_predictor
from promptad.cli.parser import Arguments
from promptad.cli.parts import find_parts, open_parts
from promptad.cli.places import find_checkpoint
from promptad.data.search import find_images
from promptad.runtime.judge import Listener, judge, reading_again
from promptad.runtime.judge_parts import judge_parts, share_by_folder, share_by_look
from promptad.runtime.metadata import Metadata
from promptad.runtime.predictions import PredictionRecord
from promptad.runtime.watch import watch
from promptad.runtime.watch_options import WatchOptions
from promptad.utils.progress import add_task, progress_bar
from promptad.visualization.figures import save
from promptad.visualization.overlays import Overlay, draw_overlays
from promptad.visualization.prediction import overlay_title


def run_predict(given: Arguments, console: Console) -> int:
    """Predict images without labels, of one part or of many; return the exit code."""
    check_batch_size(given)
    if files := find_parts(given["checkpoint"], given["which"]):
        return _predict_parts(files, given, console)
    path = find_checkpoint(given["checkpoint"])
    found = find_images(given["pictures"], besides=given["output"])
    predictor, masks = open_predictor(path, given, console)
    draw = reading_again(predictor.metadata, draw_record, masks) if given["overlays"] else None
    with progress_bar(console) as progress:
        bar = add_task(progress, "judge", len(found.images) * predictor.metadata.settings.tile_count)
        return judge(
            predictor,
            path,
            found,
            given["output"],
            given["batch_size"],
            Listener(
                lambda line: console.print(line, soft_wrap=True),
                lambda count: progress.advance(bar, count),
                draw,
            ),
            fail_on_anomaly=given["fail_on_anomaly"],
            masks=masks,
        )


def _predict_parts(files: Sequence[Path], given: Arguments, console: Console) -> int:
    output, batch_size = given["output"], given["batch_size"]
    found = find_images(given["pictures"], besides=output) if given["which"] else None
    opened = open_parts(files, given, console)
    draw = partial(reading_again, draw=draw_record) if given["overlays"] else None

    def tell(line: str) -> None:
        console.print(line, soft_wrap=True)

    with progress_bar(console) as progress:

        def listener(description: str, total: int) -> Listener:
            task = add_task(progress, description, total)
            return Listener(tell, lambda count: progress.advance(task, count))

        if found is None:
            shares = share_by_folder(opened, given["pictures"], output, tell)
        else:
            shares = share_by_look(opened, found, batch_size, listener("find the part", len(found.images)))
        judging = listener("judge", shares.squares(opened.parts))
        return judge_parts(opened, shares, output, batch_size, judging, draw, fail_on_anomaly=given["fail_on_anomaly"])


def run_watch(given: Arguments, console: Console) -> int:
    """Judge the pictures that arrive in a folder; return the exit code."""
    options = WatchOptions.of(given)
    path = find_checkpoint(given["detector"])
    predictor, masks = open_predictor(path, given, console)
    options = replace(options, masks=masks)
    draw = reading_again(predictor.metadata, draw_record, masks) if given["overlays"] else None
    listener = Listener(lambda line: console.print(line, soft_wrap=True), lambda _: None, draw)
    return watch(predictor, path, options, listener)


def draw_record(
    known: Metadata, record: PredictionRecord, image: Image.Image, anomaly_map: np.ndarray, file: Path
) -> None:
    """Draw an image with its regions, and beside it its anomaly map."""
    title = overlay_title(record.score, record.max_score, record.label, record.reason)
    overlay = Overlay(image, anomaly_map, known.frame, record.regions, title)
    save(draw_overlays([overlay]), file, "output")
