"""The adapter in anomalib's engine, fit to export; anomalib is of an environment of its own (docs/anomalib.md)."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from promptad import InputError, PromptAD
from promptad.data.demo import make_demo_class
from promptad.data.few_shot import choose_support
from promptad.settings import Settings

pytest.importorskip("anomalib", reason="anomalib is of an environment of its own")

from anomalib.data import Folder, MVTecAD, PredictDataset
from anomalib.deploy import ExportType, OpenVINOInferencer, TorchInferencer
from anomalib.engine import Engine
from anomalib.models import get_model
from anomalib.models.image.patchcore.lightning_model import Patchcore

from promptad.integrations.anomalib import Promptad

CLASS = "carpet"
SEED = 5
KEPT = {"good": 4, "hole": 3, "metal_contamination": 3}  # test pictures of each kind
EXACT = 1e-6  # of scores in [0, 1]: anomalib has them in float32
ENGINE = 1e-3  # of another engine, which rounds a grey level between two otherwise


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of MVTec AD's layout with a small carpet."""
    folder = tmp_path_factory.mktemp("anomalib")
    drawn = make_demo_class(folder / "mvtec", CLASS)
    for kind in (drawn / "test").iterdir():
        for number, path in enumerate(sorted(kind.glob("*.png"))):
            if number >= KEPT.get(kind.name, 0):
                path.unlink()
                (drawn / "ground_truth" / kind.name / f"{path.stem}_mask.png").unlink(missing_ok=True)
    return folder


def mvtec(root: Path, **options: Any) -> MVTecAD:
    return MVTecAD(root=root / "mvtec", category=CLASS, num_workers=0, eval_batch_size=4, **options)


def engine(folder: Path) -> Engine:
    return Engine(default_root_dir=folder, logger=False, accelerator="cpu", enable_progress_bar=False)


@pytest.fixture(scope="module")
def fitted(root: Path) -> tuple[Promptad, Engine, MVTecAD]:
    """The model by its name, the engine that has fitted it, and its data."""
    model, data = get_model("promptad", k_shot=2, seed=SEED, backbone="tiny"), mvtec(root)
    own = engine(root / "results")
    own.fit(model, datamodule=data)
    return model, own, data


@pytest.fixture(scope="module")
def ours(root: Path) -> PromptAD:
    """The same without anomalib."""
    normal = sorted((root / "mvtec" / CLASS / "train" / "good").glob("*.png"))
    settings = Settings()
    settings = replace(settings, training=replace(settings.training, seed=SEED))
    return PromptAD(CLASS, backbone="tiny", settings=settings).fit(choose_support(normal, 2, SEED))


def pictures(root: Path) -> list[Path]:
    return sorted((root / "mvtec" / CLASS / "test").rglob("*.png"))


def by_path(batches: Any, name: str) -> dict[str, Any]:
    """A value of each image of predicted batches, by its path."""
    return {path: own for batch in batches for path, own in zip(batch.image_path, getattr(batch, name), strict=True)}


def test_scores_labels_and_maps_are_ours(fitted: tuple[Promptad, Engine, MVTecAD], ours: PromptAD, root: Path) -> None:
    model, own, data = fitted
    batches = own.predict(model, datamodule=data)
    expected = ours.predict(pictures(root))
    scores, labels = by_path(batches, "pred_score"), by_path(batches, "pred_label")
    assert len(scores) == len(expected) == sum(KEPT.values())
    assert np.allclose([float(scores[str(one.path)]) for one in expected], expected.score, rtol=0, atol=EXACT)
    assert [bool(labels[str(one.path)]) for one in expected] == [one.label == "anomaly" for one in expected]
    assert len(set(expected.label)) == 2  # both occur
    side = model.model.backbone.image_encoder.image_size
    maps = by_path(batches, "anomaly_map")
    for one in expected:
        resized = torch.nn.functional.interpolate(torch.from_numpy(one.anomaly_map)[None, None], side, mode="bilinear")
        assert torch.allclose(maps[str(one.path)], resized[0, 0], atol=1e-5)


def test_a_folder_is_predicted(fitted: tuple[Promptad, Engine, MVTecAD], ours: PromptAD, root: Path) -> None:
    folder = root / "mvtec" / CLASS / "test" / "hole"
    batches = fitted[1].predict(fitted[0], dataset=PredictDataset(path=folder))
    scores = by_path(batches, "pred_score")
    assert np.allclose([float(scores[str(one.path)]) for one in ours.predict(folder)], ours.predict(folder).score)


