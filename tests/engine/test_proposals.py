"""Proposals: the same seed and numbers give the same ones, in their ranges, from the first setting on."""

from typing import Any

import pytest

from promptad.engine.proposals import RANDOM_TRIALS, Proposals, Space
from promptad.results.search import Range

pytest.importorskip("optuna", reason="Optuna is not installed")

SPACE: Space = {"lr": Range(0.0005, 0.01, log=True), "n_pro": Range(2, 5), "tiles": ((1, 1), None)}
FIRST = {"lr": 0.00212345, "n_pro": 3, "tiles": None}


def proposed(count: int, seed: int = 0, failed: int = -1, *, lower_is_better: bool = False) -> list[dict[str, Any]]:
    """The values that are proposed where a low n_pro gives a high number."""
    proposals = Proposals(SPACE, FIRST, seed, lower_is_better=lower_is_better)
    found = []
    for number in range(count):
        found.append(proposals.ask())
        proposals.tell(None if number == failed else 100.0 - 10 * found[-1]["n_pro"] - found[-1]["lr"])
    return found


def test_the_first_setting_comes_first_and_all_stay_in_their_ranges() -> None:
    found = proposed(20)
    assert found[0] == FIRST
    assert all(0.0005 <= own["lr"] <= 0.01 and 2 <= own["n_pro"] <= 5 for own in found)
    assert {own["tiles"] for own in found} == {None, (1, 1)}
    assert all(isinstance(own["n_pro"], int) for own in found)
    assert all(own["lr"] == float(f"{own['lr']:.4g}") for own in found[1:])


def test_a_longer_search_begins_as_a_shorter_one_and_another_seed_differs() -> None:
    short = RANDOM_TRIALS + 3
    assert proposed(short) == proposed(short + 6)[:short]
    assert proposed(short, seed=1) != proposed(short)


def test_what_is_told_moves_the_proposals_its_way() -> None:
    higher, lower = (proposed(40, lower_is_better=asked)[20:] for asked in (False, True))
    means = [sum(own["n_pro"] for own in found) / len(found) for found in (higher, lower)]
    assert means[0] < 3
    assert means[1] > 4


def test_a_setting_that_cannot_be_tried_does_not_stop_the_others() -> None:
    assert len(proposed(12, failed=3)) == 12
