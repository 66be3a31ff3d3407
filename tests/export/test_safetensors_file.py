"""The safetensors export: every buffer of the head, and what is needed to use it."""

import json
from pathlib import Path

import pytest
import torch
from helpers import refusal
from safetensors import safe_open

from promptad import PromptAD
from promptad.export.base import Exported, ExportOptions
from promptad.export.registry import EXPORTERS, export
from promptad.models.base import AnomalyDetector

FORMAT_7 = Path(__file__).parents[1] / "models" / "format_7"


@pytest.mark.parametrize("name", ["multi_prototype_memory", "single_anchor"])
def test_the_file_holds_the_state_of_the_head_and_its_settings(name: str, tmp_path: Path) -> None:
    system = "single-anchor" if name == "single_anchor" else "multi-prototype"
    estimator = PromptAD.load(FORMAT_7 / f"{name}.pt", system=system)
    estimator.export(tmp_path / "carpet.safetensors")
    with safe_open(tmp_path / "carpet.safetensors", "pt") as file:
        found, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118 not a dict
    expected = {key.lstrip("_"): value for key, value in estimator.detector.head.state_dict().items()}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert json.loads(metadata["settings"]) == json.loads(json.dumps(estimator.settings_.to_dict()))
    assert json.loads(metadata["subject"])["class_name"] == "carpet"
    assert metadata["weights_sha256"] == estimator.detector.backbone.weights_sha256


def test_an_unknown_suffix_is_refused_with_those_there_are(tmp_path: Path) -> None:
    estimator = PromptAD.load(FORMAT_7 / "multi_prototype.pt")
    assert ".safetensors" in refusal(estimator.export, tmp_path / "carpet.tflite")
    assert list(tmp_path.iterdir()) == []


def test_a_format_is_one_line_in_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_names(detector: AnomalyDetector, path: Path, _: ExportOptions) -> Exported:
        path.write_text("\n".join(detector.head.state_dict()))
        return Exported((path,))

    monkeypatch.setitem(EXPORTERS, ".txt", write_names)
    export(PromptAD.load(FORMAT_7 / "multi_prototype.pt").detector, tmp_path / "carpet.txt")
    assert "_prototypes.normal" in (tmp_path / "carpet.txt").read_text().splitlines()