def test_it_is_measured(fitted: tuple[Promptad, Engine, MVTecAD]) -> None:
    model, own, data = fitted
    own.validate(model, datamodule=data)
    (measured,) = own.test(model, datamodule=data)
    assert measured["image_AUROC"] > 0.9
    assert measured["pixel_AUROC"] > 0.9
    assert set(measured) == {"image_AUROC", "image_F1Score", "pixel_AUROC", "pixel_F1Score"}


def test_neither_labels_nor_pictures_of_the_test_split_reach_it(
    fitted: tuple[Promptad, Engine, MVTecAD], root: Path, tmp_path: Path
) -> None:
    """The same train split beside another test split, all of whose labels are wrong, gives the same checkpoint."""
    train = tmp_path / CLASS / "train"
    train.parent.mkdir()
    train.symlink_to(root / "mvtec" / CLASS / "train")
    for kind, other in (("good", "hole"), ("hole", "good")):
        (tmp_path / CLASS / "test" / kind).mkdir(parents=True)
        for path in sorted((root / "mvtec" / CLASS / "test" / other).glob("*.png"))[:2]:
            (tmp_path / CLASS / "test" / kind / path.name).write_bytes(path.read_bytes())
    data = Folder(
        name="wrong",
        root=tmp_path / CLASS,
        normal_dir="train/good",
        abnormal_dir="test/hole",
        normal_test_dir="test/good",
        num_workers=0,
    )
    model = Promptad(CLASS, k_shot=2, seed=SEED, backbone="tiny")
    engine(tmp_path / "results").fit(model, datamodule=data)
    model.save(tmp_path / "wrong.pt")
    fitted[0].save(tmp_path / "right.pt")
    assert (tmp_path / "wrong.pt").read_bytes() == (tmp_path / "right.pt").read_bytes()


def test_abnormal_train_images_are_left_out() -> None:
    model = Promptad(CLASS, backbone="tiny")
    labels = np.array([0, 1, 0, -1])
    samples = SimpleNamespace(image_path=np.array(["a.png", "b.png", "c.png", "d.png"]), label_index=labels)
    model._trainer = SimpleNamespace(train_dataloader=SimpleNamespace(dataset=SimpleNamespace(samples=samples)))
    assert {path.name for path in model.support_images()} == {"a.png", "c.png", "d.png"}


def test_a_checkpoint_is_plain_and_small_and_brings_all_back(
    fitted: tuple[Promptad, Engine, MVTecAD], ours: PromptAD, root: Path, tmp_path: Path
) -> None:
    data = fitted[2]
    path = Path(next((root / "results").rglob("model.ckpt")))
    content = torch.load(path, weights_only=True)
    assert not any(name.startswith("model.") for name in content["state_dict"])
    loaded = Promptad.load_from_checkpoint(path)
    assert (loaded.k_shot, loaded.settings) == (2, fitted[0].settings)
    expected = dict(zip(map(str, pictures(root)), ours.predict(pictures(root)).score, strict=True))
    for model, checkpoint in ((loaded, None), (Promptad(backbone="tiny"), path)):
        scores = by_path(engine(tmp_path).predict(model, datamodule=data, ckpt_path=checkpoint), "pred_score")
        assert np.allclose([float(scores[name]) for name in expected], list(expected.values()), rtol=0, atol=EXACT)


def test_it_is_saved_for_promptad(
    fitted: tuple[Promptad, Engine, MVTecAD], ours: PromptAD, root: Path, tmp_path: Path
) -> None:
    fitted[0].save(tmp_path / "carpet.pt")
    loaded = PromptAD.load(tmp_path / "carpet.pt")
    assert np.array_equal(loaded.predict(pictures(root)).score, ours.predict(pictures(root)).score)


