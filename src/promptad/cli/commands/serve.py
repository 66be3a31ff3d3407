"""The command serve: pictures judged over HTTP."""

from rich.console import Console

from promptad.cli.given import Arguments
from promptad.serve.server import ServeOptions, serve


def run_serve(given: Arguments, console: Console) -> None:
    """Judge pictures over HTTP."""
    options = ServeOptions(**given | {"detectors": tuple(given["detectors"])})
    serve(options, lambda line: console.print(line, soft_wrap=True))
