"""What the reader of a data set offers."""

from abc import ABC, abstractmethod
from pathlib import Path

from promptad.structures import ClassDataset


class DatasetReader(ABC):
    """Reads the classes of a data set in its own layout."""

    name: str
    missing: str  # what to say if there is no folder {0}, with the cure
    expected: Path  # what a class would be found by, below the data set's folder
    has_own_folder = True  # whether it is in a folder of its name below the data root

    @abstractmethod
    def class_names(self, folder: Path) -> set[str]:
        """Return the names of the classes in the data set's folder."""

    @abstractmethod
    def read_class(self, folder: Path, class_name: str) -> ClassDataset:
        """Return the images of one of these classes.

        Raises:
            InputError: no normal image, or an anomalous one without its mask.
        """

    @abstractmethod
    def looks_like(self, folder: Path) -> bool:
        """Whether a folder is this data set under another name."""

    def is_one_class(self, folder: Path) -> bool:  # noqa: ARG002 most readers know folders of classes only
        """Whether the data set's folder is a class itself, under whatever name."""
        return False

    def left_out(self, folder: Path) -> tuple[str, ...]:  # noqa: ARG002 most data sets come with folders of their own
        """Return the sub-folders that are no class, although a user may have meant them as such."""
        return ()
