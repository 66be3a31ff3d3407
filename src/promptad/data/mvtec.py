"""MVTec AD's layout, and a plain folder of the user's own parts in a similar one."""

from dataclasses import dataclass
from pathlib import Path

from promptad.data.images import list_images
from promptad.data.reader import DatasetReader
from promptad.errors import InputError
from promptad.structures import ClassDataset, TestImage


@dataclass(frozen=True)
class MVTecReader(DatasetReader):
    """A folder for each class: train/good/, test/good/, test/<defect>/ and ground_truth/<defect>/."""

    name: str
    missing: str
    normal: Path = Path("train", "good")  # where the normal images of a class are

    @property
    def expected(self) -> Path:  # type: ignore[override]
        """The path below the data set's folder that identifies a class."""
        return Path("<class>") / self.normal

    def class_names(self, folder: Path) -> set[str]:
        """Return the names of the folders that hold the first part of `normal`."""
        first = self.normal.parts[0]
        return {child.name for child in folder.iterdir() if not child.name.startswith(".") and (child / first).is_dir()}

    def read_class(self, folder: Path, class_name: str) -> ClassDataset:
        """Return the images of a class, sorted."""
        class_folder = self.class_folder(folder, class_name)
        normal_folder = class_folder / self.normal
        normal = list_images(normal_folder) if normal_folder.is_dir() else ()
        if not normal:
            raise InputError(f"no pictures in {normal_folder}: put normal pictures of {class_name} there")
        return ClassDataset(
            self.name, class_name, normal, _read_test_split(class_folder, self.needs_masks(class_folder))
        )

    def class_folder(self, folder: Path, class_name: str) -> Path:
        """Return the folder of a class."""
        return folder / class_name

    def needs_masks(self, class_folder: Path) -> bool:  # noqa: ARG002 the plain folder decides by its own
        """Whether each anomalous image must have its mask."""
        return True

    def looks_like(self, folder: Path) -> bool:
        """Whether a folder holds a class in this layout."""
        return any((child / self.normal).is_dir() for child in folder.iterdir())


@dataclass(frozen=True)
class PartsReader(MVTecReader):
    """The user's own parts: good/ instead of train/good/, and masks only if there is a ground_truth/.

    A folder that holds good/ itself is one class, under any name.
    """

    normal: Path = Path("good")
    has_own_folder = False

    def class_names(self, folder: Path) -> set[str]:
        """Return the names of the parts."""
        return {folder.resolve().name} if self.is_one_class(folder) else super().class_names(folder)

    def class_folder(self, folder: Path, class_name: str) -> Path:
        """Return the folder of a part."""
        return folder if self.is_one_class(folder) else folder / class_name

    def needs_masks(self, class_folder: Path) -> bool:
        """Whether there are masks at all."""
        return (class_folder / "ground_truth").is_dir()

    def is_one_class(self, folder: Path) -> bool:
        """Whether the folder holds good/."""
        return (folder / self.normal).is_dir()

    def left_out(self, folder: Path) -> tuple[str, ...]:
        """Return the sub-folders without good/: a misspelt name may be among them."""
        if self.is_one_class(folder):
            return ()
        children = {child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")}
        return tuple(sorted(children - self.class_names(folder)))


def _read_test_split(class_folder: Path, needs_masks: bool) -> tuple[TestImage, ...]:
    """test/<defect>/ by defect and file name; empty if there is no test folder."""
    test_folder = class_folder / "test"
    if not test_folder.is_dir():
        return ()
    if loose := list_images(test_folder):
        raise InputError(f"{loose[0]} has no label: move it into {test_folder / 'good'} or {test_folder / '<defect>'}")
    images: list[TestImage] = []
    for defect_folder in sorted(filter(Path.is_dir, test_folder.iterdir()), key=lambda path: path.name):
        defect = defect_folder.name
        if defect.startswith("."):
            continue
        if defect != "good" and defect.lower() == "good":
            raise InputError(f"{defect_folder} would count as a defect: rename it to good")
        paths = list_images(defect_folder)
        if defect == "good":
            images += [TestImage(path, defect, None) for path in paths]
        else:
            masks = _masks_by_stem(class_folder / "ground_truth" / defect)
            images += [_defective(path, defect, masks.get(path.stem), class_folder, needs_masks) for path in paths]
    return tuple(images)


def _masks_by_stem(folder: Path) -> dict[str, Path]:
    """Each mask by its image's stem. 003_mask sorts after 003, and so wins if both exist."""
    masks = list_images(folder) if folder.is_dir() else ()
    return {mask.stem.removesuffix("_mask"): mask for mask in masks}


def _defective(path: Path, defect: str, mask: Path | None, class_folder: Path, needs_mask: bool) -> TestImage:
    if mask is None and needs_mask:
        wanted = class_folder / "ground_truth" / defect / f"{path.stem}_mask.png"
        raise InputError(f"no mask for {path}: put it at {wanted}")
    return TestImage(path, defect, mask)
