"""The command watch: pictures that arrive in a folder."""

from dataclasses import replace

from rich.console import Console

from promptad.cli.detectors import open_predictor
from promptad.cli.drawing import find_drawing
from promptad.cli.given import Arguments
from promptad.cli.places import find_checkpoint
from promptad.runtime.judge import Listener, reading_again
from promptad.runtime.watch import watch
from promptad.runtime.watch_options import WatchOptions


def run_watch(given: Arguments, console: Console) -> int:
    """Judge the pictures that arrive in a folder; return the exit code."""
    options = WatchOptions.of(given)
    path = find_checkpoint(given["detector"])
    predictor, masks = open_predictor(path, given, console)
    options = replace(options, masks=masks)
    drawing = find_drawing(given)
    draw = drawing and reading_again(predictor.metadata, drawing, masks)
    listener = Listener(lambda line: console.print(line, soft_wrap=True), lambda _: None, draw)
    return watch(predictor, path, options, listener)
