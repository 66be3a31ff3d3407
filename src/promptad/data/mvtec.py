"""MVTec AD's layout, and a plain folder of the user's own parts in a similar one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from promptad.data.reader import DatasetReader
from promptad.data.search import images_below, list_images, mask_files
from promptad.data.stray_masks import SortedImages, sort_out_masks
from promptad.errors import InputError
from promptad.structures import GOOD, ClassDataset, TestImage

GOOD_NAMES = (GOOD, "ok", "normal")  # of folders of normal images, in capitals or not


@dataclass(frozen=True)
class MVTecReader(DatasetReader):
    """A folder for each class: train/good/ or good/, and test/good/, test/<defect>/ and ground_truth/<defect>/.

    A folder that holds train/good/ or good/ itself is one class, under any name. Without ground_truth/ there are no
    masks, but those that lie beside their images; with it, every anomalous image has one: a file, 000_mask.png, or a
    folder 000/ with a mask for each defect. Layouts that differ in names alone are subclasses with other defaults.
    """

    name: str
    missing: str
    expected: Path = Path("<class>", "train", "good")
    has_own_folder: bool = True
    test: str = "test"  # folder of a class's test images
    ground_truth: str = "ground_truth"  # and of their masks
    mask: str = "{}_mask.png"  # of an image of that stem, where messages ask for it
    signs: tuple[str, ...] = ()  # folders of a class that MVTec AD has not

    def class_names(self, folder: Path) -> set[str]:
        """Return the names of the folders that hold normal images, or should."""
        if self.is_one_class(folder):
            return {folder.resolve().name}
        children = _visible_folders(folder)
        return {child.name for child in children if self.is_one_class(child) or (child / "train").is_dir()}

    def read_class(self, folder: Path, class_name: str) -> ClassDataset:
        """Return the images of a class, sorted."""
        class_folder = folder if self.is_one_class(folder) else folder / class_name
        place = normal_folder(class_folder)
        found = sort_out_masks(images_below(place) if place else ())
        if not found.images:
            wanted = place or class_folder / Path(*self.expected.parts[1:])
            raise InputError(f"no pictures in {wanted}: put normal pictures of {class_name} there")
        test, notes = self._read_test_split(class_folder)
        return ClassDataset(self.name, class_name, found.images, test, (*found.notes(), *notes))

    def looks_like(self, folder: Path) -> bool:
        """Whether a folder holds a class in this layout or, if the layout has signs, is one."""
        children = _visible_folders(folder)
        if self.signs:
            return any(self._has_sign(place) for place in (folder, *children))
        return any(normal_folder(child / "train") for child in children)

    def is_one_class(self, folder: Path) -> bool:
        """Whether the folder holds normal images itself, or has a sign of this layout."""
        return normal_folder(folder) is not None or self._has_sign(folder)

    def left_out(self, folder: Path) -> tuple[str, ...]:
        """Return the sub-folders of the user's own parts without good/: a misspelt name may be among them."""
        if self.has_own_folder or self.is_one_class(folder):
            return ()
        classes = self.class_names(folder)
        return tuple(child.name for child in _visible_folders(folder) if child.name not in classes)

    def _has_sign(self, class_folder: Path) -> bool:
        return any((class_folder / sign).is_dir() for sign in self.signs)

    def _read_test_split(self, class_folder: Path) -> tuple[tuple[TestImage, ...], tuple[str, ...]]:
        """The test images by defect and path, and notes on the folders that count as good; empty if there is none."""
        test_folder, truth = class_folder / self.test, class_folder / self.ground_truth
        if not test_folder.is_dir():
            return (), ()
        if loose := list_images(test_folder):
            cure = f"move it into {test_folder / 'good'} or {test_folder / '<defect>'}"
            raise InputError(f"{loose[0]} has no label: {cure}")
        images: list[TestImage] = []
        notes: list[str] = []
        for kind in (place for place in _visible_folders(test_folder) if place != truth):
            found = sort_out_masks(images_below(kind))
            notes += found.notes()
            if kind.name.lower() not in GOOD_NAMES:
                images += self._with_masks(found, kind, truth)
                continue
            images += [TestImage(path, GOOD, None) for path in found.images]
            if kind.name != GOOD:
                notes.append(f"{kind} counts as good")
        return tuple(sorted(images, key=lambda image: (image.defect, image.path.as_posix()))), tuple(notes)

    def _with_masks(self, found: SortedImages, kind: Path, truth: Path) -> Iterator[TestImage]:
        """The anomalous images of one kind; with a folder of the ground truth, each has its mask."""
        masks = found.masks | _masks(found.images, kind, truth / kind.name)
        for path in found.images:
            if path not in masks and truth.is_dir():
                wanted = truth / kind.name / self.mask.format(path.stem)
                raise InputError(f"no mask for {path}: put it at {wanted}")
            yield TestImage(path, kind.name, masks.get(path))


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


def _masks(images: Sequence[Path], kind: Path, folder: Path) -> dict[Path, Path]:
    """Each image's mask, or its folder of masks; a folder that holds masks of images below the kind is none."""
    files, masks = _mask_of_stem(folder), {}
    for image in images:
        stem = image.relative_to(kind).with_suffix("")
        if stem.as_posix() in files:
            masks[image] = files[stem.as_posix()]
        elif (folder / stem).is_dir() and not (kind / stem).is_dir():
            mask_files(folder / stem)  # refuses an empty folder before anything is trained
            masks[image] = folder / stem
    return masks


def _mask_of_stem(folder: Path) -> dict[str, Path]:
    """Each mask by its image's path without suffix. 003_mask sorts after 003, and so wins if both exist."""
    masks = images_below(folder) if folder.is_dir() else ()
    return {mask.relative_to(folder).with_suffix("").as_posix().removesuffix("_mask"): mask for mask in masks}
