"""The layouts of data sets: MVTec AD, VisA and plain folders."""

from pathlib import Path

import pytest
from helpers import draw, refusal

from promptad.data.datasets import DATASETS, class_names, dataset_folder, default_data_root, read_class
from promptad.data.masks import read_mask
from promptad.data.reader import DatasetReader
from promptad.structures import ClassDataset, TestImage


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
    images = read_class(dataset, folder, "carpet")
    carpet = folder / "carpet"
    assert (images.dataset, images.class_name) == (dataset, "carpet")
    assert images.normal == (carpet / "train/good/000.png", carpet / "train/good/001.png")
    assert images.test == (
        TestImage(carpet / "test/good/000.png", "good", None),
        TestImage(carpet / "test/hole/000.png", "hole", carpet / "ground_truth/hole/000_mask.png"),
    )


def test_the_visa_layout_is_read(tmp_path: Path) -> None:
    folder = dataset_folder("visa", make_visa(tmp_path / "visa").parent)
    assert class_names("visa", folder) == ("candle",)
    images = read_class("visa", folder, "candle")
    place = folder / "candle/Data/Images"
    mask = folder / "candle/Data/Masks/Anomaly/000.png"
    assert images.normal == (place / "Normal/0001.JPG", place / "Normal/0002.JPG")
    assert images.test == (
        TestImage(place / "Anomaly/000.JPG", "anomaly", mask),
        TestImage(place / "Normal/0003.JPG", "good", None),
    )
    assert read_mask(mask, (2, 2), place / "Anomaly/000.JPG").all()


def test_a_plain_folder_is_a_class_or_holds_classes(tmp_path: Path) -> None:
    image = draw(tmp_path / "gear/good/0.png")
    draw(tmp_path / "other/0.png")
    assert dataset_folder("folder", tmp_path) == tmp_path
    assert class_names("folder", tmp_path) == ("gear",)
    assert read_class("folder", tmp_path, "gear").normal == (image,)
    assert class_names("folder", tmp_path / "gear") == ("gear",)
    itself = read_class("folder", tmp_path / "gear", "cog wheel")
    assert (itself.class_name, itself.normal, itself.test) == ("cog wheel", (image,), ())


def test_a_plain_folder_may_have_no_masks_but_not_only_some(tmp_path: Path) -> None:
    for name in ("good/0.png", "test/good/0.png", "test/dent/0.png", "test/dent/1.png"):
        draw(tmp_path / name)
    assert [image.mask_path for image in read_class("folder", tmp_path, "gear").test] == [None] * 3
    masks = [draw(tmp_path / "ground_truth/dent/0.bmp", 255, "L")]
    assert f"no mask for {tmp_path / 'test/dent/1.png'}: put it at" in refusal(read_class, "folder", tmp_path, "gear")
    masks.append(draw(tmp_path / "ground_truth/dent/1_mask.png", 255, "L"))
    test = read_class("folder", tmp_path, "gear").test
    assert [(image.defect, image.mask_path) for image in test] == [("dent", mask) for mask in masks] + [("good", None)]


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
    assert "by `dataset` folder" in refusal(dataset_folder, "mvtec", demo)  # drawn images never count as MVTec AD


def test_visa_in_the_layout_of_mvtec_ad_is_told_how_to_be_read(tmp_path: Path) -> None:
    visa = make_mvtec(tmp_path / "data" / "visa")
    cure = f"{visa} has MVTec AD's layout: read it by `dataset` folder `data_root` {visa}"
    assert refusal(class_names, "visa", dataset_folder("visa", tmp_path / "data")) == cure
    for dataset in ("mvtec", "visa"):
        assert refusal(dataset_folder, dataset, visa) == cure
    assert class_names("folder", dataset_folder("folder", visa)) == ("bottle", "carpet")


def test_visa_is_named_where_another_data_set_is_asked_for(tmp_path: Path) -> None:
    visa = make_visa(tmp_path / "VisA")
    for dataset in ("mvtec", "mvtec2", "loco"):
        cure = f"{visa} has the layout of visa: read it by `dataset` visa `data_root` {visa}"
        assert refusal(dataset_folder, dataset, visa) == cure
    assert dataset_folder("visa", make_visa(tmp_path / "mvtec")) == tmp_path / "mvtec"
    converted = make_mvtec(visa)
    assert dataset_folder("mvtec", converted) == converted


