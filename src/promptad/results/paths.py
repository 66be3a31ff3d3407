"""Where results are stored."""

import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from promptad.errors import InputError
from promptad.settings import MULTI_PROTOTYPE, TrainingSettings
from promptad.utils.file_names import ALLOWED, is_file_name
from promptad.utils.files import writable_folder

OWN_CHECKPOINT = "detector.pt"
DEFAULT_SEED = TrainingSettings().seed  # its diagnostics and drawings have the plain name of the class


def check_plain_name(setting: str, name: str) -> None:
    """Check that a class may name files, on any system.

    Raises:
        InputError: it is empty, a path, or no name of a file on every system.
    """
    if not is_file_name(name):
        raise InputError(f"`{setting}` {name!r}: give a plain name, such as carpet, {ALLOWED}; files are called by it")


def _check_stays(class_name: str) -> None:
    """Check that no file of a class that results name leaves its folder; earlier versions took names with a colon.

    Raises:
        InputError: it is empty, or a path.
    """
    if not class_name.strip() or class_name in (".", "..") or not set(class_name).isdisjoint("\0/\\"):
        raise InputError(f"`class_name` {class_name!r}: give a plain name, such as carpet; files are called by it")


@dataclass(frozen=True)
class ResultFolder:
    """The result folder of one data set, k and seed.

    One table holds the results of all methods and levels; each has its own files otherwise.
    """

    root: Path
    dataset: str
    k: int
    seed: int
    system: str = MULTI_PROTOTYPE
    level: str = "image"

    @property
    def folder(self) -> Path:
        """The folder of this data set and k."""
        return self.root / self.dataset / f"k_{self.k}"

    @property
    def csv(self) -> Path:
        """The table of results, a row a class."""
        return self.folder / "csv" / f"Seed_{self.seed}-results.csv"

    @property
    def disturbances(self) -> Path:
        """The table of results on disturbed pictures, several rows a class."""
        return self.csv.with_name(self.csv.name.replace("results", "disturbances"))

    def disturbances_figure(self, class_name: str) -> Path:
        """The same of a class, drawn."""
        return self._of_system("disturbances") / f"{self._of_level(class_name)}.png"

    def checkpoint(self, class_name: str) -> Path:
        """The detector of a class."""
        _check_stays(class_name or "any")
        return self._of_system("checkpoint") / f"{self._kind}-Seed_{self.seed}-{class_name}-check_point.pt"

    def scores(self, class_name: str) -> Path:
        """The scores of the test images of a class."""
        return self._of_system("scores") / f"{self._kind}-Seed_{self.seed}-{class_name}-scores.json"

    def diagnostics(self, class_name: str, suffix: str = "json") -> Path:
        """The diagnostics of a class, as JSON or drawn (`suffix` "png")."""
        return self.folder / "diagnostics" / f"{self._of_level(class_name)}_k{self.k}_diagnostics.{suffix}"

    def images(self, class_name: str) -> Path:
        """The folder of a class's drawn predictions."""
        _check_stays(class_name)
        return self._of_system("imgs") / self._of_level(class_name)

    @property
    def _kind(self) -> str:
        return "SEG" if self.level == "pixel" else "CLS"

    def _of_system(self, name: str) -> Path:
        return self.folder / name if self.system == MULTI_PROTOTYPE else self.folder / name / self.system

    def _of_level(self, class_name: str) -> str:
        named = f"SEG-{class_name}" if self.level == "pixel" else class_name
        return named if self.seed == DEFAULT_SEED else f"{named}-Seed_{self.seed}"

    def check_writable(self) -> None:
        """Check before any work that results can be written; no folder is left behind.

        Raises:
            InputError: they cannot.
        """
        for folder in (self.csv.parent, self.checkpoint("").parent, self.diagnostics("").parent):
            missing = [own for own in (folder, *folder.parents) if not own.exists()]
            with writable_folder(folder), tempfile.TemporaryFile(dir=folder):
                pass
            for own in missing:
                with suppress(OSError):  # another process may use it by now
                    own.rmdir()


@dataclass(frozen=True)
class PartFolder(ResultFolder):
    """The result folder of a user's own part: `root` is the part's folder, and is used for this part only."""

    @property
    def folder(self) -> Path:
        """The part's folder."""
        return self.root

    @property
    def csv(self) -> Path:
        """The table of results, which does not exist for a part without a test split."""
        return self.folder / "results.csv"

    def checkpoint(self, class_name: str) -> Path:  # noqa: ARG002 the folder is of one class
        """The detector."""
        return self.folder / OWN_CHECKPOINT

    def diagnostics(self, class_name: str, suffix: str = "json") -> Path:  # noqa: ARG002 the folder is of one class
        """The diagnostics, as JSON or drawn (`suffix` "png")."""
        return self.folder / f"diagnostics.{suffix}"