@pytest.mark.parametrize("kind", [ExportType.ONNX, ExportType.OPENVINO])
def test_exports_give_the_same_scores(
    kind: ExportType,
    fitted: tuple[Promptad, Engine, MVTecAD],
    ours: PromptAD,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # the inferencer leaves a cache
    exported = fitted[1].export(fitted[0], kind, export_root=tmp_path)
    inferencer = OpenVINOInferencer(exported, device="CPU", config={"INFERENCE_PRECISION_HINT": "f32"})
    names = [output.get_names() for output in inferencer.model.outputs]
    assert names == [{"pred_score"}, {"pred_label"}, {"anomaly_map"}, {"pred_mask"}]  # of several it takes any
    for one in ours.predict(pictures(root)):
        found = inferencer.predict(one.path)
        assert float(found.pred_score.squeeze()) == pytest.approx(one.score, abs=ENGINE)
        assert bool(found.pred_label.squeeze()) == (one.label == "anomaly")
        assert found.anomaly_map.squeeze().shape == found.pred_mask.squeeze().shape


def test_the_torch_export_gives_the_same_scores(
    fitted: tuple[Promptad, Engine, MVTecAD],
    ours: PromptAD,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRUST_REMOTE_CODE", "1")
    inferencer = TorchInferencer(fitted[1].export(fitted[0], ExportType.TORCH, export_root=tmp_path), device="cpu")
    for one in ours.predict(pictures(root)):
        found = inferencer.predict(one.path)
        assert float(found.pred_score) == pytest.approx(one.score, abs=EXACT)


def test_a_memory_bank_is_learned_saved_and_exported(root: Path, tmp_path: Path) -> None:
    model, own = Promptad(k_shot=1, backbone="tiny", memory_bank=True), engine(tmp_path)
    own.fit(model, datamodule=mvtec(root))
    model.save(tmp_path / "carpet.pt")
    scores = by_path(own.predict(model, datamodule=mvtec(root)), "pred_score")
    for one in PromptAD.load(tmp_path / "carpet.pt").predict(pictures(root)):
        assert float(scores[str(one.path)]) == pytest.approx(one.score, abs=EXACT)
    assert own.export(model, ExportType.ONNX, export_root=tmp_path).is_file()


def test_all_train_images_are_the_support_images_without_k_shot(root: Path) -> None:
    model, data = Promptad(backbone="tiny"), mvtec(root)
    data.setup("fit")
    model._trainer = SimpleNamespace(train_dataloader=data.train_dataloader(), datamodule=data)
    assert len(model.support_images()) == len(data.train_data)
    assert model.name_of_part() == CLASS


def test_mistakes_are_said_in_words(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has learned nothing yet"):
        engine(tmp_path).predict(Promptad(backbone="tiny"), datamodule=mvtec(root))
    with pytest.raises(InputError, match="`n_pro` 0"):
        Promptad(backbone="tiny", n_pro=0)
    with pytest.raises(InputError, match="`k_shot` 1000 needs 1000 normal pictures"):
        engine(tmp_path).fit(Promptad(backbone="tiny", k_shot=1000), datamodule=mvtec(root))
    nameless = Promptad(backbone="tiny")
    nameless._trainer = SimpleNamespace(datamodule=None)
    with pytest.raises(InputError, match="give `class_name`"):
        nameless.name_of_part()


def test_their_models_take_the_same_data_module_afterwards(
    fitted: tuple[Promptad, Engine, MVTecAD], tmp_path: Path
) -> None:
    own, data = engine(tmp_path), fitted[2]
    patchcore = Patchcore(backbone="resnet18", pre_trained=False, coreset_sampling_ratio=0.01)
    own.fit(patchcore, datamodule=data)
    (measured,) = own.test(patchcore, datamodule=data)
    assert 0 <= measured["image_AUROC"] <= 1


def test_the_command_line_fits_it(root: Path, tmp_path: Path) -> None:
    words = ["fit", "--model", "promptad.integrations.anomalib.Promptad", "--model.k_shot", "1"]
    words += ["--model.backbone", "tiny", "--data", "anomalib.data.MVTecAD", "--data.root", str(root / "mvtec")]
    words += ["--data.category", CLASS, "--data.num_workers", "0", "--default_root_dir", str(tmp_path / "results")]
    words += ["--trainer.accelerator", "cpu", "--trainer.logger", "false"]
    code = "from anomalib.cli.cli import main; main()"
    command = [sys.executable, "-c", code, *words]
    found = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 0, found.stderr[-2000:]
    assert Promptad.load_from_checkpoint(next(tmp_path.rglob("model.ckpt"))).model.learned.class_name == CLASS
