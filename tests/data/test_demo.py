"""The drawn demo: its layout on disk, its masks, its seeds, and what happens when drawing is cut short."""

import shutil
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from promptad.data.demo import (
    DEFECT_FOLDERS,
    DEMO_CLASSES,
    DIFFICULTIES,
    HELD_OUT_CLASSES,
    IMAGE_SIDE,
    LINES,
    TRAINING_SEEDS_FROM,
    draw_image,
    draw_twins,
    instance_seed,
    make_demo_class,
    scene,
    style_seed,
    write_sheet,
    writer,
)
from promptad.data.demo.defects import DEFECTS
from promptad.errors import InputError

CLASS, CLASS_NUMBER = "carpet", 3
MVTEC_CLASSES = (
    "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile toothbrush transistor wood zipper"
)


@pytest.fixture(scope="module")
def carpet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_class(tmp_path_factory.mktemp("demo"), CLASS)


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only how and when files are written matters: draw tiny images."""
    for name in ("TRAIN_IMAGES", "GOOD_TEST_IMAGES", "IMAGES_A_DEFECT"):
        monkeypatch.setattr(writer, name, 1)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def numbered(images: int, ending: str = "") -> list[str]:
    return [f"{number:03}{ending}.png" for number in range(images)]


def test_layout_is_that_of_mvtec_ad(carpet: Path) -> None:
    defects = ["color", "cut", "hole", "metal_contamination", "thread"]
    assert names(carpet.parent) == [CLASS]  # nothing unfinished is left beside it
    assert names(carpet) == ["ground_truth", "readme.txt", "test", "train"]
    assert names(carpet / "train") == ["good"]
    assert names(carpet / "train/good") == numbered(20)
    assert names(carpet / "test") == sorted([*defects, "good"])
    assert names(carpet / "test/good") == numbered(20)
    assert names(carpet / "ground_truth") == defects
    for defect in defects:
        assert names(carpet / "test" / defect) == numbered(8)
        assert names(carpet / "ground_truth" / defect) == numbered(8, "_mask")


def test_files_hold_rgb_images_and_black_and_white_masks(carpet: Path) -> None:
    image, _ = draw_image(
        CLASS, style_seed=style_seed(0, CLASS_NUMBER), instance_seed=instance_seed(0, CLASS_NUMBER, 0)
    )
    assert np.array_equal(np.asarray(Image.open(carpet / "train/good/000.png")), image)
    for path in sorted((carpet / "ground_truth").rglob("*.png")):
        mask = np.asarray(Image.open(path))
        assert mask.shape == (IMAGE_SIDE, IMAGE_SIDE)
        assert set(np.unique(mask)) == {0, 255}
        assert (mask > 0).sum() >= 20


def test_a_contact_sheet_has_a_row_a_class_with_the_images_of_its_folders(carpet: Path, tmp_path: Path) -> None:
    file = tmp_path / "sheet.png"
    done: list[str] = []
    write_sheet(file, ["screw", CLASS], 0, "normal", done.append)
    sheet = np.asarray(Image.open(file))
    assert done == ["screw", CLASS]
    side = sheet.shape[0] // 2
    first = cv2.resize(np.asarray(Image.open(carpet / "train/good/000.png")), (128, 128), interpolation=cv2.INTER_AREA)
    assert np.array_equal(sheet[side + 16 : side + 144, 92 : 92 + 128], first)
    assert (sheet[:side, -128:] == 255).all()  # the screw has one kind less than the carpet


def test_a_contact_sheet_is_an_image_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`sheet` .*sheet\.txt: end its name in \.png or \.jpg"):
        write_sheet(tmp_path / "sheet.txt", [CLASS], 0, "normal")
    assert not list(tmp_path.iterdir())


def test_the_tiny_clip_was_not_trained_on_a_line_of_the_demo() -> None:
    tiny_images = import_module("tiny_images")  # in tools/
    for trio, attempt in ((0, 0), (35_999, tiny_images.TRIES)):
        assert min(tiny_images.seeds_of(trio, attempt)) >= TRAINING_SEEDS_FROM
    largest = style_seed(LINES - 1, 39), instance_seed(LINES - 1, 39, 99, 9)
    assert max(largest) < TRAINING_SEEDS_FROM


def test_the_catalogue_is_mvtec_ads_fifteen_with_every_trained_kind_of_defect() -> None:
    assert " ".join(DEMO_CLASSES) == MVTEC_CLASSES
    assert all(3 <= len(folders) <= 6 for folders in DEFECT_FOLDERS.values())
    assert {kind for name in DEMO_CLASSES for kind in DEFECT_FOLDERS[name].values()} == DEFECTS.keys() - {"burn"}
    assert any("burn" in DEFECT_FOLDERS[name].values() for name in HELD_OUT_CLASSES)


@pytest.mark.parametrize("class_name", DEFECT_FOLDERS)
def test_masks_mark_where_a_defective_part_differs_from_its_good_twin(class_name: str) -> None:
    for number, kind in enumerate(DEFECT_FOLDERS[class_name].values()):
        good, defective, mask = draw_twins(class_name, style_seed=20, instance_seed=number, defect=kind)
        assert good.shape == defective.shape == (IMAGE_SIDE, IMAGE_SIDE, 3)
        assert good.dtype == defective.dtype == mask.dtype == np.uint8
        change = np.abs(good.astype(float) - defective).max(axis=2)
        assert change[mask > 0].mean() > 8
        assert change[mask > 0].mean() > 5 * change[mask == 0].mean()


def test_a_good_image_has_an_empty_mask_and_is_the_good_twin() -> None:
    image, mask = draw_image("screw", style_seed=1, instance_seed=2)
    good, defective, defect_mask = draw_twins("screw", style_seed=1, instance_seed=2, defect="cut")
    assert not mask.any()
    assert np.array_equal(image, good)
    again, again_mask = draw_image("screw", style_seed=1, instance_seed=2, defect="cut")
    assert np.array_equal(again, defective)
    assert np.array_equal(again_mask, defect_mask)


@pytest.mark.parametrize("class_name", DEFECT_FOLDERS)
def test_same_seeds_give_the_same_pixels_and_others_do_not(class_name: str) -> None:
    def draw(style: int, instance: int) -> np.ndarray:
        scene._station.cache_clear()
        return draw_image(class_name, style_seed=style, instance_seed=instance)[0].astype(float)

    first = draw(5, 6)
    assert np.array_equal(first, draw(5, 6))
    assert np.abs(first - draw(25, 6)).mean() > 5
    assert not np.array_equal(first, draw(5, 7))


def test_a_line_keeps_its_look() -> None:
    def corner(style: int, instance: int) -> np.ndarray:
        image, _ = draw_image("metal_nut", style_seed=style, instance_seed=instance)
        return np.asarray(image[:30, :30].reshape(-1, 3).mean(axis=0))

    grounds = np.array([[corner(style, instance) for instance in range(4)] for style in range(6)])  # [line, part, RGB]
    assert grounds.std(axis=1).mean() < 12 < grounds.mean(axis=1).std(axis=0).mean()


def test_harder_defects_are_smaller_and_fainter() -> None:
    def severity(difficulty: str) -> tuple[float, float]:
        areas, contrasts = [], []
        for seed in range(12):
            good, defective, mask = draw_twins(
                "leather", style_seed=seed, instance_seed=seed, defect="color stain", difficulty=difficulty
            )
            areas.append((mask > 0).sum())
            contrasts.append(np.abs(good.astype(float) - defective)[mask > 0].mean())
        return float(np.mean(areas)), float(np.mean(contrasts))

    (easy_area, easy_contrast), (area, contrast), (hard_area, hard_contrast) = map(severity, DIFFICULTIES)
    assert easy_area == pytest.approx(1.8**2 * area, rel=0.25)
    assert hard_area == pytest.approx(0.65**2 * area, rel=0.15)
    assert hard_contrast < 0.75 * contrast
    assert easy_contrast == pytest.approx(contrast, rel=0.1)


@pytest.mark.parametrize("class_name", ["capsule", "leather"])  # a poke is faint, and a capsule's specks are few
def test_easy_defects_are_plain_to_see(class_name: str) -> None:
    folders = [folder for folder in DEFECT_FOLDERS[class_name] if folder in ("poke", "crack", "scratch")]
    for number in range(4):
        for folder in folders:
            _, mask = writer.draw_defective(class_name, 3, "easy", folder, number)
            assert (mask > 0).sum() >= 300, (folder, number)


@pytest.fixture
def drawn_seeds(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The style and instance seed of every image that is drawn; the drawing itself is left out."""
    seeds: list[tuple[int, int]] = []
    blank, white = np.zeros((5, 5, 3), np.uint8), np.full((5, 5), 255, np.uint8)

    def good(_name: str, *, style_seed: int, instance_seed: int) -> tuple[np.ndarray, np.ndarray]:
        seeds.append((style_seed, instance_seed))
        return blank, white

    def twins(_name: str, *, style_seed: int, instance_seed: int, **_: str) -> tuple[np.ndarray, ...]:
        seeds.append((style_seed, instance_seed))
        seen = len(seeds) % 3  # every third defect is drawn again
        return blank, blank + np.uint8(255 if seen else 1), white

    monkeypatch.setattr(writer, "draw_image", good)
    monkeypatch.setattr(writer, "draw_twins", twins)
    monkeypatch.setattr(writer, "write_png", lambda path, _: path.parent.mkdir(parents=True, exist_ok=True))
    return seeds


