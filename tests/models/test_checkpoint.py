"""Invalid checkpoints: the command line reports why, and train-all replaces them."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import (
    CHECKPOINT,
    LIGHT,
    ONLY_CARPET,
    Own,
    Trained,
    assert_refused,
    call,
    contents,
    empty,
    only_row,
    read_checkpoint,
    refusal,
    shorten,
    without_seconds,
)

from promptad.backbones.clip import Backbone
from promptad.estimator import PromptAD
from promptad.models.checkpoint import is_backbone_of
from promptad.settings import Settings
from promptad.structures import Prediction


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seed", "5"), ("no checkpoint", "CLS-Seed_5-carpet", "train the class first")),
        (("--checkpoint", "none.pt"), ("no checkpoint none.pt",)),
        (("--n_pro", "4"), ("--n_pro 4", "was trained with 3")),
        (("--backbone", "ViT-B-32"), ("--backbone ViT-B-32", "was trained with tiny")),
        (("--Epoch", "3"), ("--epochs 3", "was trained with 2")),
    ],
)
def test_settings_that_differ_from_the_checkpoint_are_refused(
    copied: Trained, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    before = contents(copied.results)
    assert_refused(call("test", *copied.arguments, *arguments), *words)
    assert contents(copied.results) == before


def upstream(file: Path) -> None:
    galleries = {"feature_gallery1": torch.zeros(4, 128), "feature_gallery2": torch.zeros(4, 128)}
    torch.save({"text_features": torch.zeros(2, 128), **galleries}, file)


def newer(file: Path) -> None:
    torch.save(read_checkpoint(file) | {"format_version": 99}, file)


def other_weights(file: Path) -> None:
    torch.save(read_checkpoint(file) | {"weights_sha256": "0" * 64}, file)


def foreign(file: Path) -> None:
    torch.save({"state_dict": torch.zeros(3)}, file)


def pickled(file: Path) -> None:
    file.write_bytes(pickle.dumps({"a": 1}, protocol=2))


def pickled_in_a_newer_protocol(file: Path) -> None:
    file.write_bytes(pickle.dumps({"a": 1}))


def text(file: Path) -> None:
    file.write_text(".hello\n")  # the unpickler stops at a full stop


def flip_a_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    place = data.index(read_checkpoint(file)["abnormal_prototypes"].numpy().tobytes()) + 1000
    data[place] ^= 0xFF
    file.write_bytes(data)


def incomplete(file: Path) -> None:
    checkpoint = read_checkpoint(file)
    del checkpoint["centre"]
    torch.save(checkpoint, file)


def without_version(file: Path) -> None:
    checkpoint = read_checkpoint(file)
    torch.save({"format": checkpoint["format"]}, file)


def strange_settings(file: Path) -> None:
    checkpoint = read_checkpoint(file)
    checkpoint["settings"]["prompts"]["colour"] = 1
    torch.save(checkpoint, file)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shorten, ("truncated or no checkpoint", "train the class again")),
        (empty, ("truncated or no checkpoint", "train the class again")),
        (pickled, ("no checkpoint", "train the class again")),
        (foreign, ("no checkpoint of promptad", "train the class again")),
        (upstream, ("single-anchor PromptAD", "feature_gallery1", "train the class again")),
        (newer, ("format version 99", "install a newer promptad")),
        (other_weights, ("trained on other weights of tiny", "train again")),
        pytest.param(pickled_in_a_newer_protocol, ("no checkpoint", "train the class again")),
        pytest.param(text, ("no checkpoint", "train the class again")),
        pytest.param(flip_a_byte, ("no checkpoint", "train the class again")),
        pytest.param(incomplete, ("train the class again",)),
        (without_version, ("incomplete", "train the class again")),
        pytest.param(strange_settings, ("train the class again",)),
    ],
)
def test_an_invalid_checkpoint_is_refused(
    copied: Trained, spoil: Callable[[Path], None], words: tuple[str, ...]
) -> None:
    spoil(copied.folder / CHECKPOINT.format("carpet"))
    before = contents(copied.results)
    assert_refused(call("test", *copied.arguments), *words)
    assert contents(copied.results) == before


@pytest.mark.parametrize("spoil", [shorten, pickled, foreign, upstream, newer, pytest.param(text)])
def test_train_all_replaces_an_invalid_checkpoint(copied: Trained, drawn: Path, spoil: Callable[[Path], None]) -> None:
    checkpoint, row = copied.folder / CHECKPOINT.format("carpet"), only_row(copied.folder)
    spoil(checkpoint)
    command = ("train-all", "--dataset", "demo", "--data-root", drawn, "--root-dir", copied.results, *LIGHT)
    assert call(*command, "--save-diagnostics", "False", *ONLY_CARPET).code == 0
    assert read_checkpoint(checkpoint)["class_name"] == "carpet"
    assert without_seconds(only_row(copied.folder)) == without_seconds(row)


def test_a_checkpoint_of_another_class_is_refused(copied: Trained) -> None:
    checkpoint = copied.folder / CHECKPOINT.format("carpet")
    before = contents(copied.results)
    outcome = call("test", *copied.arguments, "--class-name", "grid", "--checkpoint", checkpoint)
    assert_refused(outcome, "carpet", "grid")
    assert contents(copied.results) == before


Spoil = Callable[[dict[str, Any]], None]


def put(*path: str, value: object) -> Spoil:
    """Put a value at a path of a checkpoint's content."""

    def spoil(content: dict[str, Any]) -> None:
        for name in path[:-1]:
            content = content[name]
        content[path[-1]] = value

    return spoil


