"""The command compare: two systems in saved results."""

from rich.console import Console

from promptad.cli.choice import make_choice
from promptad.cli.given import Arguments
from promptad.reports.comparison.agreement import comparable_rows
from promptad.reports.comparison.differences import compare
from promptad.reports.comparison.figure import draw_comparison
from promptad.reports.comparison.tables import print_comparison, write_csv, write_markdown


def run_compare(given: Arguments, console: Console) -> None:
    """Compare two systems in saved results."""
    choice = make_choice(given, given["k_shot"] or ())
    comparison = compare(comparable_rows(choice), choice)
    print_comparison(comparison, console)
    if given["output"]:
        draw_comparison(comparison, given["output"] / "comparison.png")
        write_csv(comparison, given["output"] / "comparison.csv")
        write_markdown(comparison, "comparison.png", given["output"] / "comparison.md")
        console.print(f"written: comparison.md, .csv and .png in {given['output']}", soft_wrap=True)
