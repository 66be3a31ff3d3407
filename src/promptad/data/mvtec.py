"""MVTec AD's layout, and a plain folder of the user's own parts in a similar one."""

from dataclasses import dataclass
from pathlib import Path

from promptad.data.reader import DatasetReader
from promptad.data.search import images_below, list_images
from promptad.data.stray_masks import sort_out_masks
from promptad.errors import InputError
from promptad.structures import GOOD, ClassDataset, TestImage

GOOD_NAMES = (GOOD, "ok", "normal")  # of folders of normal images, in capitals or not


@dataclass(frozen=True)
class MVTecReader(DatasetReader):
    """A folder for each class: train/good/ or good/, and test/good/, test/<defect>/ and ground_truth/<defect>/.

    A folder that holds train/good/ or good/ itself is one class, under any name. Without ground_truth/ there are no
    masks, but those that lie beside their images; with it, every anomalous image has one.
    """

    name: str
    missing: str
    expected: Path = Path("<class>", "train", "good")
    has_own_folder: bool = True

    def class_names(self, folder: Path) -> set[str]:
        """Return the names of the folders that hold normal images."""
        if self.is_one_class(folder):
            return {folder.resolve().name}
        children = _visible_folders(folder)
        return {child.name for child in children if normal_folder(child) or (child / "train").is_dir()}

    def read_class(self, folder: Path, class_name: str) -> ClassDataset:
        """Return the images of a class, sorted."""
        class_folder = folder if self.is_one_class(folder) else folder / class_name
        place = normal_folder(class_folder)
        found = sort_out_masks(images_below(place) if place else ())
        if not found.images:
            wanted = place or class_folder / Path(*self.expected.parts[1:])
            raise InputError(f"no pictures in {wanted}: put normal pictures of {class_name} there")
        test, notes = _read_test_split(class_folder)
        return ClassDataset(self.name, class_name, found.images, test, (*found.notes(), *notes))

    def looks_like(self, folder: Path) -> bool:
        """Whether a folder holds a class in this layout."""
        return any(normal_folder(child / "train") for child in folder.iterdir() if child.is_dir())

    def is_one_class(self, folder: Path) -> bool:
        """Whether the folder holds normal images itself."""
        return normal_folder(folder) is not None

    def left_out(self, folder: Path) -> tuple[str, ...]:
        """Return the sub-folders of the user's own parts without good/: a misspelt name may be among them."""
        if self.has_own_folder or self.is_one_class(folder):
            return ()
        classes = self.class_names(folder)
        return tuple(child.name for child in _visible_folders(folder) if child.name not in classes)


def normal_folder(class_folder: Path) -> Path | None:
    """Return the folder of a class's normal images, train/good/ or good/ under one of its names, if there is one."""
    for place in (class_folder / "train", class_folder):
        named = {child.name.lower(): child for child in _visible_folders(place)}
        for name in GOOD_NAMES:
            if name in named:
                return named[name]
    return None


def _visible_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _read_test_split(class_folder: Path) -> tuple[tuple[TestImage, ...], tuple[str, ...]]:
    """test/<defect>/ by defect and path, and notes on the folders that count as good; empty if there is no test/."""
    test_folder, truth = class_folder / "test", class_folder / "ground_truth"
    if not test_folder.is_dir():
        return (), ()
    if loose := list_images(test_folder):
        raise InputError(f"{loose[0]} has no label: move it into {test_folder / 'good'} or {test_folder / '<defect>'}")
    images: list[TestImage] = []
    notes = []
    for kind in _visible_folders(test_folder):
        found = sort_out_masks(images_below(kind))
        notes += found.notes()
        if kind.name.lower() in GOOD_NAMES:
            images += [TestImage(path, GOOD, None) for path in found.images]
            if kind.name != GOOD:
                notes.append(f"{kind} counts as good")
            continue
        masks = _masks(truth / kind.name)
        for path in found.images:
            mask = masks.get(path.relative_to(kind).with_suffix("").as_posix(), found.masks.get(path))
            if mask is None and truth.is_dir():
                wanted = truth / kind.name / f"{path.stem}_mask.png"
                raise InputError(f"no mask for {path}: put it at {wanted}")
            images.append(TestImage(path, kind.name, mask))
    return tuple(sorted(images, key=lambda image: (image.defect, image.path.as_posix()))), tuple(notes)


def _masks(folder: Path) -> dict[str, Path]:
    """Each mask by its image's path without suffix. 003_mask sorts after 003, and so wins if both exist."""
    masks = images_below(folder) if folder.is_dir() else ()
    return {mask.relative_to(folder).with_suffix("").as_posix().removesuffix("_mask"): mask for mask in masks}
