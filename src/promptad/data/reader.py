"""The interface of a data set reader."""

from abc import ABC, abstractmethod
from pathlib import Path

from promptad.structures import ClassDataset


class DatasetReader(ABC):
    """Reads the classes of a data set in its own layout."""

    name: str
    missing: str  # error message, with the cure, for a missing folder {0}
    expected: Path  # path below the data set's folder that identifies a class
    has_own_folder = True  # whether it is in a folder of its own name below the data root

    @abstractmethod
    def class_names(self, folder: Path) -> set[str]:
        """Return the names of the classes in the data set's folder."""

    @abstractmethod
    def read_class(self, folder: Path, class_name: str) -> ClassDataset:
        """Return the images of `class_name`, one of the classes in the data set's `folder`.

        Raises:
            InputError: no normal image, or an anomalous one without its mask.
        """

    @abstractmethod
    def looks_like(self, folder: Path) -> bool:
        """Whether a folder is this data set under another name."""

    def is_one_class(self, folder: Path) -> bool:  # noqa: ARG002 most readers know folders of classes only
        """Whether the data set's folder is a class itself, under any name."""
        return False

    def left_out(self, folder: Path) -> tuple[str, ...]:  # noqa: ARG002 most data sets come with folders of their own
        """Return the sub-folders that are not classes, although a user may have meant them to be."""
        return ()
