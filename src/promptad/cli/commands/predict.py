"""The command predict: pictures without labels, of one part or of many."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from promptad.cli.detectors import open_predictor
from promptad.cli.drawing import find_drawing
from promptad.cli.given import Arguments
from promptad.cli.machine import check_batch_size
from promptad.cli.parts import find_parts, open_parts
from promptad.cli.places import find_checkpoint
from promptad.data.search import find_images
from promptad.errors import InputError
from promptad.runtime.judge import Listener, judge, reading_again
from promptad.runtime.judge_parts import judge_parts, share_by_folder, share_by_look
from promptad.utils.progress import add_task, progress_bar


def run_predict(given: Arguments, console: Console) -> int:
    """Predict images without labels, of one part or of many; return the exit code."""
    check_batch_size(given)
    if given["cluster"] is not None:
        from promptad.cli.clusters import predict_on_cluster  # noqa: PLC0415 nothing else needs it

        return predict_on_cluster(given, console)
    for name in ("shard_size", "shard_format"):
        if given[name] is not None:
            raise InputError(f"`{name}` {given[name]} is of predictions on a cluster: give `cluster`, or leave it out")
    if files := find_parts(given["checkpoint"], given["which"]):
        return _predict_parts(files, given, console)
    path = find_checkpoint(given["checkpoint"])
    found = find_images(given["pictures"], besides=given["output"])
    predictor, masks = open_predictor(path, given, console)
    drawing = find_drawing(given)
    draw = drawing and reading_again(predictor.metadata, drawing, masks)
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
    drawing = find_drawing(given)
    draw = drawing and partial(reading_again, draw=drawing)

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
