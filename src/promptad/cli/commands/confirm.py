"""The command confirm: people's verdicts on pictures, taught to a detector, listed and undone."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from promptad.cli.detectors import save_again
from promptad.cli.given import Arguments
from promptad.cli.machine import check_batch_size, find_device
from promptad.cli.places import find_checkpoint
from promptad.data.fingerprints import file_sha256
from promptad.data.search import find_images
from promptad.errors import InputError
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.multi_prototype.teaching import confirm, count_right, new_verdicts, undo
from promptad.models.multi_prototype.verdicts import SHORT
from promptad.models.registry import load_with_thresholds
from promptad.runtime.asked_region import in_region
from promptad.runtime.engines import SUFFIXES as GRAPH_SUFFIXES
from promptad.runtime.predictions import read_predictions
from promptad.runtime.verdicts_file import GivenVerdicts, read_verdicts
from promptad.utils.progress import add_task, progress_bar

NONE = GivenVerdicts((), ())


def run_confirm(given: Arguments, console: Console) -> None:
    """Teach a detector verdicts, or take some back; show what that changes, and all verdicts if they are asked for."""
    path = find_checkpoint(given["checkpoint"])
    if path.suffix in GRAPH_SUFFIXES:
        raise InputError(f"{path} decides as it was exported: confirm its checkpoint, and export it again")
    check_batch_size(given)
    found = _gather(path, given, console)
    if found == NONE and given["undo"] is None and not given["list"]:
        raise InputError("there is nothing to confirm: give `good`, `defect`, `predictions` or `verdicts`")
    places = {"weights": given["pretrained_dataset"], "memory_weights": given["memory_pretrained"]}
    before = load_with_thresholds(path, find_device(given, console), **places)
    after = before if given["undo"] is None else undo(before, given["undo"])
    if found != NONE:
        after = _taught(after, found, given, console)
    if after is not before:
        save_again(after, path)
        console.print(f"written: {path}", soft_wrap=True)
        _print_change(before, after, console)
    if given["list"]:
        print_verdicts(after, console)


def _gather(path: Path, given: Arguments, console: Console) -> GivenVerdicts:
    """Return the pictures of all verdicts that are given.

    Raises:
        InputError: pictures, lines or a file are not there, or do not fit together.
    """
    good, defect = (find_images(given[name]).images if given[name] else () for name in ("good", "defect"))
    lines = _of_lines(given)
    saved = NONE
    if given["verdicts"] is not None:
        saved = read_verdicts(given["verdicts"])
        if saved.detector_sha256 not in ("", file_sha256(path)):
            line = f"{path} has changed since these verdicts were given, or they are of another detector"
            console.print(line, soft_wrap=True)
    return GivenVerdicts(
        tuple(dict.fromkeys((*good, *lines.good, *saved.good))),
        tuple(dict.fromkeys((*defect, *lines.defect, *saved.defect))),
    )


def _of_lines(given: Arguments) -> GivenVerdicts:
    """Return the pictures of the lines of predictions that are called good and defective."""
    good, defect = given["good_lines"] or (), given["defect_lines"] or ()
    if given["predictions"] is None:
        if good or defect:
            raise InputError("`good_lines` and `defect_lines` are of `predictions`: name the folder, too")
        return NONE
    if not good and not defect:
        raise InputError("`predictions` alone says nothing: name lines by `good_lines` and `defect_lines`")
    run, records = read_predictions(given["predictions"])
    for name, lines in (("good_lines", good), ("defect_lines", defect)):
        if outside := [line for line in lines if not 1 <= line <= len(records)]:
            raise InputError(f"`{name}` {outside[0]}: `predictions` has lines 1 to {len(records)}")

    def places(lines: Sequence[int]) -> tuple[Path, ...]:
        return tuple(Path(run.folder, records[line - 1].place) for line in lines)

    return GivenVerdicts(places(good), places(defect))


def _taught(
    detector: MultiPrototypeDetector, found: GivenVerdicts, given: Arguments, console: Console
) -> MultiPrototypeDetector:
    _, masks = in_region(detector, () if given["region"] is None else (given["region"],), ())
    new = new_verdicts(detector, found.good, found.defect)
    for verdict in new.repeated:
        console.print(f"known already: {verdict.called} is {verdict.label}", soft_wrap=True)
    with progress_bar(console) as progress:
        bar = add_task(progress, "learn", len(new.images))
        return confirm(detector, new, given["batch_size"], lambda count: progress.advance(bar, count), masks)


def _print_change(before: MultiPrototypeDetector, after: MultiPrototypeDetector, console: Console) -> None:
    console.print(f"threshold, a raw score: {_threshold(before)}, now {_threshold(after)}")
    if (taught := after.taught) is None:
        console.print("no verdict is left: it decides as it was trained")
        return
    good = int(taught.is_good.sum())
    counts, right = (good, len(taught.verdicts) - good), (count_right(before, taught), count_right(after, taught))
    for words, count, earlier, now in zip(("good, passed", "defective, rejected"), counts, *right, strict=True):
        if count:
            console.print(f"verdicts {words}: {earlier} of {count}, now {now}")


def _threshold(detector: MultiPrototypeDetector) -> str:
    return f"{float(detector.thresholds.image):.4g}"


def print_verdicts(detector: MultiPrototypeDetector, console: Console) -> None:
    """Print all verdicts that a detector was taught, in their order."""
    if detector.taught is None:
        console.print("the detector was taught no verdict")
        return
    table = Table("picture", "verdict", "when", "SHA-256")
    for verdict in detector.taught.verdicts:
        table.add_row(verdict.name, verdict.label, verdict.time, verdict.sha256[:SHORT])
    console.print(table)
