"""The command backbones: which can be read, and what works with each."""

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from promptad.backbones.catalogue import Entry, MemoryEntry, entries, memory_entries, seconds_a_picture
from promptad.cli.given import Arguments
from promptad.cli.machine import find_device
from promptad.errors import InputError
from promptad.utils.progress import add_task, progress_bar

SHOWN_TAGS = 2
NOTES = (
    "Contexts are learned with all of these, memory banks are made of their own layers, and an ONNX file holds an image"
    " encoder of up to 2 GB. Weights are a tag, or a file or folder as the hub has it.",
    "Licences are of the weights, as their model cards name them: read these before you use them.",
)


def run_backbones(given: Arguments, console: Console) -> None:
    """List backbones; measure those that are asked for by a part of their names."""
    like = given["like"] or ""
    if given["measure"] and not like:
        raise InputError("`measure` builds each backbone: give a part of the names by `like`, such as B-16-SigLIP2")
    found, memory = [entry for entry in entries(like) if like or entry.tags], memory_entries(like)
    if not found and not memory:
        raise InputError(f"`like` {like}: no backbone that can be read has this in its name; leave it out for all")
    names = [*(entry.name for entry in found), *(entry.name for entry in memory)]
    seconds = _measured(names, given, console) if given["measure"] else {}
    for words, alike in _groups(found).items():
        _show(words, [(own, _weights(own)) for own in alike], seconds, console)
    if memory:
        words = "for a memory bank alone, by `memory_backbone`, with pictures of 448 x 448 pixels; it knows no words"
        _show(words, [(own, f"hub ({own.licence})") for own in memory], seconds, console)
    for note in NOTES:
        console.print(note, soft_wrap=True)


def _measured(names: Sequence[str], given: Arguments, console: Console) -> dict[str, float]:
    device = find_device(given, console)
    with progress_bar(console) as bar:
        task = add_task(bar, "measuring", len(names))
        seconds = {}
        for name in names:
            seconds[name] = seconds_a_picture(name, device)
            bar.advance(task)
    return seconds


def _groups(found: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Return backbones by what they have in common, in words."""
    groups: dict[str, list[Entry]] = {}
    for own in found:
        prompts = "prompts share beginnings" if own.shares_beginnings else "each prompt is encoded whole"
        tokens = "; learning needs the extra siglip" if own.needs_transformers else ""
        groups.setdefault(f"patches read by {own.patch_reading}; {prompts}{tokens}", []).append(own)
    return groups


def _show(
    words: str, rows: Sequence[tuple[Entry | MemoryEntry, str]], seconds: Mapping[str, float], console: Console
) -> None:
    """Print a table that fits into 80 columns, in which only weights are folded."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("backbone", no_wrap=True)
    for title in ("pixels", "D", "million"):
        table.add_column(title, justify="right", no_wrap=True)
    if seconds:
        table.add_column("s/picture", justify="right", no_wrap=True)
    table.add_column("weights", overflow="fold")
    for own, weights in rows:
        timed = [f"{seconds[own.name]:.3f}"] if seconds else []
        table.add_row(own.name, str(own.image_size), str(own.dimensions), f"{own.parameters:.0f}", *timed, weights)
    console.print(words, style="bold", soft_wrap=True)
    console.print(table)
    console.print()


def _weights(own: Entry) -> str:
    """Return the first tags, the number of others, and the licences of all."""
    if not own.tags:
        return "a file of yours"
    more = len(own.tags) - SHOWN_TAGS
    return f"{', '.join(own.tags[:SHOWN_TAGS])}{f' and {more} more' if more > 0 else ''} ({', '.join(own.licences)})"
