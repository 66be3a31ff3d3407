"""The data room: pictures, masks, layouts, the choice of support images, and the written states."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import promptad
from promptad.data.layouts import DATASETS, class_names, dataset_folder, default_data_root, read_class
from promptad.data.pictures import list_pictures, read_mask, read_picture
from promptad.data.support import choose_support, read_support_list
from promptad.errors import InputError
from promptad.records import TestPicture

RED, WHITE = (255, 0, 0), (255, 255, 255)
STATES = json.loads((Path(promptad.__path__[0]) / "prompts" / "states.json").read_text(encoding="utf-8"))


def draw(path: Path, color: object = RED, mode: str = "RGB", size: tuple[int, int] = (8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)  # type: ignore[arg-type]
    return path


def refusal(call: object, *arguments: object, **keywords: object) -> str:
    """The message of the InputError that the call raises: one line, as the command line prints it."""
    with pytest.raises(InputError) as caught:
        call(*arguments, **keywords)  # type: ignore[operator]
    message = str(caught.value)
    assert "\n" not in message
    return message


# Pictures


@pytest.mark.parametrize(
    ("name", "mode", "color", "expected"),
    [
        ("a.png", "RGB", (1, 2, 3), (1, 2, 3)),
        ("a.bmp", "RGB", (1, 2, 3), (1, 2, 3)),
        ("a.png", "L", 77, (77, 77, 77)),
        ("a.png", "1", 1, WHITE),
        ("a.png", "I;16", 65535, WHITE),
        ("a.tif", "I;16", 257 * 100, (100, 100, 100)),
        ("a.png", "I;16", 300, (1, 1, 1)),
        ("a.png", "RGBA", (255, 0, 0, 255), RED),
        ("a.png", "RGBA", (255, 0, 0, 0), WHITE),
        ("a.png", "RGBA", (255, 0, 0, 51), (255, 204, 204)),
        ("a.png", "LA", (0, 51), (204, 204, 204)),
        ("a.tif", "CMYK", (0, 255, 255, 0), RED),
    ],
)
def test_every_kind_of_picture_becomes_rgb(
    tmp_path: Path, name: str, mode: str, color: object, expected: tuple[int, int, int]
) -> None:
    picture = read_picture(draw(tmp_path / name, color, mode))
    assert (picture.mode, picture.size) == ("RGB", (8, 6))
    assert (np.asarray(picture) == expected).all()


def test_a_palette_picture_becomes_rgb_and_its_transparent_color_white(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "plain.png")
    picture.save(tmp_path / "clear.png", transparency=1)
    assert np.asarray(read_picture(tmp_path / "plain.png")).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert np.asarray(read_picture(str(tmp_path / "clear.png"))).tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
def test_exif_orientation_is_applied_to_files_and_given_images(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"turned{suffix}"
    stored = Image.new("RGB", (32, 16))
    stored.paste(WHITE, (0, 0, 16, 16))  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: white comes to the top
    stored.save(path, exif=exif)
    for upright in (read_picture(path), read_picture(Image.open(path))):
        assert upright.size == (16, 32)
        bright = np.asarray(upright.convert("L")) > 128
        assert bright[:15].all()
        assert not bright[17:].any()
    mask = draw(tmp_path / "mask.png", 255, "L", (16, 32))
    assert read_mask(mask, 4, path).all()


def test_arrays_are_read_as_rgb() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert (np.asarray(read_picture(array)) == array).all()
    assert (np.asarray(read_picture(array[:, ::-1])) == array[:, ::-1]).all()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((1, 2, 2, 3), np.uint8),
        np.zeros((0, 2, 3), np.uint8),
        np.zeros((2, 2, 3), np.float32),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    expected = f"a {array.dtype} array of shape {list(array.shape)}: give uint8 RGB [height, width, 3]"
    assert expected in refusal(read_picture, array)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_32_bit_pictures_are_refused(tmp_path: Path, mode: str) -> None:
    path = draw(tmp_path / "deep.tif", 1, mode)
    for image in (path, Image.open(path)):
        assert f"cannot use picture {path}: its pixels are 32-bit" in refusal(read_picture, image)


def test_files_that_are_no_pictures_are_refused_in_words(tmp_path: Path) -> None:
    missing, empty, text = tmp_path / "missing.png", tmp_path / "empty.png", tmp_path / "text.png"
    empty.touch()
    text.write_text("not a picture")
    assert refusal(read_picture, missing) == f"no picture at {missing}: check the path"
    assert refusal(read_picture, empty).startswith(f"empty picture {empty}: the file has no bytes; replace it")
    assert refusal(read_picture, text).startswith(f"not a picture: {text} is damaged or of another kind; give a PNG")
    assert refusal(read_picture, tmp_path) == f"{tmp_path} is a folder, not a picture: name a picture in it"
    assert "a bytes: give a path, a PIL image" in refusal(read_picture, b"x")
    assert "it has 0 x 3 pixels" in refusal(read_picture, Image.new("RGB", (0, 3)))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_a_truncated_file_is_refused_in_words(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"short{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    assert refusal(read_picture, path) == f"corrupt picture {path}: the file ends early; replace it or remove it"


def test_a_corrupt_file_is_refused_in_words(tmp_path: Path) -> None:
    path = draw(tmp_path / "corrupt.png", size=(40, 40))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    expected = f"corrupt picture {path}: its data cannot be decoded; replace it or remove it"
    assert refusal(read_picture, path) == expected
    assert refusal(read_picture, Image.open(path)) == expected


def test_an_enormous_picture_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = draw(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    assert refusal(read_picture, path) == f"picture {path} is too large: it has more than 40 pixels; scale it down"


def test_pictures_are_listed_sorted_without_hidden_and_other_files(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "._a.png", "c.webp", "deeper/d.png"):
        draw(tmp_path / name.replace(".JPG", ".jpg")).rename(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    assert [path.name for path in list_pictures(tmp_path)] == ["a.png", "b.JPG", "c.webp"]
    assert refusal(list_pictures, tmp_path / "none").startswith(f"no folder of pictures at {tmp_path / 'none'}")


# Masks


@pytest.mark.parametrize(
    ("mode", "defect", "ground"),
    [
        ("L", 255, 0),
        ("L", 1, 0),  # VisA numbers its kinds of defect
        ("1", 1, 0),
        ("I;16", 3, 0),
        ("RGB", (0, 0, 1), (0, 0, 0)),
        ("RGBA", (255, 255, 255, 255), (255, 255, 255, 0)),
    ],
)
def test_every_value_above_zero_is_a_defect(tmp_path: Path, mode: str, defect: object, ground: object) -> None:
    picture = draw(tmp_path / "picture.png", size=(8, 4))
    mask = Image.new(mode, (8, 4), ground)  # type: ignore[arg-type]
    mask.paste(defect, (4, 0, 8, 2))  # type: ignore[arg-type]
    mask.save(tmp_path / "mask.png")
    read = read_mask(tmp_path / "mask.png", 4, picture)
    assert read.dtype == np.bool_
    assert read.tolist() == [[False, False, True, True]] * 2 + [[False] * 4] * 2


def test_a_mask_that_does_not_lie_on_its_picture_is_refused(tmp_path: Path) -> None:
    picture, mask = draw(tmp_path / "picture.png"), draw(tmp_path / "mask.png", size=(6, 8))
    message = refusal(read_mask, mask, 4, picture)
    assert message.startswith(f"mask {mask} has 6 x 8 pixels, its picture {picture} 8 x 6: export the mask")
    assert "no picture at" in refusal(read_mask, mask, 4, tmp_path / "none.png")
    assert "is a JPEG" in refusal(read_mask, draw(tmp_path / "mask.jpg"), 4, picture)
    assert "its pixels are 32-bit floats" in refusal(read_mask, draw(tmp_path / "mask.tif", 1, "F"), 4, picture)


# Layouts


def make_mvtec(folder: Path, classes: tuple[str, ...] = ("carpet", "bottle")) -> Path:
    for name in classes:
        for path in ("train/good/001.png", "train/good/000.png", "test/hole/000.png", "test/good/000.png"):
            draw(folder / name / path)
        draw(folder / name / "ground_truth/hole/000_mask.png", 255, "L")
    return folder


def make_visa(folder: Path, rows: tuple[str, ...] = (), header: str = "object,split,label,image,mask") -> Path:
    images = "candle/Data/Images"
    usual = (
        f"candle,train,normal,{images}/Normal/0002.JPG,",
        f"candle,train,normal,{images}/Normal/0001.JPG,",
        f"candle,test,normal,{images}/Normal/0003.JPG,",
        f"candle,test,anomaly,{images}/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png",
        *rows,
    )
    (folder / "split_csv").mkdir(parents=True)
    (folder / "split_csv/1cls.csv").write_text("\n".join((header, *usual)), encoding="utf-8")
    for name in ("Normal/0001", "Normal/0002", "Normal/0003", "Anomaly/000"):
        draw(folder / images / f"{name}.JPG")
    draw(folder / "candle/Data/Masks/Anomaly/000.png", 1, "L")
    return folder


@pytest.mark.parametrize("dataset", ["mvtec", "demo"])
def test_the_mvtec_layout_is_read(tmp_path: Path, dataset: str) -> None:
    folder = dataset_folder(dataset, make_mvtec(tmp_path / dataset).parent)
    assert folder == tmp_path / dataset
    assert class_names(dataset, folder) == ("bottle", "carpet")
    pictures = read_class(dataset, folder, "carpet")
    carpet = folder / "carpet"
    assert (pictures.dataset, pictures.class_name) == (dataset, "carpet")
    assert pictures.normal == (carpet / "train/good/000.png", carpet / "train/good/001.png")
    assert pictures.test == (
        TestPicture(carpet / "test/good/000.png", "good", None),
        TestPicture(carpet / "test/hole/000.png", "hole", carpet / "ground_truth/hole/000_mask.png"),
    )


def test_the_visa_layout_is_read(tmp_path: Path) -> None:
    folder = dataset_folder("visa", make_visa(tmp_path / "visa").parent)
    assert class_names("visa", folder) == ("candle",)
    pictures = read_class("visa", folder, "candle")
    images = folder / "candle/Data/Images"
    mask = folder / "candle/Data/Masks/Anomaly/000.png"
    assert pictures.normal == (images / "Normal/0001.JPG", images / "Normal/0002.JPG")
    assert pictures.test == (
        TestPicture(images / "Anomaly/000.JPG", "anomaly", mask),
        TestPicture(images / "Normal/0003.JPG", "good", None),
    )
    assert read_mask(mask, 2, images / "Anomaly/000.JPG").all()


def test_a_plain_folder_is_a_class_or_holds_classes(tmp_path: Path) -> None:
    picture = draw(tmp_path / "gear/good/0.png")
    draw(tmp_path / "other/0.png")
    assert dataset_folder("folder", tmp_path) == tmp_path
    assert class_names("folder", tmp_path) == ("gear",)
    assert read_class("folder", tmp_path, "gear").normal == (picture,)
    assert class_names("folder", tmp_path / "gear") == ("gear",)
    itself = read_class("folder", tmp_path / "gear", "cog wheel")
    assert (itself.class_name, itself.normal, itself.test) == ("cog wheel", (picture,), ())


def test_a_plain_folder_may_have_no_masks_but_not_some(tmp_path: Path) -> None:
    for name in ("good/0.png", "test/good/0.png", "test/dent/0.png", "test/dent/1.png"):
        draw(tmp_path / name)
    assert [picture.mask_path for picture in read_class("folder", tmp_path, "gear").test] == [None] * 3
    masks = [draw(tmp_path / "ground_truth/dent/0.bmp", 255, "L")]
    assert f"no mask for {tmp_path / 'test/dent/1.png'}: put it at" in refusal(read_class, "folder", tmp_path, "gear")
    masks.append(draw(tmp_path / "ground_truth/dent/1_mask.png", 255, "L"))
    test = read_class("folder", tmp_path, "gear").test
    assert [(picture.defect, picture.mask_path) for picture in test] == [("dent", mask) for mask in masks] + [
        ("good", None)
    ]


def test_the_data_root_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMPTAD_DATA", raising=False)
    assert default_data_root() == Path("data")
    monkeypatch.setenv("PROMPTAD_DATA", "/somewhere")
    assert default_data_root() == Path("/somewhere")


def test_a_data_root_that_is_the_data_set_is_accepted(tmp_path: Path) -> None:
    mvtec, visa = make_mvtec(tmp_path / "MVTec-AD"), make_visa(tmp_path / "VisA")
    assert dataset_folder("mvtec", mvtec) == mvtec
    assert dataset_folder("visa", visa) == visa
    demo = make_mvtec(tmp_path / "drawn" / "demo")
    assert dataset_folder("demo", demo) == demo
    assert "no MVTec AD at" in refusal(dataset_folder, "mvtec", demo)  # drawn pictures never count as MVTec AD


def test_a_missing_data_set_is_refused_with_the_place_to_put_it(tmp_path: Path) -> None:
    for dataset, words in {"mvtec": "MVTec AD", "visa": "VisA"}.items():
        message = refusal(dataset_folder, dataset, tmp_path)
        assert message.startswith(f"no {words} at {(tmp_path / dataset).as_posix()}: unpack it there")
        assert message.endswith("or try --dataset demo")
    assert "promptad demo-data" in refusal(dataset_folder, "demo", tmp_path)
    assert "give the folder that holds good/" in refusal(dataset_folder, "folder", tmp_path / "none")
    for dataset in DATASETS:
        assert f"at {tmp_path / 'none'}:" in refusal(class_names, dataset, tmp_path / "none")
    for dataset in ("mvtec", "demo", "folder"):
        assert f"no class of data set {dataset} in {tmp_path}: put pictures" in refusal(class_names, dataset, tmp_path)


def test_unknown_names_are_refused_with_the_choices_and_the_nearest(tmp_path: Path) -> None:
    folder = make_mvtec(tmp_path)
    expected = 'unknown data set: "mvtek"; did you mean mvtec? choose from mvtec, visa, demo, folder'
    assert refusal(dataset_folder, "mvtek", folder) == expected
    assert refusal(class_names, "mvtek", folder) == expected
    expected = f'unknown class in {folder}: "Carpt"; did you mean carpet? choose from bottle, carpet'
    assert refusal(read_class, "mvtec", folder, "Carpt") == expected
    assert "unknown class in" in refusal(read_class, "mvtec", folder, "../carpet")


def test_incomplete_classes_are_refused(tmp_path: Path) -> None:
    carpet = make_mvtec(tmp_path) / "carpet"
    (carpet / "ground_truth/hole/000_mask.png").unlink()
    message = refusal(read_class, "mvtec", tmp_path, "carpet")
    assert message.startswith(f"no mask for {carpet / 'test/hole/000.png'}: put it at")
    assert message.endswith("000_mask.png")
    draw(carpet / "test/003.png")
    assert f"{carpet / 'test/003.png'} has no label: move it" in refusal(read_class, "mvtec", tmp_path, "carpet")
    (carpet / "test/003.png").unlink()
    (carpet / "test/good").rename(carpet / "test/Good")
    assert "Good would count as a defect: rename it" in refusal(read_class, "mvtec", tmp_path, "carpet")
    for picture in (carpet / "train/good").iterdir():
        picture.unlink()
    message = refusal(read_class, "mvtec", tmp_path, "carpet")
    assert message == f"no pictures in {carpet / 'train/good'}: put normal pictures of carpet there"


def test_a_wrong_visa_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    assert "1cls.csv: unpack VisA there" in refusal(class_names, "visa", tmp_path / "bare")
    short = make_visa(tmp_path / "short", header="object,split,kind,image,mask")
    assert "lacks the column label: restore VisA's own" in refusal(class_names, "visa", short)
    rows = (
        "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,",
        "candle,val,normal,x.JPG,",
        "pcb1,test,normal,x,",
    )
    for number, (row, words) in enumerate(
        zip(rows[:2], ('no mask at ""', "split and label are val normal"), strict=True)
    ):
        folder = make_visa(tmp_path / str(number), (row,))
        assert f"line 6: {words}" in refusal(read_class, "visa", folder, "candle")
    folder = make_visa(tmp_path / "gone", rows[2:])
    assert 'no picture at "x"' in refusal(read_class, "visa", folder, "pcb1")
    (folder / "split_csv/1cls.csv").write_bytes(b"object,split\xff,label,image,mask")
    assert "is no CSV file" in refusal(class_names, "visa", folder)


# Support images

NORMAL = tuple(Path("data/carpet/train/good", f"{number:03}.png") for number in range(20))
PINNED = [14, 7, 18, 10]  # sha256 of "111/000.png", "111/001.png", ...: never to change, or results stop repeating


def numbers(paths: tuple[Path, ...]) -> list[int]:
    return [int(path.stem) for path in paths]


def test_the_choice_is_pinned_nested_seeded_and_blind_to_order() -> None:
    chosen = choose_support(NORMAL, 4, seed=111)
    assert numbers(chosen) == PINNED
    assert choose_support(NORMAL, 2, seed=111) == chosen[:2]
    assert choose_support(NORMAL[::-1], 4, seed=111) == chosen
    elsewhere = tuple(Path("elsewhere", path.name) for path in NORMAL)
    assert numbers(choose_support(elsewhere, 4, seed=111)) == PINNED
    assert len({choose_support(NORMAL, 4, seed) for seed in range(10)}) == 10


def test_an_impossible_k_is_refused() -> None:
    assert refusal(choose_support, NORMAL, 0, 1) == "--k-shot must be at least 1, not 0"
    message = refusal(choose_support, NORMAL[:3], 4, 1)
    assert message == f"--k-shot 4 needs 4 normal pictures, found 3 in {NORMAL[0].parent}: add some or lower k"
    assert "found 0:" in refusal(choose_support, (), 1, 1)


def write(folder: Path, *lines: str) -> Path:
    file = folder / "support.txt"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_a_list_of_paths_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    normal = [draw(tmp_path / "carpet/train/good" / f"00{number}.png") for number in range(4)]
    file = write(tmp_path / "carpet", "# our best", "train/good/003.png", "", "carpet/train/good/001.png", "000.png")
    monkeypatch.chdir(tmp_path)
    expected = (normal[3], normal[1], normal[0])
    assert read_support_list(file, "carpet", normal, 3) == expected
    relative = [path.relative_to(tmp_path) for path in normal]
    assert numbers(read_support_list(file, "carpet", relative, 3)) == [3, 1, 0]


def test_the_ancestors_list_of_ids_is_read(tmp_path: Path) -> None:
    file = write(tmp_path, "#1: 7", "#2: 12 5", "# a comment", "#4: 0 1 2 3")
    assert numbers(read_support_list(file, "carpet", NORMAL[::-1], 2)) == [12, 5]
    assert numbers(read_support_list(file, "carpet", NORMAL, 1)) == [7]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("000.png", "", "hole.png"), ' line 3: "hole.png" is no normal training picture of carpet; correct the path'),
        (("#2: 0 20",), " line 1: no picture has id 20; ids go from 0 to 19"),
        (("#2: 0 -1",), " line 1: no picture has id -1; ids go from 0 to 19"),
        (("#1: 3", "#4: 0 1 2 3"), " has no line #2: for k = 2; it has #1:, #4:; add one or change --k-shot"),
        (("#2: 0 1", "#2: 2 3"), " line 2: a second line for k = 2; keep one"),
        (("#2: 0 1", "000.png"), " line 2: a path among lines of ids; keep one of the two kinds"),
        (("#2: 0 1 2",), " line 1: the list names 3 pictures, --k-shot is 2; make them agree"),
        (("000.png", "001.png", "002.png"), " line 3: the list names 3 pictures, --k-shot is 2; make them agree"),
        (("# nothing",), ": the list names 0 pictures, --k-shot is 2; make them agree"),
        (("000.png", "000.png"), " line 2: 000.png stands in the list twice; name 2 different pictures"),
    ],
)
def test_a_wrong_list_is_refused_with_its_line(tmp_path: Path, lines: tuple[str, ...], words: str) -> None:
    file = write(tmp_path, *lines)
    assert refusal(read_support_list, file, "carpet", NORMAL, 2) == f"{file}{words}"


def test_an_unreadable_list_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "support.txt"
    assert refusal(read_support_list, file, "carpet", NORMAL, 2) == f"no support list at {file}: check the path"
    file.write_bytes(b"\xff\xfe\x00")
    assert f"cannot read support list {file}: give a text file" in refusal(read_support_list, file, "x", NORMAL, 2)


# Written states

MVTEC = "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile toothbrush transistor wood zipper"
VISA = "candle capsules cashew chewinggum fryum macaroni1 macaroni2 pcb1 pcb2 pcb3 pcb4 pipe_fryum"


def bare(phrase: str) -> str:
    """The phrase without the words that make no difference in meaning."""
    return re.sub(r"\b(a|an|the) ", "", phrase.lower())


def test_the_states_cover_the_classes_of_both_data_sets() -> None:
    assert set(STATES) == {"generic", "mvtec", "visa", "names"}
    assert set(STATES["mvtec"]) == set(MVTEC.split())
    assert set(STATES["visa"]) == set(VISA.split())
    assert set(STATES["names"]) < set(VISA.split()) | set(MVTEC.split())


def test_every_class_has_a_few_groups_of_a_few_phrases() -> None:
    assert 6 <= len(STATES["generic"]) <= 8
    assert all(2 <= len(phrases) <= 4 for phrases in STATES["generic"].values())
    for dataset in ("mvtec", "visa"):
        for groups in STATES[dataset].values():
            assert 4 <= len(groups) <= 8
            assert all(1 <= len(phrases) <= 3 for phrases in groups.values())


@pytest.mark.parametrize("dataset", ["mvtec", "visa"])
def test_phrases_hold_one_placeholder_and_do_not_repeat(dataset: str) -> None:
    for groups in STATES[dataset].values():
        parts = (*STATES["generic"].values(), *groups.values())
        phrases = [phrase for part in parts for phrase in part]
        assert all(phrase.count("{}") == 1 and set(re.findall(r"[{}]", phrase)) == {"{", "}"} for phrase in phrases)
        assert all(re.fullmatch(r"[a-z{} ]+", phrase) and phrase == " ".join(phrase.split()) for phrase in phrases)
        assert len({bare(phrase) for phrase in phrases}) == len(phrases)
