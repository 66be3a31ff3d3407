"""The list of backbones: what it says is so, and measuring takes random weights."""

import pytest
import timm
import torch
from helpers import call
from open_clip.pretrained import _PRETRAINED

from promptad.backbones import catalogue
from promptad.backbones.architectures import find_architecture, known_architectures
from promptad.backbones.catalogue import (
    UNKNOWN_LICENCE,
    count_parameters,
    entries,
    licence_of,
    memory_entries,
    seconds_a_picture,
)
from promptad.settings import MEMORY_BACKBONES


def test_each_architecture_that_is_read_has_an_entry_and_tiny_comes_first() -> None:
    found = entries()
    assert [own.name for own in found] == ["tiny", *(own.name for own in known_architectures())]
    assert len(found) > 70
    by_name = {own.name: own for own in found}
    siglip, core = by_name["ViT-B-16-SigLIP2"], by_name["PE-Core-L-14-336"]
    assert (siglip.image_size, siglip.patches, siglip.dimensions, siglip.tags) == (224, 196, 768, ("webli",))
    assert (siglip.patch_reading, siglip.shares_beginnings, siglip.needs_transformers) == (
        "its attention pool",
        False,
        True,
    )
    assert (core.patches, core.shares_beginnings, core.needs_transformers) == (576, True, False)
    assert by_name["EVA02-B-16"].patch_reading == by_name["ViT-L-14"].patch_reading == "a local path"
    assert by_name["ViT-B-32-quickgelu"].licences == ("MIT", "CC BY-NC 4.0")


def test_every_tag_that_is_listed_has_a_licence() -> None:
    tags = {tag for own in known_architectures() for tag in _PRETRAINED.get(own.name, {})}
    assert {tag for tag in tags if licence_of(tag) == UNKNOWN_LICENCE} == set()


@pytest.mark.parametrize("name", ["ViT-S-32-alt", "PE-Core-T-16-384", "EVA02-B-16"])
def test_the_numbers_of_parameters_are_counted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (known,) = [own for own in entries(name) if own.name == name]
    assert known.parameters == count_parameters(find_architecture(name))
    monkeypatch.setattr(catalogue, "_counted", dict)
    assert next(own for own in entries(name) if own.name == name).parameters == known.parameters


def test_a_backbone_is_measured_without_its_weights() -> None:
    assert 0 < seconds_a_picture("tiny", torch.device("cpu")) < 30


def test_the_command_lists_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("promptad.cli.commands.backbones.seconds_a_picture", lambda *_: 0.125)
    complete, some = call("backbones"), call("backbones", "--like", "b-16-siglip2", "--measure", "--use-cpu", "1")
    assert complete.code == some.code == 0
    assert "ViT-S-32-alt" not in complete.output  # it has no known weights
    assert {"EVA02-B-16", "tiny", "PE-Core-B-16"} <= set(complete.output.split())
    assert "s/picture" not in complete.output
    assert "ViT-B-16-SigLIP2-512" in some.output
    assert "tiny" not in some.output.split()
    assert some.output.count("0.125") == 4
    assert "a file of yours" in call("backbones", "--like", "S-32-alt").output


def test_a_terminal_of_80_columns_folds_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = call("backbones").output.split()
    assert {own.name for own in entries() if own.tags} | set(MEMORY_BACKBONES) <= set(words)


@pytest.mark.parametrize("name", ["dinov2-small", "dinov3-base"])
def test_a_memory_backbone_is_listed_as_it_is(name: str) -> None:
    (entry,) = memory_entries(name)
    with torch.device("meta"):
        model = timm.create_model(entry.timm_name, num_classes=0)
    assert entry.timm_name == MEMORY_BACKBONES[name]
    assert entry.dimensions == model.embed_dim
    assert entry.parameters == round(sum(weight.numel() for weight in model.parameters()) / 1e6, 1)
    assert entry.licence == ("Apache 2.0" if "v2" in name else "DINOv3 License")
    assert name in call("backbones", "--like", name).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--measure",), "--measure builds each backbone: give a part of the names by --like"),
        (("--like", "resnet"), "--like resnet: no backbone that can be read has this in its name"),
    ],
)
def test_what_cannot_be_listed_is_refused(arguments: tuple[str, ...], message: str) -> None:
    refused = call("backbones", *arguments)
    assert refused.code == 2
    assert message in refused.errors
