"""The command demo-data: the demo data set, drawn."""

from rich.console import Console

from promptad.cli.datasets import draw_demo, draw_sheet
from promptad.cli.given import Arguments
from promptad.data.demo import DEMO_CLASSES


def run_demo_data(given: Arguments, console: Console) -> None:
    """Draw the demo data set."""
    classes = given["classes"] or DEMO_CLASSES
    draw_demo(given["output"], classes, given["line"], given["difficulty"], console, "output")
    if given["sheet"]:
        draw_sheet(given["sheet"], classes, given["line"], given["difficulty"], console)
