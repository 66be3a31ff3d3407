"""The built-in states: the classes they cover, and the form of their phrases."""

import json
import re
from pathlib import Path

import pytest

import promptad

STATES = json.loads((Path(promptad.__path__[0]) / "prompts" / "states.json").read_text(encoding="utf-8"))
MVTEC = "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile toothbrush transistor wood zipper"
VISA = "candle capsules cashew chewinggum fryum macaroni1 macaroni2 pcb1 pcb2 pcb3 pcb4 pipe_fryum"


def bare(phrase: str) -> str:
    """The phrase without words that do not change its meaning."""
    return re.sub(r"\b(a|an|the) ", "", phrase.lower())


def test_the_states_cover_the_classes_of_both_data_sets() -> None:
    assert set(STATES) == {"generic", "mvtec", "visa", "names"}
    assert set(STATES["mvtec"]) == set(MVTEC.split())
    assert set(STATES["visa"]) == set(VISA.split())
    assert set(STATES["names"]) < set(VISA.split()) | set(MVTEC.split())


def test_every_class_has_a_few_groups_of_a_few_phrases() -> None:
    assert 6 <= len(STATES["generic"]) <= 8
    assert all(2 <= len(phrases) <= 4 for phrases in STATES["generic"].values())
    for dataset in ("mvtec", "visa"):
        for groups in STATES[dataset].values():
            assert 4 <= len(groups) <= 8
            assert all(1 <= len(phrases) <= 3 for phrases in groups.values())


@pytest.mark.parametrize("dataset", ["mvtec", "visa"])
def test_phrases_hold_one_placeholder_and_do_not_repeat(dataset: str) -> None:
    for groups in STATES[dataset].values():
        parts = (*STATES["generic"].values(), *groups.values())
        phrases = [phrase for part in parts for phrase in part]
        assert all(phrase.count("{}") == 1 and set(re.findall(r"[{}]", phrase)) == {"{", "}"} for phrase in phrases)
        assert all(re.fullmatch(r"[a-z{} ]+", phrase) and phrase == " ".join(phrase.split()) for phrase in phrases)
        assert len({bare(phrase) for phrase in phrases}) == len(phrases)
