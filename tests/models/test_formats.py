"""Checkpoints of this format and of older ones load and predict what they predicted when they were written.

Those of `format_8` are made by its `make.py`; the others were, by the promptad of then.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from promptad import PromptAD
from promptad.models import distances
from promptad.models.multi_prototype.detector import MultiPrototypeDetector

OLDEST, OLDER, LAST, FOLDER = (Path(__file__).parent / f"format_{number}" for number in (5, 6, 7, 8))
NAMES = ("multi_prototype", "multi_prototype_memory", "single_anchor")
TAUGHT = "multi_prototype_memory_taught"


@pytest.mark.parametrize(
    ("folder", "name"),
    [*((folder, name) for folder in (OLDEST, OLDER, LAST, FOLDER) for name in NAMES), (FOLDER, TAUGHT)],
)
def test_a_checkpoint_predicts_what_it_did(folder: Path, name: str) -> None:
    with np.load(folder / "images.npz") as saved, np.load(folder / f"{name}.npz") as predicted:
        images, expected = list(saved["images"]), dict(predicted)
    system = "single-anchor" if name == "single_anchor" else "multi-prototype"
    prediction = PromptAD.load(folder / f"{name}.pt", system=system).predict(images)
    for found, then in (
        (prediction.score, expected["score"]),
        (prediction.raw_score, expected["raw"]),
        (prediction.anomaly_map, expected["map"]),
    ):
        np.testing.assert_allclose(found, then, rtol=1e-4, atol=1e-4)  # processors add in different orders
    assert prediction.threshold == (float(expected["threshold"]) if "threshold" in expected else None)


@pytest.mark.parametrize("name", [*NAMES, TAUGHT])
def test_a_checkpoint_is_written_again_unchanged(name: str, tmp_path: Path) -> None:
    system = "single-anchor" if name == "single_anchor" else "multi-prototype"
    PromptAD.load(FOLDER / f"{name}.pt", system=system).save(tmp_path / "again.pt")
    before, after = (torch.load(file, weights_only=True) for file in (FOLDER / f"{name}.pt", tmp_path / "again.pt"))
    assert_same(after, before)


def test_words_of_a_checkpoint_of_format_4_count_as_much_as_its_memory(tmp_path: Path) -> None:
    content = torch.load(OLDEST / "multi_prototype_memory.pt", weights_only=True)
    content["format_version"] = 4
    for name in ("fusion", "far_views", "position_share"):
        del content["settings"]["scoring"][name]
    for name in ("class_token_weight", "patches_weight"):
        del content["memory"][name]
    torch.save(content, tmp_path / "old.pt")
    detector = PromptAD.load(tmp_path / "old.pt").detector
    assert isinstance(detector, MultiPrototypeDetector)
    memory, scoring = detector.head.memory, detector.settings.scoring
    assert memory is not None
    assert (float(memory.class_token_weight), float(memory.patches_weight), float(memory.map_weight)) == (1, 1, 1)
    assert (scoring.fusion, scoring.far_views, scoring.position_share) == ("sum", False, 0)
    assert (scoring.memory_distances, scoring.top_share) == (("nearest",), 0)
    assert memory.bank.weights.tolist() == [0.5, 0.5]
    assert detector.head.likeness is None
    assert detector.findings() == ()
    assert detector.settings.training.weights.reaction == 0


def test_a_head_is_a_module_of_buffers() -> None:
    detector = PromptAD.load(FOLDER / "multi_prototype_memory.pt").detector
    assert isinstance(detector, MultiPrototypeDetector)
    state = detector.head.state_dict()
    assert {name.split(".")[0] for name in state} == {
        *("_prototypes", "_calibration", "_states", "_layers", "_memory", "_likeness", "_thresholds"),
    }
    assert list(detector.head.parameters()) == []
    assert {tensor.dtype for tensor in detector.head.to(torch.float64).state_dict().values()} == {torch.float64}


def test_the_graph_of_a_head_scores_any_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    with np.load(FOLDER / "images.npz") as saved:
        images = list(saved["images"])
    detector = PromptAD.load(FOLDER / "multi_prototype_memory.pt").detector
    assert isinstance(detector, MultiPrototypeDetector)
    features = detector.encode(images)
    inputs = (
        features.class_token.clone(),
        features.patch_tokens.clone(),
        *(layer.clone() for layer in features.layers),
    )
    monkeypatch.setattr(distances, "MAX_COSINES", 1)  # one image at a time, but not in a graph
    any_number = {0: torch.export.Dim("images", min=1, max=1000)}
    shapes = (any_number, any_number, (any_number,) * len(features.layers))
    graph = torch.export.export(detector.head, inputs, dynamic_shapes=shapes).module()
    scores = detector.score(features)
    for count in (1, 3):
        image, patches = graph(*(tensor[:count] for tensor in inputs))
        torch.testing.assert_close(image, scores.image[:count])
        torch.testing.assert_close(patches, scores.patches[:count])


def assert_same(found: object, expected: object) -> None:
    """Two trees of plain data and tensors are equal to the bit."""
    assert type(found) is type(expected)
    if isinstance(expected, dict) and isinstance(found, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert_same(found[name], value)
    elif isinstance(expected, torch.Tensor) and isinstance(found, torch.Tensor):
        assert torch.equal(found, expected)
    else:
        assert found == expected
