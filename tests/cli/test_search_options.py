"""What is typed of a search: its space, the setting that it starts from, and what is refused."""

from typing import Any

import pytest
from helpers import assert_refused, call

from promptad.cli.parser import parse
from promptad.cli.search import check_search, first_values, search_space
from promptad.results.search import Range

SEARCH = ("--search", "optuna", "--trials", "5", "--dataset", "demo")
TUNED = (*SEARCH, "--tune-on", "grid")


def space_of(*words: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The space of a typed search, and the values that it starts from."""
    _, given = parse(["sweep", *SEARCH, *words])
    space = search_space(given)
    return dict(space), first_values(given, space)


def test_ranges_and_values_are_told_apart() -> None:
    space, _ = space_of("--lr", "0.0005:0.01:log", "--n_pro", "2:5", "--n_pro_ab", "2-4", "--trust", "0.5")
    assert space == {"lr": Range(0.0005, 0.01, log=True), "n_pro": Range(2, 5), "n_pro_ab": (2, 3, 4)}
    assert isinstance(space["n_pro"].low, int)
    assert str(space["lr"]) == "0.0005:0.01:log"


def test_per_cent_make_a_range_too() -> None:
    space, _ = space_of("--false-alarm-rate", "0.1%:5%")
    assert space["false_alarm_rate"] == Range(0.001, 0.05)


def test_a_search_starts_from_the_default_the_lower_end_or_the_first_value() -> None:
    _, first = space_of("--lr", "0.0005:0.01", "--turn", "10:30", "--trust", "0.2:0.8", "--n_pro_ab", "8,6")
    assert first == {"lr": 0.002, "turn": 10.0, "trust": 0.2, "n_pro_ab": 8}


def test_numbers_are_rounded_and_stay_in_their_range() -> None:
    assert Range(0.0005, 0.01).rounded(0.0026036020039) == 0.002604
    assert Range(0.12344, 0.2).rounded(0.12344) == 0.12344
    assert Range(0.1, 0.199999).rounded(0.1999989) == 0.199999
    assert repr(Range(2, 5).rounded(3)) == "3"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--trials", "5", "--n_pro", "1,3"), "--trials 5 is of a search: add --search optuna"),
        (("--tune-on", "grid,screw", "--n_pro", "1,3"), "--tune-on grid, screw is of a search"),
        (("--search-seed", "0", "--n_pro", "1,3"), "--search-seed 0 is of a search"),
        (("--lr", "0.001:0.01"), "--lr 0.001:0.01 is a range, which only a search looks through: add --search optuna"),
        ((*TUNED, "--n_pro", "1,3", "--workers", "2"), "--workers 2: a search tries one setting after another"),
        ((*TUNED, "--n_pro", "1,3", "--cluster", "auto"), "--cluster auto: a search tries one setting after another"),
        ((*TUNED, "--n_pro", "3"), "nothing varies: give a setting a range, such as --lr 0.0005:0.01:log"),
        ((*TUNED, "--lr", "0.1:0.1"), "--lr 0.1:0.1: one value is no range"),
        ((*TUNED, "--lr", "0.1:0.01"), "--lr 0.1:0.01: the lower end comes first, such as 0.01:0.1"),
        ((*TUNED, "--lr", "0:0.1:log"), "--lr 0.0:0.1:log: 0.0 has no logarithm"),
        ((*TUNED, "--lr", "0.1:nan"), "both ends of a range must be numbers"),
        ((*TUNED, "--lr", "0.1:x"), "argument --lr: invalid float value: '0.1:x'"),
        ((*TUNED, "--lr", "0.1:0.2:lin"), "argument --lr: invalid float value"),
        ((*TUNED, "--lr", "0.1:0.2", "--lr", "0.3"), "--lr 0.1:0.2, 0.3: give one range alone"),
        ((*TUNED, "--n_pro", "2", "--n_pro", "2"), "--n_pro 2, 2: give each value once"),
        ((*TUNED, "--n_pro", "2:500"), "--n_pro 500: must be at most 100"),
        ((*TUNED, "--lambda1", "0.1:0.2"), "--lambda1 0.1: the multi-prototype system has no such thing"),
        (
            (*TUNED, "--system", "single-anchor,multi-prototype", "--lambda1", "0.1:0.2"),
            "--lambda1 0.1: the multi-prototype system has no such thing",
        ),
        ((*SEARCH, "--lr", "0.1:0.2"), "name other classes by --tune-on, or take --tune-on test-oracle"),
        ((*TUNED, "--lr", "0.1:0.2", "--classes", "carpet,grid"), "grid: in --tune-on and in --classes"),
        ((*SEARCH, "--lr", "0.1:0.2", "--tune-on", "grid,test-oracle"), "give test-oracle alone, or classes"),
        ((*SEARCH, "--lr", "0.1:0.2", "--tune-on", "grid,grid"), "--tune-on grid, grid: give each class once"),
        ((*SEARCH, "--lr", "0.1:0.2", "--tune-on", "gird"), "did you mean grid?"),
        ((*TUNED, "--lr", "0.1:0.2", "--select", "test-oracle"), "a sweep lets no test label choose"),
        ((*TUNED, "--lr", "0.1:0.2", "--objective", "auroc"), 'unknown objective: "auroc"'),
        ((*TUNED, "--lr", "0.1:0.2", "--trials", "1"), "--trials 1: must be from 2"),
        ((*TUNED, "--lr", "0.1:0.2", "--search-seed", "-1"), "--search-seed -1: must be a whole number from 0"),
        (("--search", "optuna", "--lr", "0.1:0.2"), "--trials is missing"),
        (("--search", "grid", "--lr", "0.1:0.2"), 'unknown search: "grid"; choose from optuna'),
    ],
)
def test_a_search_that_cannot_be_is_refused(words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptad.cli.search.check_optuna", lambda: None)  # what is asked for last
    assert_refused(call("sweep", "--dataset", "demo", *words), said)


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptad.engine.proposals.find_spec", lambda _: None)
    outcome = call("sweep", *TUNED, "--lr", "0.1:0.2")
    assert_refused(outcome, 'Optuna is not installed: pip install "promptad[optuna]"')


def test_a_search_that_can_be_is_not_refused() -> None:
    pytest.importorskip("optuna", reason="Optuna is not installed")
    _, given = parse(["sweep", *TUNED, "--lr", "0.1:0.2", "--classes", "carpet"])
    check_search(given)
