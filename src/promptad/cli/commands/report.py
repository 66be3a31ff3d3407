"""The command report: saved results, or predictions, as one page."""

import torch
from rich.console import Console

from promptad.cli.choice import check_alone, make_choice
from promptad.cli.flags import with_flags
from promptad.cli.given import Arguments
from promptad.cli.machine import find_device
from promptad.cli.options import CHOICE
from promptad.reports.gallery import make_galleries
from promptad.reports.parts_page import is_of_parts, read_parts, render_parts_page
from promptad.reports.predictions_page import render_predictions_page
from promptad.reports.predictions_summary import PredictionsSummary, health_of, make_gallery
from promptad.reports.run_page import render_run_page
from promptad.reports.run_summary import summarize_run
from promptad.reports.template import check_page_file, write_page
from promptad.runtime.predictions import read_predictions


def run_report(given: Arguments, console: Console) -> None:
    """Write saved results, or predictions, as one page."""
    check_page_file(given["output"])
    device = find_device(given, console)
    page = _page_of_predictions if given["predictions"] else _page_of_run
    if replaced := write_page(with_flags(page(given, device, console)), given["output"]):
        console.print(replaced, soft_wrap=True)
    console.print(f"report: {given['output']}", soft_wrap=True)


def _page_of_run(given: Arguments, device: torch.device, console: Console) -> str:
    summary = summarize_run(make_choice(given, () if given["k_shot"] is None else (given["k_shot"],)))
    return render_run_page(summary, make_galleries(summary, device, console))


def _page_of_predictions(given: Arguments, device: torch.device, console: Console) -> str:
    usual = {option.name: option.default for option in CHOICE}
    check_alone(given, usual, "`predictions`: leave it out (it chooses among saved results)")
    if is_of_parts(given["predictions"]):
        written = read_parts(given["predictions"])
        every = [found for _, found in written.found]
        galleries = [make_gallery(found, device, console) for found in every]
        return render_parts_page(written, galleries, [health_of(found.run) for found in every])
    found = PredictionsSummary(*read_predictions(given["predictions"]))
    return render_predictions_page(found, make_gallery(found, device, console), health_of(found.run))
