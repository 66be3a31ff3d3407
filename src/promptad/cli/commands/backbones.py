"""The command backbones: which can be read, and what works with each."""

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from promptad.backbones.catalogue import Entry, entries, seconds_a_picture
from promptad.cli.given import Arguments
from promptad.cli.machine import find_device
from promptad.errors import InputError
from promptad.utils.progress import add_task, progress_bar

SHOWN_TAGS = 3


def run_backbones(given: Arguments, console: Console) -> None:
    """List backbones; measure those that are asked for by a part of their names."""
    like = given["like"] or ""
    if given["measure"] and not like:
        raise InputError("`measure` builds each backbone: give a part of the names by `like`, such as B-16-SigLIP2")
    found = [entry for entry in entries(like) if like or entry.tags]
    if not found:
        raise InputError(f"`like` {like}: no backbone that can be read has this in its name; leave it out for all")
    seconds = _measured(found, given, console) if given["measure"] else {}
    console.print(_table(found, seconds))
    console.print(
        "Contexts are learned and memory banks filled with all of these; an ONNX file holds image encoders of up to"
        " 2 GB. Licences are those of the weights, as their model cards name them; read these before you use them.",
    )


def _measured(found: Sequence[Entry], given: Arguments, console: Console) -> dict[str, float]:
    device = find_device(given, console)
    with progress_bar(console) as bar:
        task = add_task(bar, "measuring", len(found))
        seconds = {}
        for entry in found:
            seconds[entry.name] = seconds_a_picture(entry.name, device)
            bar.advance(task)
    return seconds


def _table(found: Sequence[Entry], seconds: dict[str, float]) -> Table:
    table = Table(box=SIMPLE)
    for title in ("backbone", "weights", "licence"):
        table.add_column(title, overflow="fold")
    for title in ("size", "D", "million"):
        table.add_column(title, justify="right")
    for title in ("patches read by", "prompts", "tokenizer"):
        table.add_column(title)
    if seconds:
        table.add_column("s/picture", justify="right")
    for own in found:
        timed = [f"{seconds[own.name]:.3f}"] if seconds else []
        table.add_row(own.name, _tags(own.tags), ", ".join(own.licences), *_numbers(own), *_ways(own), *timed)
    return table


def _tags(tags: tuple[str, ...]) -> str:
    more = len(tags) - SHOWN_TAGS
    return (", ".join(tags[:SHOWN_TAGS]) + (f" and {more} more" if more > 0 else "")) or "a file of yours"


def _numbers(own: Entry) -> tuple[str, str, str]:
    return str(own.image_size), str(own.dimensions), f"{own.parameters:.0f}"


def _ways(own: Entry) -> tuple[str, str, str]:
    prompts = "shared beginnings" if own.shares_beginnings else "whole"
    return own.patch_reading, prompts, "needs [siglip]" if own.needs_transformers else "CLIP's"