def test_no_seed_is_used_twice_or_was_trained_on(tmp_path: Path, drawn_seeds: list[tuple[int, int]]) -> None:
    lines = (0, 1, 2, 3, 10, 99, LINES - 1)
    for line in lines:
        for class_name in DEFECT_FOLDERS:
            make_demo_class(tmp_path / str(line), class_name, line=line)
    styles, instances = {style for style, _ in drawn_seeds}, {instance for _, instance in drawn_seeds}
    assert len(styles) == len(lines) * len(DEFECT_FOLDERS)
    assert len(instances) == len(drawn_seeds)  # so none is shared between train and test, or between two images
    assert len(drawn_seeds) > len(styles) * (20 + 20 + 3 * 8)
    assert min(styles | instances) >= 0
    assert max(styles | instances) < TRAINING_SEEDS_FROM == 10_000_000


def test_a_defect_that_cannot_be_seen_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    visible = np.full((4, 4), 255, np.uint8), 90
    hidden = np.zeros((4, 4), np.uint8), 90
    faint = np.full((4, 4), 255, np.uint8), 3
    tries = iter([hidden, faint, visible, faint])

    def twins(*_: str, **__: object) -> tuple[np.ndarray, ...]:
        small_mask, change = next(tries)
        mask = np.kron(small_mask, np.ones((4, 4), np.uint8))
        return np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), change, np.uint8), mask

    monkeypatch.setattr(writer, "draw_twins", twins)
    image, mask = writer._draw_visible(CLASS, 0, 40, "cut", "normal")
    assert image.max() == 90
    assert mask.all()


