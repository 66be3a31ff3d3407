"""Invalid checkpoints: the command line reports why, and train-all replaces them."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import (
    CHECKPOINT,
    LIGHT,
    ONLY_CARPET,
    Trained,
    assert_refused,
    call,
    contents,
    empty,
    only_row,
    read_checkpoint,
    shorten,
    without_seconds,
)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seed", "5"), ("no checkpoint", "CLS-Seed_5-carpet", "train the class first")),
        (("--checkpoint", "none.pt"), ("no checkpoint none.pt",)),
        (("--n_pro", "4"), ("--n_pro 4", "was trained with 3")),
        (("--backbone", "ViT-B-32"), ("--backbone ViT-B-32", "was trained with tiny")),
        (("--Epoch", "3"), ("--Epoch 3", "was trained with 2")),
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
        (upstream, ("single-anchor PromptAD", "feature_gallery1", "train again: promptad train")),
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
