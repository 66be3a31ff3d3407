"""The words nearest to each prototype."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import Own, Trained, read_lines
from random_parts import make_prototypes, make_support, random_units

from promptad.backbones.clip import Backbone
from promptad.models.multi_prototype.explain import StateDirections
from promptad.models.multi_prototype.names import abnormal_names, normal_names
from promptad.models.multi_prototype.prototypes import Prototypes
from promptad.prompts.encode import TEMPLATES, encode_texts

GROUPS = [["{} with hole", "punctured {}"], ["{}  with scratch"], ["dirty {}"]]


def test_an_abnormal_prototype_is_named_by_the_states_it_is_nearest_to() -> None:
    prototypes = make_prototypes()
    features = [random_units(len(group), seed=20 + number) for number, group in enumerate(GROUPS)]
    states = StateDirections.calibrated(GROUPS, features, prototypes, make_support())
    mixed = F.normalize(states.directions[1] + 0.5 * states.directions[3], dim=0)
    found = abnormal_names(replace(prototypes, abnormal=torch.stack([states.directions[2], mixed])), states)
    assert found[0].words[0] == "with scratch"
    assert found[0].cosine == pytest.approx(1)
    likeness = {
        phrase: float(mixed @ direction) for phrase, direction in zip(states.phrases, states.directions, strict=True)
    }
    other = max(("with scratch", "dirty"), key=lambda phrase: likeness[phrase])  # "with hole" means the same
    assert found[1].words == ("punctured", other)
    assert found[1].cosine == pytest.approx(max(likeness.values()))


def test_a_normal_prototype_is_named_by_the_prompt_it_is_nearest_to(tiny: Backbone) -> None:
    phrases = [f"{TEMPLATES[4]} metal nut", "a perfect metal nut"]
    normal = encode_texts(tiny, [f"{phrase}." for phrase in phrases])
    pairs = encode_texts(tiny, ["a photo of a metal nut with hole."]).expand(2, 1, -1)
    prototypes = Prototypes.from_features(normal, pairs)
    found = normal_names(tiny, "metal_nut", prototypes)
    assert [name.words for name in found] == [(phrase,) for phrase in phrases]
    assert [name.cosine for name in found] == pytest.approx([1, 1], abs=1e-4)


def test_names_are_saved_with_the_diagnostics_and_printed(trained: Trained) -> None:
    (file,) = (trained.folder / "diagnostics").glob("*.json")
    names = json.loads(file.read_text())["prototype_words"]
    assert [len(names[side]) for side in ("normal", "abnormal")] == [3, 6]
    for side in ("normal", "abnormal"):
        for number, name in enumerate(names[side], 1):
            assert -1 <= name["cosine"] <= 1
            assert f"{side} {number}: {name['words'][0][:20]}" in trained.outcome.output
    assert all("carpet" in name["words"][0] for name in names["normal"])
    assert len({name["words"][0] for name in names["abnormal"]}) > 1


def test_lines_of_predictions_tell_what_the_named_prototype_is_nearest_to(own: Own, trained: Trained) -> None:
    del trained
    names = json.loads((own.part / "diagnostics.json").read_text())["prototype_words"]["abnormal"]
    output = own.new.parent / "named"
    own.lines(output)
    for line in (line for line in read_lines(output) if "error" not in line):
        explained = line["explanation"]
        assert explained["prototype_words"] == ", ".join(names[explained["prototype"] - 1]["words"])
    assert np.isfinite([name["cosine"] for name in names]).all()
