"""The command completion: what a shell needs to complete commands and options."""

import shtab
from rich.console import Console

from promptad.cli.given import Arguments
from promptad.cli.options import SHELLS
from promptad.cli.parser import make_parser
from promptad.errors import check_choice


def run_completion(given: Arguments, _: Console) -> None:
    """Print the script of a shell that completes the words of `promptad`."""
    check_choice("shell", given["shell"], SHELLS)
    print(shtab.complete(make_parser(completing=True), shell=given["shell"]))  # a console would escape its codes
