"""What an export is asked for, and what it has made."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from promptad.data.images import ImageLike
from promptad.errors import InputError, check_choice, not_installed

FLOAT32, FLOAT16, INT8 = "float32", "float16", "int8"
Model: TypeAlias = Any  # an onnx.ModelProto; the package may not be installed
PRECISIONS = (FLOAT32, FLOAT16, INT8)
STAGES = ("image encoder", "8-bit integers", "calibration", "head", "file")  # of an export of graphs


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How a detector is exported; graphs read them, other formats have no use for them."""

    precision: str = FLOAT32  # of the image encoder: float16 halves the file, int8 makes it faster, too
    tower: Path | None = None  # the file of an image encoder that several detectors share; None puts it into each file
    support: Sequence[ImageLike] = ()  # the support images, on whose views int8 is calibrated
    begins: Callable[[str], None] = lambda _: None  # called with each of the `STAGES` that there is, as it begins

    def __post_init__(self) -> None:
        check_choice("precision", self.precision, PRECISIONS)
        if self.precision == INT8 and len(self.support) == 0:
            raise InputError(
                "`precision` int8 is calibrated on the pictures that the detector learned from: give them by `good`"
            )


@dataclass(frozen=True)
class PrecisionChange:
    """How scores of the support images' views, and of such views with a disturbance, differ from those in float32."""

    views: int
    decisions: int | None  # that differ; None without decisions
    rank_correlation: float  # Spearman's, of raw scores
    score: float  # the largest difference of a score in [0, 1]

    def in_words(self) -> str:
        """Return a line for the user."""
        differ = "decision differs" if self.decisions == 1 else "decisions differ"
        decided = "" if self.decisions is None else f", {self.decisions} {differ}"
        return (
            f"int8 against float32 on {self.views} views of the support images, disturbed ones among them: rank"
            f" correlation {self.rank_correlation:.4f}, largest difference of a score {self.score:.3f}{decided}"
        )


@dataclass(frozen=True)
class Exported:
    """The files that an export has written, and what lower precision has changed."""

    files: tuple[Path, ...]
    change: PrecisionChange | None = None  # with int8; else nothing was measured


def package(name: str, install: str = "onnx onnxscript onnxruntime") -> Any:
    """Import a package, or a part of one; `install` are those that are to be installed where it is missing.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise not_installed(name.partition(".")[0], install) from error