def edit(*path: str, change: Callable[[Any], Any]) -> Spoil:
    """Change the value at a path of a checkpoint's content."""

    def spoil(content: dict[str, Any]) -> None:
        for name in path[:-1]:
            content = content[name]
        content[path[-1]] = change(content[path[-1]])

    return spoil


def set_first(number: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        changed = tensor.clone()
        changed.view(-1)[0] = number
        return changed

    return change


NAN, INFINITY = float("nan"), float("inf")
TENSORS = (
    *(("normal_prototypes",), ("abnormal_prototypes",), ("centre",), ("normal_share",), ("abnormal_share",)),
    *(("calibration", name) for name in ("normal_offsets", "class_mean", "class_std", "patch_mean", "map_std")),
    *(("calibration", name) for name in ("image_level", "map_level", "image_spread", "map_spread")),
    *(("vocabulary", name) for name in ("directions", "mean", "std")),
    *(("memory", name) for name in ("first", "second", "patch_mean", "map_std", "map_weight", "weights")),
    *(("likeness", name) for name in ("samples", "limit")),
)


@pytest.mark.parametrize("number", [NAN, INFINITY, -INFINITY])
@pytest.mark.parametrize("path", [*TENSORS, ("normal_scores", "image")])
def test_a_number_that_is_none_is_refused(path: tuple[str, ...], number: float, tmp_path: Path) -> None:
    change = set_first(number) if path[0] != "normal_scores" else lambda pair: [number, pair[1]]
    message = refusal_of(edit(*path, change=change), tmp_path)
    assert f"({'.'.join(path)} holds numbers that are NaN or infinite)" in message


@pytest.mark.parametrize("path", TENSORS)
@pytest.mark.parametrize(
    "change",
    [lambda tensor: tensor[None], lambda tensor: tensor.tolist(), lambda tensor: tensor.long(), lambda _: None],
    ids=["axis", "list", "integers", "nothing"],
)
def test_a_tensor_of_another_kind_is_refused(
    path: tuple[str, ...], change: Callable[[Any], Any], tmp_path: Path
) -> None:
    assert f"({path[-1]} " in refusal_of(edit(*path, change=change), tmp_path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (edit("normal_prototypes", change=lambda t: t[:-1]), "normal_prototypes has shape [2, 128], not [3, 128]"),
        (
            edit("abnormal_prototypes", change=lambda t: t[:, :64]),
            "abnormal_prototypes has shape [6, 64], not [6, 128]",
        ),
        (edit("calibration", "class_mean", change=lambda t: t[:2]), "class_mean has shape [2], not [6]"),
        (edit("vocabulary", "phrases", change=lambda phrases: phrases[:-1]), "no phrases or no groups"),
        (edit("calibration", "map_std", change=torch.zeros_like), "calibration.map_std is not above 0"),
        (put("calibration", "image_spread", value=torch.tensor(-1.0)), "calibration.image_spread is not above 0"),
        (put("memory", "layer_3", value=torch.zeros(4, 192)), "its memory bank has 3 layers"),
        (put("memory", "weights", value=torch.ones(3)), "weights has shape [3], not [4]"),
        (put("likeness", "samples", value=torch.zeros(4, 3)), "samples has shape [4, 3], not [any, 128]"),
        (put("likeness", "limit", value=torch.tensor(0.0)), "likeness.limit is not above 0"),
        (put("normal_scores", "peak_scores", value=0.5), "normal_scores.peak_scores is no list of scores"),
        (put("normal_scores", "peak_scores", value=["1", "2"]), "normal_scores.peak_scores is no list of scores"),
        (put("normal_scores", "peak_scores", value=[0.5]), "normal_scores has 2 image scores, but 1 of maps"),
        (put("memory", value=torch.zeros(3)), "memory is no mapping"),
        (put("normal_scores", "image", value=[1.0]), "normal_scores.image is no location and scale"),
        (put("class_name", value=7), "class_name is no text"),
        (put("support_images", value="000.png"), "support_images is no list of names"),
    ],
)
def test_content_that_does_not_agree_is_refused(spoil: Spoil, words: str, tmp_path: Path) -> None:
    assert words in refusal_of(spoil, tmp_path)