@pytest.mark.usefixtures("few_images")
def test_a_drawing_cut_short_leaves_nothing_and_is_no_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = tmp_path / f".{CLASS}-killed" / CLASS  # what a killed process leaves
    (killed / "train/good").mkdir(parents=True)
    with monkeypatch.context() as interrupted:

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        interrupted.setattr(writer, "_write_defective", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_demo_class(tmp_path, CLASS)
    assert names(tmp_path) == [f".{CLASS}-killed"]
    assert names(make_demo_class(tmp_path, CLASS) / "test/good") == ["000.png"]


@pytest.mark.usefixtures("few_images")
def test_of_two_that_draw_at_once_the_first_to_end_wins(
    carpet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_defective = writer._write_defective

    def overtaken(*arguments: object) -> None:
        draw_defective(*arguments)  # type: ignore[arg-type]
        shutil.copytree(carpet, tmp_path / CLASS)

    monkeypatch.setattr(writer, "_write_defective", overtaken)
    folder = make_demo_class(tmp_path, CLASS)
    assert names(folder / "train/good") == numbered(20)
    assert names(tmp_path) == [CLASS]


@pytest.mark.usefixtures("few_images")
def test_a_complete_class_is_left_alone_and_other_images_are_never_touched(tmp_path: Path) -> None:
    folder = make_demo_class(tmp_path, CLASS)
    image = folder / "train/good/000.png"
    image.write_bytes(b"kept")
    assert make_demo_class(tmp_path, CLASS) == folder
    for other in ({"line": 1}, {"difficulty": "hard"}):
        with pytest.raises(InputError, match="choose another folder"):
            make_demo_class(tmp_path, CLASS, **other)
    (tmp_path / "bottle/train/good").mkdir(parents=True)  # perhaps the real data set
    with pytest.raises(InputError, match=r"bottle exists .* choose another folder"):
        make_demo_class(tmp_path, "bottle")
    assert image.read_bytes() == b"kept"
    assert names(tmp_path / "bottle/train/good") == []


@pytest.mark.parametrize(
    ("class_name", "options", "message"),
    [
        ("metal nut", {}, 'unknown demo class: "metal nut"; did you mean metal_nut. choose from bottle, .*metal_nut'),
        (CLASS, {"difficulty": "brutal"}, 'unknown difficulty: "brutal"; choose from easy, normal, hard'),
        (CLASS, {"line": -1}, "unknown production line: -1; choose from 0 to"),
        (CLASS, {"line": LINES}, f"unknown production line: {LINES}; choose from 0 to {LINES - 1}"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(
    tmp_path: Path, class_name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make_demo_class(tmp_path / "demo", class_name, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "demo").exists()


def test_an_unknown_kind_of_defect_is_named() -> None:
    with pytest.raises(InputError, match='unknown kind of defect: "rust"; choose from hole, cut'):
        draw_image(CLASS, style_seed=1, instance_seed=1, defect="rust")
