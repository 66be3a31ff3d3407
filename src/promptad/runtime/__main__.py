"""`python -m promptad.runtime predict FILE PICTURES`, or `watch FILE FOLDER`: judge pictures without torch."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from promptad.data.search import find_images
from promptad.errors import InputError
from promptad.runtime.asked_region import in_region
from promptad.runtime.engines import ENGINES, OPENVINO_PRECISIONS, SUFFIXES
from promptad.runtime.exported_parts import exported_files, open_exported_parts
from promptad.runtime.judge import Draw, Listener, judge, reading_again
from promptad.runtime.judge_parts import judge_parts, share_by_folder, share_by_look
from promptad.runtime.overlay import write_overlay
from promptad.runtime.session import Session
from promptad.runtime.watch import watch
from promptad.runtime.watch_options import GIVE_UP, SETTLE, WatchOptions
from promptad.settings import BATCH_SIZE
from promptad.utils.command_line import OneLineParser, run_command, with_flags


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 3 for what it rejected if asked, 2 after a mistake, or 130 after Ctrl-C."""
    return run_command(lambda: _run(_parser().parse_args(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m promptad.runtime", description="Judge pictures with an exported detector.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    predict = commands.add_parser("predict", help="judge pictures: a decision, and where the defect is")
    predict.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="exported detector, .onnx or .xml, or a folder of those of several parts",
    )
    predict.add_argument("pictures", nargs="+", metavar="PICTURES", help="files, folders or patterns")
    predict.add_argument(
        "--output",
        type=Path,
        default=Path("predictions"),
        help="folder for predictions.jsonl, predictions.csv and run.json",
    )
    predict.add_argument(
        "--which", action="store_true", help="of several parts: find the part by the pictures, not by sub-folders"
    )
    _add_shared(predict)
    watching = commands.add_parser("watch", help="judge each picture that arrives in a folder once")
    watching.add_argument("file", type=Path, metavar="FILE", help="exported detector, .onnx or .xml")
    watching.add_argument("folder", type=Path, metavar="FOLDER", help="folder that pictures arrive in")
    watching.add_argument("--output", type=Path, required=True, help="folder for predictions.jsonl")
    watching.add_argument("--once", action="store_true", help="judge what is there, and end")
    watching.add_argument("--settle", type=float, default=SETTLE, help="seconds a complete picture has not changed for")
    watching.add_argument("--give-up", type=float, default=GIVE_UP, help="the same of one that cannot be read")
    watching.add_argument("--poll", type=float, help="seconds between looks at a folder of a network")
    watching.add_argument("--rejected", help="copy or move rejected pictures")
    watching.add_argument("--rejected-to", type=Path, help="folder that they go to")
    watching.add_argument("--webhook", help="address that rejected lines are sent to")
    watching.add_argument("--webhook-all", action="store_true", help="send all lines")
    _add_shared(watching)
    return parser


def _add_shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overlays", action="store_true", help="draw each picture with its map, into overlays/")
    region = "left,top,right,bottom in pixels, a mask, or a folder of masks, one for each picture"
    parser.add_argument(
        "--region", action="append", default=[], help=f"what counts: {region} (default: as FILE learned)"
    )
    parser.add_argument("--ignore", action="append", default=[], help="what does not count: boxes or masks")
    parser.add_argument("--tower", type=Path, help="file of the image encoder, if it is not beside FILE")
    parser.add_argument("--engine", help=f"{' or '.join(ENGINES)} (default: the usual one of FILE)")
    precisions = " or ".join(OPENVINO_PRECISIONS)
    parser.add_argument("--precision", default="float32", help=f"of OpenVINO's products: {precisions}")
    parser.add_argument("--threads", type=int, help="that are used (default: one a core)")
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE, help="pictures that are judged together")
    parser.add_argument(
        "--fail-on-anomaly",
        action="store_true",
        help="exit with 3 if a picture is rejected or cannot be read, with 4 if one is unsure",
    )


def _run(given: argparse.Namespace) -> int:
    for name in ("batch_size", "threads"):
        if (number := getattr(given, name)) is not None and number < 1:
            raise InputError(f"--{name.replace('_', '-')} {number}: must be at least 1")
    return _watch(given) if given.command == "watch" else _predict(given)


def _open(given: argparse.Namespace) -> tuple[Session, Path | None, Draw | None]:
    """Open the detector; return it with the folder of masks, and what draws overlays, if these are asked for."""
    session = Session(
        given.file, tower=given.tower, engine=given.engine, precision=given.precision, threads=given.threads
    )
    session, masks = in_region(session, given.region, given.ignore)
    return session, masks, reading_again(session.metadata, write_overlay, masks) if given.overlays else None


def _watch(given: argparse.Namespace) -> int:
    options = WatchOptions.of(vars(given))
    session, masks, draw = _open(given)
    listener = Listener(lambda line: print(with_flags(line), flush=True), lambda _: None, draw)
    return watch(session, given.file, replace(options, masks=masks), listener)


def _predict(given: argparse.Namespace) -> int:
    if given.file.is_dir():
        return _predict_parts(given)
    if given.which:
        raise InputError(f"--which finds the part among several, and {given.file} is no folder of exported detectors")
    found = find_images(given.pictures, besides=given.output)
    session, masks, draw = _open(given)
    return judge(
        session,
        given.file,
        found,
        given.output,
        given.batch_size,
        Listener(print, _Progress(len(found.images) * session.metadata.settings.tile_count), draw),
        fail_on_anomaly=given.fail_on_anomaly,
        masks=masks,
    )


def _predict_parts(given: argparse.Namespace) -> int:
    if given.tower is not None:
        raise InputError(f"--tower {given.tower}: of a folder of detectors it is looked for beside them: leave it out")
    if not (files := exported_files(given.file)):
        raise InputError(f"{given.file} holds no exported detector, {' or '.join(SUFFIXES)}")
    found = find_images(given.pictures, besides=given.output) if given.which else None
    opened = open_exported_parts(files, engine=given.engine, precision=given.precision, threads=given.threads)
    draw = partial(reading_again, draw=write_overlay) if given.overlays else None

    def tell(line: str) -> None:
        print(with_flags(line))

    if found is None:
        shares = share_by_folder(opened, given.pictures, given.output, tell)
    else:
        shares = share_by_look(opened, found, given.batch_size, Listener(tell, lambda _: None))
    judging = Listener(tell, _Progress(shares.squares(opened.parts)))
    return judge_parts(
        opened, shares, given.output, given.batch_size, judging, draw, fail_on_anomaly=given.fail_on_anomaly
    )


class _Progress:
    """A line with the time left, on a terminal only."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.started = total, 0, time.monotonic()
        self.known: int | None = None  # of an interrupted run, which is told first

    def __call__(self, count: int) -> None:
        """Count squares that are done."""
        if self.known is None:
            self.known, self.started = count, time.monotonic()
        self.done += count
        if sys.stderr.isatty():
            own = max(self.done - self.known, 1)
            left = (time.monotonic() - self.started) / own * (self.total - self.done)
            end = "\n" if self.done == self.total else ""
            print(f"\rjudge {self.done}/{self.total}, {left:.0f} s left ", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
