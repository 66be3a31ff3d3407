"""What is written into which file, what is shared, and what is refused."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from exported import DETECTORS, SIDE, carpets, expected, support, trained
from helpers import assert_refused, call, refusal
from scipy.stats import spearmanr

from promptad import PromptAD
from promptad.export import base
from promptad.export.base import ExportOptions
from promptad.export.onnx import LARGEST_FILE, to_bytes
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.registry import recalibrated
from promptad.models.support import encode_support
from promptad.runtime.metadata import DETECTOR, HEAD, KEY, TOWER, ExportedText
from promptad.runtime.session import Session, TowerSession

MEMORY = "multi-prototype+memory"


def text_of(path: Path) -> ExportedText:
    properties = {one.key: one.value for one in onnx.load(path).metadata_props}
    return ExportedText.from_json(properties[KEY], path)


def test_a_file_tells_what_it_needs_and_no_names_of_pictures(tmp_path: Path) -> None:
    detector = trained(MEMORY).detector
    (path,) = trained(MEMORY).export(tmp_path / "carpet.onnx").files
    text, known = text_of(path), detector.metadata
    assert text.kind == DETECTOR
    assert text.known is not None
    assert text.known.threshold == known.threshold
    assert (text.known.class_name, text.known.phrases, text.known.groups) == ("carpet", known.phrases, known.groups)
    assert (text.known.image_size, text.known.resize, text.known.weights_sha256) == (SIDE, SIDE, known.weights_sha256)
    assert text.known.settings == known.settings
    assert text.known.false_alarm_range == known.false_alarm_range
    assert known.support_images
    assert text.known.support_images == ()
    onnx.checker.check_model(onnx.load(path), full_check=True)


def test_a_graph_alone_decides_by_uint8_squares(tmp_path: Path) -> None:
    trained(MEMORY).export(tmp_path / "carpet.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "carpet.onnx")  # type: ignore[attr-defined]
    ((given, kind, shape),) = [(own.name, own.type, own.shape) for own in session.get_inputs()]
    assert (given, kind, shape[1:]) == ("images", "tensor(uint8)", [SIDE, SIDE, 3])
    squares = np.stack([np.asarray(image.resize((SIDE, SIDE), 3)) for image in carpets()])
    outputs = dict(zip([own.name for own in session.get_outputs()], session.run(None, {given: squares}), strict=True))
    known = expected(trained(MEMORY).detector)
    assert outputs.keys() == known.keys()
    np.testing.assert_array_equal(outputs["is_anomalous"], known["is_anomalous"])
    np.testing.assert_array_equal(outputs["prototype"], known["prototype"])


def test_several_heads_share_one_tower_which_is_written_once(tmp_path: Path) -> None:
    tower = tmp_path / "tower.onnx"
    first = trained(MEMORY).export(tmp_path / "first.onnx", tower=tower)
    assert first.files == (tmp_path / "first.onnx", tower)
    before = hashlib.sha256(tower.read_bytes()).hexdigest()
    second = trained("single-anchor").export(tmp_path / "second.onnx", tower=tower)
    assert second.files == (tmp_path / "second.onnx",)
    assert hashlib.sha256(tower.read_bytes()).hexdigest() == before
    assert (text_of(tower).kind, text_of(tmp_path / "first.onnx").kind) == (TOWER, HEAD)
    assert (tmp_path / "second.onnx").stat().st_size < 0.1 * tower.stat().st_size
    shared = TowerSession(tower)
    for name, system in (("first", MEMORY), ("second", "single-anchor")):
        found = Session(tmp_path / f"{name}.onnx", tower=shared).predict(carpets())
        np.testing.assert_allclose(found.score, expected(trained(system).detector)["score"], rtol=0, atol=1e-5)


def test_a_head_finds_its_tower_only_beside_it_and_takes_no_other(tmp_path: Path) -> None:
    trained(MEMORY).export(tmp_path / "head.onnx", tower=tmp_path / "tower.onnx")
    moved = (tmp_path / "head.onnx").rename(tmp_path / "elsewhere.onnx")
    Session(moved)
    (tmp_path / "tower.onnx").rename(tmp_path / "other.onnx")
    assert "needs its image encoder, tower.onnx, beside it" in refusal(Session, moved)
    Session(moved, tower=tmp_path / "other.onnx")
    (tmp_path / "half").mkdir()
    trained(MEMORY).export(tmp_path / "half" / "head.onnx", precision="float16", tower=tmp_path / "half" / "tower.onnx")
    message = refusal(Session, moved, tower=tmp_path / "half" / "tower.onnx")
    assert "belongs to a tower with precision float32" in message
    message = refusal(trained(MEMORY).export, tmp_path / "x.onnx", tower=tmp_path / "half" / "tower.onnx")
    assert "has precision float16, the detector float32" in message
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize(("name", "suffix"), [(MEMORY, ".onnx"), (MEMORY, ".xml"), ("single-anchor+memory", ".onnx")])
def test_int8_is_calibrated_on_the_support_images_and_says_what_it_changed(
    name: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"int8{suffix}"
    exported = trained(name).export(path, precision="int8", good=support())
    assert sum(file.stat().st_size for file in exported.files) < 7e6  # in float32 it has more than 11
    change, known = exported.change, expected(trained(name).detector)
    found = Session(path).predict(carpets())
    assert change is not None
    assert 0 < change.score < 0.2
    assert spearmanr(found.raw_score, known["raw_score"]).statistic > 0.9
    assert np.abs(found.score - known["score"]).max() < 0.2
    if name == MEMORY:
        assert change.rank_correlation > 0.9
        assert change.views == 2 * 4 + 16  # views, and disturbed ones
        assert "decisions differ" in change.in_words()
        assert found.threshold != trained(name).detector.metadata.threshold
    else:
        assert change.decisions is None


@pytest.mark.parametrize("name", ["multi-prototype", MEMORY])
def test_calibrated_anew_on_the_same_features_a_detector_is_as_before(name: str) -> None:
    detector = trained(name).detector
    assert isinstance(detector, MultiPrototypeDetector)
    again = recalibrated(detector, encode_support(detector.backbone, support(), detector.settings))
    assert isinstance(again, MultiPrototypeDetector)
    for part in ("calibration", "thresholds", "likeness"):
        for field, number in vars(getattr(detector.head, part)).items():
            torch.testing.assert_close(getattr(getattr(again.head, part), field), number, rtol=0.02, atol=2e-3)
    features = detector.encode(carpets())
    torch.testing.assert_close(again.score(features).image, detector.score(features).image, rtol=0.02, atol=0.05)


def test_other_pictures_than_the_support_images_are_refused(tmp_path: Path) -> None:
    estimator = trained(MEMORY)
    assert "give them by `good`" in refusal(estimator.export, tmp_path / "c.onnx", precision="int8")
    others = [*support()[:1], carpets()[0]]
    message = refusal(estimator.export, tmp_path / "c.onnx", precision="int8", good=others)
    assert "learned from 2 other pictures" in message
    assert "unknown precision" in refusal(estimator.export, tmp_path / "c.onnx", precision="int4")
    assert list(tmp_path.iterdir()) == []


def test_a_tower_has_a_file_of_the_same_kind_and_its_own(tmp_path: Path) -> None:
    estimator = trained("multi-prototype")
    for tower in ("c.xml", "c.onnx"):
        assert "`tower`" in refusal(estimator.export, tmp_path / "c.onnx", tower=tmp_path / tower)
    message = refusal(estimator.export, tmp_path / "c.safetensors", tower=tmp_path / "t.onnx")
    assert "leave out `precision` and `tower`" in message


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    settings = DETECTORS["multi-prototype"]
    settings = replace(settings, backbone=replace(settings.backbone, resize=SIDE - 8))  # whose graph no test has traced
    estimator = PromptAD("carpet", settings=settings).fit(support())
    with monkeypatch.context() as patch:
        patch.setattr(base, "import_module", missing)
        message = refusal(estimator.export, tmp_path / "c.onnx")
    assert message == "onnxscript is not installed: pip install onnx onnxscript onnxruntime"
    assert list(tmp_path.iterdir()) == []


def test_a_graph_too_large_for_its_file_is_refused() -> None:
    class Large:
        def ByteSize(self) -> int:  # noqa: N802 as the package calls it
            return LARGEST_FILE

    assert "lower `precision`" in refusal(to_bytes, Large())


def test_the_command_exports_beside_the_checkpoint_and_names_what_comes_next(tmp_path: Path) -> None:
    trained("multi-prototype").save(tmp_path / "carpet.pt")
    outcome = call("export", tmp_path / "carpet.pt")
    assert outcome.code == 0, outcome.errors
    assert f"written: {tmp_path / 'carpet.onnx'}, 1" in outcome.output
    assert f"python -m promptad.runtime predict {tmp_path / 'carpet.onnx'} PICTURES" in outcome.output
    (good := tmp_path / "good").mkdir()
    for number, image in enumerate(support()):
        image.save(good / f"{number}.png")
    PromptAD("carpet", settings=trained("multi-prototype").settings).fit(sorted(good.iterdir())).save(
        tmp_path / "own.pt"
    )
    carpets()[0].save(good / "another.png")
    options = ("--to", "openvino", "--precision", "int8", "--good", good)
    outcome = call("export", tmp_path / "own.pt", *options)
    assert outcome.code == 0, outcome.errors
    assert "int8 against float32 on 24 views" in outcome.output
    assert {path.name for path in tmp_path.glob("own.*")} == {"own.pt", "own.xml", "own.bin"}
    (good / "0.png").unlink()
    assert_refused(call("export", tmp_path / "own.pt", *options), "--good: 0.png", "not among them")


def test_the_command_refuses_what_does_not_agree(tmp_path: Path) -> None:
    trained("single-anchor").save(tmp_path / "carpet.pt")
    carpet = ("export", tmp_path / "carpet.pt")
    assert_refused(call(*carpet, "--to", "tflite"), "unknown to", "onnx, openvino, safetensors")
    assert_refused(call(*carpet, "--to", "onnx", "--output", tmp_path / "c.xml"), "end its name in .onnx")
    assert_refused(call(*carpet), "single-anchor")
    single = ("--system", "single-anchor")
    outcome = call(*carpet, *single, "--to", "safetensors", "--false-alarm-rate", "0.1")
    assert outcome.code == 0, outcome.errors
    assert "left out, for the single-anchor system has no such thing: --false-alarm-rate" in outcome.output
    assert {path.name for path in tmp_path.iterdir()} == {"carpet.pt", "carpet.safetensors"}


def test_a_rate_at_export_moves_the_threshold_in_the_file(tmp_path: Path) -> None:
    trained("multi-prototype").save(tmp_path / "carpet.pt")
    assert call("export", tmp_path / "carpet.pt", "--false-alarm-rate", "0.2").code == 0
    known = text_of(tmp_path / "carpet.onnx").known
    assert known is not None
    assert known.settings.scoring.false_alarm_rate == 0.2
    usual = trained("multi-prototype").detector.metadata.threshold
    assert known.threshold is not None
    assert usual is not None
    assert known.threshold < usual


def test_a_text_that_is_cut_or_newer_is_refused_in_one_line(tmp_path: Path) -> None:
    trained("multi-prototype").export(path := tmp_path / "carpet.onnx")
    model = onnx.load(path)
    whole = json.loads(model.metadata_props[0].value)

    def refused(**changes: object) -> str:
        model.metadata_props[0].value = json.dumps({**whole, **changes})
        onnx.save(model, path)
        return refusal(Session, path)

    assert "export version 2, this promptad reads up to 1" in refused(format_version=2)
    assert "no exported detector" in refused(format="resnet")
    assert "does not tell all that is needed" in refused(detector={})
    assert "does not tell all" in refused(detector={**whole["detector"], "phrases": []})
    del model.metadata_props[:]
    onnx.save(model, path)
    assert "is no exported detector" in refusal(Session, path)
    assert ExportOptions().precision == "float32"
