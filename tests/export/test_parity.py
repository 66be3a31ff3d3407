"""An exported detector gives the same numbers as the detector, whatever the engine and the size of a batch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exported import DETECTORS, carpets, expected, head_of, support, trained
from train_speed import random_backbone

from promptad.export.base import ExportOptions
from promptad.export.registry import export
from promptad.models.base import AnomalyDetector, Subject, TrainTask
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.multi_prototype.teaching import confirm, new_verdicts
from promptad.models.registry import train
from promptad.models.support import encode_support
from promptad.runtime.engines import ONNXRUNTIME, OPENVINO
from promptad.runtime.session import Session
from promptad.settings import Settings, TrainingSettings
from promptad.structures import GOOD

# Largest differences of scores and maps in [0, 1]. A memory bank's distances are differences of cosines near 1, which
# float32 holds to 6e-8, divided by their small deviation: its own scores are as far from those in float64.
TOLERANCE, MEMORY_TOLERANCE = (1e-6, 1e-5), (1e-5, 3e-5)
SMALL = 80  # pixels a side, 25 patches: all else is as wide and as deep as it is
ENGINES = [(".onnx", ONNXRUNTIME), (".onnx", OPENVINO), (".xml", OPENVINO)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exported")


def assert_parity(session: Session, detector: AnomalyDetector, batch: int) -> None:
    """Scores, maps, decisions and explanations of a session are those of the detector."""
    known = expected(detector)
    images = carpets()[:batch]
    found = session.predict(images, batch)
    score, of_map = MEMORY_TOLERANCE if detector.settings.scoring.memory else TOLERANCE
    np.testing.assert_allclose(found.score, known["score"][:batch], rtol=0, atol=score)
    np.testing.assert_allclose(found.anomaly_map, known["anomaly_map"][:batch], rtol=0, atol=of_map)
    np.testing.assert_allclose(found.raw_score, known["raw_score"][:batch], rtol=1e-4, atol=1e-4)
    assert found.threshold == detector.metadata.threshold
    if found.threshold is not None:
        reference = detector.predict(images)
        assert found.label == reference.label
        assert [one.nearest_states for one in found.explanations] == [
            one.nearest_states for one in reference.explanations
        ]
        assert [one.prototype for one in found.explanations] == [one.prototype for one in reference.explanations]


@pytest.mark.parametrize("batch", [1, 5, 12])
@pytest.mark.parametrize(("suffix", "engine"), ENGINES)
@pytest.mark.parametrize("name", DETECTORS)
def test_a_head_and_its_tower_give_the_numbers_of_tiny(
    name: str, suffix: str, engine: str, batch: int, folder: Path
) -> None:
    session = Session(head_of(name, suffix, folder), engine=engine)
    assert_parity(session, trained(name).detector, batch)


@pytest.mark.parametrize("name", ["multi-prototype", "multi-prototype+memory"])
def test_a_taught_detector_decides_the_same_without_torch(name: str, tmp_path: Path) -> None:
    detector, images = trained(name).detector, carpets()
    assert isinstance(detector, MultiPrototypeDetector)
    passed = [image for image, label in zip(images, detector.predict(images).label, strict=True) if label == GOOD]
    taught = confirm(detector, new_verdicts(detector, passed[1:3], passed[:1]))
    export(taught, tmp_path / "taught.onnx", ExportOptions())
    session = Session(tmp_path / "taught.onnx")
    found, reference = session.predict(images), taught.predict(images)
    np.testing.assert_allclose(found.score, reference.score, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.anomaly_map, reference.anomaly_map, rtol=0, atol=1e-4)
    assert found.label == reference.label
    assert session.metadata.defects == ("",)
    like = [why.reason == "like the defect number 1" for why in found.explanations]
    assert like == [why.reason == "like the defect in image 1" for why in reference.explanations]
    assert any(like)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_one_whole_file_gives_them_too_and_half_precision_halves_it(suffix: str, tmp_path: Path) -> None:
    name = "multi-prototype"
    sizes = {}
    for precision in ("float32", "float16"):
        path = tmp_path / f"{precision}{suffix}"
        files = trained(name).export(path, precision=precision).files
        assert {file.suffix for file in files} == ({".onnx"} if suffix == ".onnx" else {".xml", ".bin"})
        sizes[precision] = sum(file.stat().st_size for file in files)
    assert sizes["float16"] < 0.6 * sizes["float32"]
    assert_parity(Session(tmp_path / f"float32{suffix}"), trained(name).detector, 12)
    half = Session(tmp_path / f"float16{suffix}").predict(carpets())
    np.testing.assert_allclose(half.score, expected(trained(name).detector)["score"], rtol=0, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "suffix"), [("multi-prototype+memory", ".onnx")])  # others by `tiny`
def test_a_vit_of_a_true_architecture_gives_them_too(name: str, suffix: str, tmp_path: Path) -> None:
    detector = random_vit(DETECTORS[name])
    export(detector, path := tmp_path / f"carpet{suffix}")
    for engine in (None, OPENVINO):
        for batch in (1, 5, 12):
            assert_parity(Session(path, engine=engine), detector, batch)


def random_vit(settings: Settings) -> AnomalyDetector:
    """A detector on a ViT-S-16 with random weights, with its starting words."""
    backbone = random_backbone("ViT-S-16", image_size=SMALL)
    training = TrainingSettings(epochs=0, views=2)
    settings = replace(settings, backbone=backbone.settings, training=training)
    task = TrainTask(Subject("demo", "carpet", (), ""), encode_support(backbone, support(), settings), settings)
    (start,) = next(train(backbone, [task]))
    return start.final_detector()
