"""The command threshold: a detector's threshold, shown or set."""

from rich.console import Console
from rich.table import Table

from promptad.cli.detectors import load_decided, save_again
from promptad.cli.given import Arguments
from promptad.cli.machine import find_device
from promptad.cli.places import find_checkpoint
from promptad.errors import InputError
from promptad.runtime.engines import SUFFIXES as GRAPH_SUFFIXES


def run_threshold(given: Arguments, console: Console) -> None:
    """Show the threshold of a detector, and set it if that is asked for."""
    path = find_checkpoint(given["checkpoint"])
    if path.suffix in GRAPH_SUFFIXES:
        raise InputError(f"{path} decides as it was exported: set the threshold of its checkpoint, and export it again")
    detector = load_decided(path, find_device(given, console), given)
    known = detector.metadata
    if any(given[name] is not None for name in ("false_alarm_rate", "threshold", "unsure")):
        save_again(detector, path)
        console.print(f"written: {path}", soft_wrap=True)
    console.print(f"{known.class_name}: a picture is rejected above a raw score of {known.threshold:.4g}")
    for finding in detector.findings()[-1:]:
        console.print(finding, soft_wrap=True)
    if (unsure := known.settings.scoring.unsure_rate) is not None:
        console.print(
            f"unsure above {known.unsure_threshold:.4g}: the threshold for {100 * unsure:g} %", soft_wrap=True
        )
    table = Table("false alarms asked for", "threshold")
    for rate, level in known.by_rate:
        table.add_row(f"{100 * rate:g} %", f"{level:.4g}")
    console.print(table)
