"""`python -m promptad.serve DETECTORS`: the service, without torch."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from promptad.runtime.engines import ENGINES
from promptad.serve.server import HOST, MAX_MB, PORT, QUEUE, TOKEN_VARIABLE, ServeOptions, serve
from promptad.utils.command_line import OneLineParser, run_command, with_flags


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service; return 0 once it is stopped, or 2 after a mistake."""
    return run_command(lambda: _serve(_parser().parse_args(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m promptad.serve", description="Judge pictures over HTTP, with a page.")
    parser.add_argument("detectors", nargs="+", type=Path, metavar="DETECTORS", help="exported detectors, or folders")
    parser.add_argument("--host", default=HOST, help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=PORT, help="0: any that is free (default: %(default)s)")
    parser.add_argument("--token", help=f"that requests must bring (default: ${TOKEN_VARIABLE}, else none)")
    parser.add_argument("--engine", help=f"{' or '.join(ENGINES)} (default: the usual one of each file)")
    parser.add_argument("--threads", type=int, help="that the engine uses (default: one a core)")
    parser.add_argument("--queue", type=int, default=QUEUE, help="pictures that wait, at most (default: %(default)s)")
    parser.add_argument("--max-mb", type=float, default=MAX_MB, help="MB of a request, at most (default: %(default)g)")
    return parser


def _serve(given: argparse.Namespace) -> int:
    options = ServeOptions(**vars(given) | {"detectors": tuple(given.detectors)})
    serve(options, lambda line: print(with_flags(line), flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