def refusal_of(spoil: Spoil, tmp_path: Path) -> str:
    """The message where a spoilt checkpoint is loaded."""
    content = torch.load(Path(__file__).parent / "format_7" / "multi_prototype_memory.pt", weights_only=True)
    spoil(content)
    torch.save(content, tmp_path / "spoilt.pt")
    message = refusal(PromptAD.load, tmp_path / "spoilt.pt")
    assert message.endswith("train the class again")
    return message


@pytest.mark.slow
def test_a_damaged_detector_passes_nothing_as_good(own: Own, tmp_path: Path) -> None:
    content = torch.load(own.part / "detector.pt", weights_only=True)
    content["calibration"]["class_mean"][0] = NAN
    torch.save(content, tmp_path / "detector.pt")
    outcome = call("predict", tmp_path / "detector.pt", own.new, "--output", tmp_path / "out", "--fail-on-anomaly")
    assert_refused(outcome, "calibration.class_mean holds numbers that are NaN or infinite")


def test_a_score_that_is_no_number_is_never_good() -> None:
    scores = np.array([0.0, NAN, 2.0])
    assert Prediction(scores, np.zeros((3, 1, 1)), scores, threshold=1.0).label == ("good", "anomaly", "anomaly")


def test_a_loaded_backbone_is_shared_only_by_detectors_that_read_it_alike(tiny: Backbone) -> None:
    checkpoint = {"settings": Settings(backbone=tiny.settings), "weights_sha256": tiny.weights_sha256}
    assert is_backbone_of(checkpoint, tiny)
    for change in ({"memory_layers": (0.5,)}, {"precision": "bfloat16"}, {"resize": 64}):
        other = Settings(backbone=replace(tiny.settings, **change))
        assert not is_backbone_of(checkpoint | {"settings": other}, tiny)
    assert not is_backbone_of(checkpoint | {"weights_sha256": "0" * 64}, tiny)