def test_a_missing_data_set_is_refused_with_the_place_to_put_it(tmp_path: Path) -> None:
    for dataset, words in {"mvtec": "MVTec AD", "visa": "VisA"}.items():
        message = refusal(dataset_folder, dataset, tmp_path)
        assert message.startswith(f"no {words} at {(tmp_path / dataset).as_posix()}: unpack it there")
        assert message.endswith("or try `dataset` demo")
    assert "promptad demo-data" in refusal(dataset_folder, "demo", tmp_path)
    assert "give the folder that holds good/" in refusal(dataset_folder, "folder", tmp_path / "none")
    for dataset in DATASETS:
        assert f"at {tmp_path / 'none'}:" in refusal(class_names, dataset, tmp_path / "none")
    for dataset in ("mvtec", "demo", "folder"):
        assert f"no class of data set {dataset} in {tmp_path}: put pictures" in refusal(class_names, dataset, tmp_path)


def test_unknown_names_are_refused_with_the_choices_and_the_nearest(tmp_path: Path) -> None:
    folder = make_mvtec(tmp_path)
    expected = 'unknown data set: "mvtek"; did you mean mvtec? choose from mvtec, mvtec2, loco, visa, demo, folder'
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
    for image in (carpet / "train/good").iterdir():
        image.unlink()
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


class FlatReader(DatasetReader):
    """A data set that keeps <class>_<number>_<ok or defect>.png in one folder."""

    name = "flat"
    missing = "no flat data at {0}"
    expected = Path("<class>_000_ok.png")

    def class_names(self, folder: Path) -> set[str]:
        return {path.stem.split("_")[0] for path in folder.glob("*.png")}

    def read_class(self, folder: Path, class_name: str) -> ClassDataset:
        paths = sorted(folder.glob(f"{class_name}_*.png"))
        normal = tuple(path for path in paths if path.stem.endswith("_ok"))
        test = tuple(TestImage(path, path.stem.split("_")[2], None) for path in paths if path not in normal)
        return ClassDataset(self.name, class_name, normal, test)

    def looks_like(self, folder: Path) -> bool:
        return any(folder.glob("*_ok.png"))


def test_a_data_set_is_one_reader_in_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "flat", FlatReader())
    assert refusal(dataset_folder, "flat", tmp_path) == f"no flat data at {(tmp_path / 'flat').as_posix()}"
    good, bad = draw(tmp_path / "flat/gear_000_ok.png"), draw(tmp_path / "flat/gear_001_burn.png")
    folder = dataset_folder("flat", tmp_path)
    assert class_names("flat", folder) == ("gear",)
    assert read_class("flat", folder, "gear").normal == (good,)
    assert read_class("flat", folder, "gear").test == (TestImage(bad, "burn", None),)


@pytest.mark.parametrize("name", ["ok", "OK", "normal", "Good", "good"])
def test_good_has_several_names(name: str, tmp_path: Path) -> None:
    for path in (f"nut/train/{name}/0.png", f"nut/test/{name}/0.png", "nut/test/bent/0.png"):
        draw(tmp_path / path)
    dataset = read_class("mvtec", tmp_path, "nut")
    assert [image.is_anomalous for image in dataset.test] == [True, False]
    assert [image.defect for image in dataset.test] == ["bent", "good"]
    assert dataset.notes == (() if name == "good" else (f"{tmp_path / 'nut' / 'test' / name} counts as good",))


@pytest.mark.parametrize("dataset", ["mvtec", "folder"])
@pytest.mark.parametrize("normal", ["train/good", "good"])
@pytest.mark.parametrize("one", [True, False])
def test_a_class_or_a_tree_of_classes_is_read_in_either_layout(
    dataset: str, normal: str, one: bool, tmp_path: Path
) -> None:
    part = tmp_path / "data" / "nut"
    for path in (f"{normal}/0.png", "test/good/0.png", "test/bent/0.png"):
        draw(part / path)
    folder = part if one else part.parent
    assert class_names(dataset, folder) == ("nut",)
    found = read_class(dataset, folder, "nut")
    assert found.normal == (part / normal / "0.png",)
    assert [image.path for image in found.test] == [part / "test/bent/0.png", part / "test/good/0.png"]
    assert all(image.mask_path is None for image in found.test)


def test_images_deeper_in_a_kind_are_read_with_their_masks(tmp_path: Path) -> None:
    for path in ("train/good/a/0.png", "test/hole/b/1.png", "test/good/0.png"):
        draw(tmp_path / "nut" / path)
    mask = draw(tmp_path / "nut/ground_truth/hole/b/1_mask.png", 255, "L")
    found = read_class("mvtec", tmp_path, "nut")
    assert found.normal == (tmp_path / "nut/train/good/a/0.png",)
    assert [image.mask_path for image in found.test] == [None, mask]
