"""Where the detector is that a user names: looked for before anything that takes seconds is loaded."""

from pathlib import Path

from promptad.cli.parser import Arguments
from promptad.errors import InputError, no_checkpoint
from promptad.results.paths import OWN_CHECKPOINT
from promptad.runtime.engines import SUFFIXES


def check_detector(given: Arguments) -> None:
    """Check that the detector is there, if a command is given one.

    Raises:
        InputError: there is no such file or folder.
    """
    place = given.get("checkpoint") or given.get("detector")
    if place is None or place.suffix in SUFFIXES or place.exists():
        return
    if not find_checkpoint(place).exists():
        raise no_checkpoint(place)


def find_checkpoint(place: Path) -> Path:
    """Return the checkpoint that a user names: its file, the folder of results that holds it, or a part in result/.

    Raises:
        InputError: the folder holds none, or several.
    """
    if not place.exists() and (part := Path("result") / "_".join(str(place).split()) / OWN_CHECKPOINT).is_file():
        return part
    if not place.is_dir():
        return place
    if (place / OWN_CHECKPOINT).is_file():
        return place / OWN_CHECKPOINT
    found = sorted(place.glob("checkpoint/*.pt")) or sorted(place.glob("*.pt"))
    if len(found) != 1:
        several = ", ".join(map(str, found or sorted(file.parent for file in place.glob(f"*/{OWN_CHECKPOINT}"))))
        raise InputError(f"{place} holds {several or 'no checkpoint'}: name the file of one detector")
    return found[0]
