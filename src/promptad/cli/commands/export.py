"""The command export: a detector as a file that runs without torch."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from promptad.cli.detectors import load_decided
from promptad.cli.given import Arguments
from promptad.cli.machine import find_device
from promptad.cli.places import find_checkpoint
from promptad.data.search import find_images
from promptad.errors import InputError, check_choice
from promptad.export.base import STAGES, ExportOptions
from promptad.export.formats import SUFFIXES
from promptad.export.registry import export
from promptad.models.base import AnomalyDetector
from promptad.models.registry import load_detector
from promptad.runtime.engines import SUFFIXES as GRAPH_SUFFIXES
from promptad.settings import MULTI_PROTOTYPE
from promptad.utils.progress import add_task, progress_bar


def run_export(given: Arguments, console: Console) -> None:
    """Export a detector."""
    path = find_checkpoint(given["checkpoint"])
    if path.suffix in GRAPH_SUFFIXES:
        raise InputError(f"{path} is exported already: name the checkpoint that it was exported from")
    output = export_path(path, given)
    detector = load_for_export(path, given, console)
    support = find_support(detector, given["good"] or ())
    with progress_bar(console) as progress:
        bar = add_task(progress, "export", len(STAGES))
        options = ExportOptions(
            precision=given["precision"],
            tower=given["tower"],
            support=support,
            begins=lambda stage: progress.update(bar, completed=STAGES.index(stage), note=stage),
        )
        made = export(detector, output, options)
    for file in made.files:
        console.print(f"written: {file}, {size_in_words(file.stat().st_size)}", soft_wrap=True)
    if made.change is not None:
        console.print(made.change.in_words(), soft_wrap=True)
    if output.suffix in GRAPH_SUFFIXES and detector.metadata.threshold is not None:
        tower = given["tower"]
        apart = tower is not None and tower.parent.resolve() != output.parent.resolve()
        words = [str(output), "PICTURES", *(["--tower", str(tower)] if apart else [])]
        line = f"judge pictures without torch: python -m promptad.runtime predict {shlex.join(words)}"
        console.print(line, soft_wrap=True)


def export_path(checkpoint: Path, given: Arguments) -> Path:
    """Return the file to export to: the one that is asked for, or one beside the checkpoint.

    Raises:
        InputError: an unknown format, or one that does not agree with the file's name.
    """
    output, to = given["output"], given["to"]
    check_choice("to", to or "onnx", SUFFIXES)
    if output is None:
        return checkpoint.with_suffix(SUFFIXES[to or "onnx"])
    if to is not None and output.suffix != SUFFIXES[to]:
        raise InputError(f"`output` {output}: end its name in {SUFFIXES[to]}, for {to}")
    return Path(output)


def load_for_export(path: Path, given: Arguments, console: Console) -> AnomalyDetector:
    """Load the detector of a checkpoint, with its thresholds if its method has any."""
    device, weights = find_device(given, console), given["pretrained_dataset"]
    if given["system"] == MULTI_PROTOTYPE:
        return load_decided(path, device, given)
    return load_detector(path, device, given["system"], weights=weights)  # which has no memory backbone


def find_support(detector: AnomalyDetector, named: Sequence[str]) -> tuple[Path, ...]:
    """Return, of the images that are named, those that a detector learned from, in its order, if it knows their names.

    Raises:
        InputError: there are none.
    """
    if not named:
        return ()
    found = find_images(list(named)).images
    by_name = {image.name: image for image in found}
    learned = detector.subject.support_images
    if missing := [name for name in learned if Path(name).name not in by_name]:
        raise InputError(f"`good`: {missing[0]}, which {detector.class_name!r} learned from, is not among them")
    return tuple(by_name[Path(name).name] for name in learned) or found


def size_in_words(count: int) -> str:
    """Return bytes in words.

    >>> size_in_words(30_500), size_in_words(469_222_752)
    ('30 kB', '469.2 MB')
    """
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
