"""The export formats by file suffix."""

from collections.abc import Callable
from pathlib import Path

from promptad.errors import InputError
from promptad.export.safetensors_file import write_safetensors
from promptad.models.base import AnomalyDetector

# To add an export format, add a line.
EXPORTERS: dict[str, Callable[[AnomalyDetector, Path], None]] = {".safetensors": write_safetensors}


def export(detector: AnomalyDetector, path: Path) -> None:
    """Write a detector in the format of the path's suffix.

    Raises:
        InputError: an unknown suffix, or the folder cannot be written to.
    """
    if path.suffix not in EXPORTERS:
        raise InputError(f"cannot export to {str(path)!r}: end its name in {' or '.join(EXPORTERS)}")
    EXPORTERS[path.suffix](detector, path)
