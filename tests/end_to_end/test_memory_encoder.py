"""From demo data to decisions with a memory backbone: train, predict, test, export; in torch and without it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import CHECKPOINT, LIGHTEST, Outcome, assert_refused, call, only_row, read_lines
from little_vit import LITTLE, write_weights

from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.registry import load_detector
from promptad.results.table import HASH_DIGITS
from promptad.runtime.session import Session

SMALL = ("--backbone", "tiny", "--img-resize", "48")
SIZE = 80  # pixels that the memory backbone is given


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "little.safetensors")


@pytest.fixture(scope="module")
def learned(drawn: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """The checkpoint of a carpet, and what its training said."""
    results = tmp_path_factory.mktemp("with_memory")
    data = ("--dataset", "demo", "--data-root", drawn, "--class-name", "carpet", "--root-dir", results)
    memory = ("--memory-bank", "True", "--memory-backbone", LITTLE, "--memory-pretrained", weights)
    outcome = call("train", *data, *LIGHTEST, *SMALL, *memory, "--memory-size", str(SIZE))
    assert outcome.code == 0, outcome.errors
    return results / "demo" / "k_2" / CHECKPOINT.format("carpet"), outcome


@pytest.fixture(scope="module")
def exported(learned: tuple[Path, Outcome]) -> Path:
    output = learned[0].with_name("carpet.onnx")
    outcome = call("export", learned[0], "--output", output)
    assert outcome.code == 0, outcome.errors
    return output


@pytest.fixture(scope="module")
def detector(learned: tuple[Path, Outcome]) -> MultiPrototypeDetector:
    found = load_detector(learned[0], torch.device("cpu"))
    assert isinstance(found, MultiPrototypeDetector)
    return found


def test_the_row_of_its_results_names_both_weights(
    learned: tuple[Path, Outcome], detector: MultiPrototypeDetector
) -> None:
    row, memory = only_row(learned[0].parent.parent), detector.backbone.memory
    assert memory is not None
    assert row["weights"] == detector.backbone.weights_sha256[:HASH_DIGITS]
    assert row["memory_weights"] == memory.weights_sha256[:HASH_DIGITS] != row["weights"]


def test_predictions_are_the_same_without_torch(
    learned: tuple[Path, Outcome], exported: Path, drawn: Path, tmp_path: Path
) -> None:
    pictures = drawn / "demo" / "carpet" / "test"
    for name, place in (("torch", learned[0]), ("onnx", exported)):
        outcome = call("predict", place, pictures, "--output", tmp_path / name)
        assert outcome.code == 0, outcome.errors
    ours, theirs = (read_lines(tmp_path / name) for name in ("torch", "onnx"))
    assert len(ours) == len(theirs) > 3
    for one, other in zip(ours, theirs, strict=True):
        assert other["decision"] == one["decision"]
        assert other["score"] == pytest.approx(one["score"], abs=1e-4)


def test_maps_and_the_memorys_term_are_the_same_without_torch(
    detector: MultiPrototypeDetector, exported: Path, drawn: Path
) -> None:
    images = sorted((drawn / "demo" / "carpet" / "test").glob("*/*.png"))[:5]
    session = Session(exported)
    found, known = session.predict(images, 2), detector.predict(images)
    np.testing.assert_allclose(found.anomaly_map, known.anomaly_map, rtol=0, atol=1e-4)
    terms = [np.array([one.memory for one in of.explanations], float) for of in (found, known)]
    np.testing.assert_allclose(terms[0], terms[1], rtol=1e-4, atol=1e-3)
    assert session.metadata.memory == detector.metadata.memory
    assert session.metadata.memory is not None
    assert (session.metadata.memory.image_size, session.metadata.memory.backbone) == (SIZE, LITTLE)
    with pytest.raises(ValueError, match=r"takes \[N, 8704, 3\] uint8"):
        session.run(np.zeros((1, 48, 48, 3), np.uint8))


@pytest.mark.slow
def test_a_shared_tower_holds_both_encoders(detector: MultiPrototypeDetector, drawn: Path, tmp_path: Path) -> None:
    from promptad.export.base import ExportOptions  # noqa: PLC0415
    from promptad.export.registry import export  # noqa: PLC0415

    images = sorted((drawn / "demo" / "carpet" / "test").glob("*/*.png"))[:2]
    options = ExportOptions(tower=tmp_path / "tower.onnx", precision="float16")
    export(detector, tmp_path / "carpet.onnx", options)
    session = Session(tmp_path / "carpet.onnx")
    assert session.tower is not None
    assert session.tower.tower.memory == detector.metadata.memory
    np.testing.assert_allclose(session.predict(images).score, detector.predict(images).score, rtol=0, atol=0.02)


@pytest.mark.slow
def test_an_engine_computes_both_encoders(learned: tuple[Path, Outcome], drawn: Path, tmp_path: Path) -> None:
    pictures = drawn / "demo" / "carpet" / "test" / "good"
    for engine in ("torch", "onnxruntime"):
        outcome = call("predict", learned[0], pictures, "--output", tmp_path / engine, "--engine", engine)
        assert outcome.code == 0, outcome.errors
    ours, theirs = (read_lines(tmp_path / engine) for engine in ("torch", "onnxruntime"))
    assert [line["score"] for line in theirs] == pytest.approx([line["score"] for line in ours], abs=1e-4)


def test_it_is_not_made_of_8_bit_integers(learned: tuple[Path, Outcome], drawn: Path, tmp_path: Path) -> None:
    good = drawn / "demo" / "carpet" / "train" / "good"
    asked = ("--precision", "int8", "--good", good, "--output", tmp_path / "carpet.onnx")
    assert_refused(call("export", learned[0], *asked), "--precision int8", "memory backbone", "take float16")


def test_weights_that_have_moved_are_named(
    learned: tuple[Path, Outcome], weights: Path, drawn: Path, tmp_path: Path
) -> None:
    pictures = drawn / "demo" / "carpet" / "test" / "good"
    asked = ("predict", learned[0], pictures, "--output", tmp_path / "out")
    moved = weights.rename(tmp_path / "moved.safetensors")
    try:
        assert_refused(call(*asked), "--memory-pretrained", "no such file")
        assert call(*asked, "--memory-pretrained", moved).code == 0
    finally:
        moved.rename(weights)
    other = write_weights(tmp_path / "other.safetensors", shift=0.1)
    assert_refused(call(*asked, "--memory-pretrained", other), "was trained on other weights", "--memory-pretrained")


def test_options_that_do_not_fit_are_refused(drawn: Path, tmp_path: Path) -> None:
    data = (
        "train",
        "--dataset",
        "demo",
        "--data-root",
        drawn,
        "--class-name",
        "carpet",
        "--root-dir",
        tmp_path,
        *SMALL,
    )
    memory = ("--memory-backbone", LITTLE)
    assert_refused(call(*data, *memory), "--memory-backbone", "switch that on, by --memory-bank True")
    baseline = ("--memory-bank", "True", "--system", "single-anchor", "--epochs", "1")
    assert_refused(call(*data, *memory, *baseline), "--memory-backbone", "the single-anchor baseline is CLIP's own")
    assert_refused(call(*data, "--memory-size", "224"), "--memory-size 224 is of a --memory-backbone: name one")
    wrong = (*memory, "--memory-bank", "True", "--memory-size", "100")
    assert_refused(call(*data, *wrong), "--memory-size 100", "needs a multiple of 16, such as 96 or 112")
