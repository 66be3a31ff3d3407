"""The grid of a sweep: what is typed, its points, their folders, and what is refused."""

import pytest
from helpers import assert_refused, call, refusal

from promptad.cli.grid import grid_points
from promptad.cli.parser import parse
from promptad.utils.file_names import is_file_name


def points(*words: str) -> list[tuple[dict[str, str], str]]:
    """The values in words and the folder of each point of a typed grid."""
    _, given = parse(["sweep", *words])
    return [(dict(point.values), point.folder) for point in grid_points(given)]


def test_a_grid_holds_every_combination_the_first_option_slowest() -> None:
    assert points("--n_pro", "1,3", "--k-shot", "1-2", "--lr", "0.1") == [
        ({"n_pro": "1", "k_shot": "1"}, "n_pro_1-k_shot_1"),
        ({"n_pro": "1", "k_shot": "2"}, "n_pro_1-k_shot_2"),
        ({"n_pro": "3", "k_shot": "1"}, "n_pro_3-k_shot_1"),
        ({"n_pro": "3", "k_shot": "2"}, "n_pro_3-k_shot_2"),
    ]


def test_every_point_has_its_own_value_and_the_common_ones() -> None:
    _, given = parse(["sweep", "--memory-bank", "True,False", "--tiles", "2x3", "--lr", "0.1"])
    first, second = (point.given for point in grid_points(given))
    assert (first["memory_bank"], second["memory_bank"]) == (True, False)
    assert {first["lr"], second["lr"]} == {0.1}
    assert first["tiles"] == (2, 3)


def test_a_switch_alone_is_one_value() -> None:
    _, given = parse(["sweep", "--memory-bank", "--n_pro", "1,2"])
    assert (given["memory_bank"], given["grid"]) == (True, {"n_pro": (1, 2)})
    _, given = parse(["sweep", "--no-memory-bank", "--n_pro", "1,2"])
    assert given["memory_bank"] is False


def test_lists_are_values_that_are_given_again() -> None:
    found = points("--states", "with hole, bent", "--states", "with hole", "--tiles", "2x2,auto")
    assert [values["states"] for values, _ in found[::2]] == ["with hole, bent", "with hole"]
    assert [values["tiles"] for values, _ in found[:2]] == ["2x2", "auto"]
    folders = [folder for _, folder in found]
    assert len(set(folders)) == 4
    assert all(is_file_name(folder) and "," not in folder for folder in folders)


def test_values_that_look_alike_in_a_folders_name_do_not_share_it() -> None:
    long = "with " + "very " * 20
    found = points(
        *(word for states in ("a, b", "a b", f"{long}small", f"{long}large") for word in ("--states", states))
    )
    folders = [folder for _, folder in found]
    assert len(set(folders)) == 4
    assert max(map(len, folders)) < 80


def test_what_one_method_lacks_is_left_out_of_its_points_alone() -> None:
    _, given = parse(["sweep", "--system", "multi-prototype,single-anchor", "--views", "4", "--lambda1", "0.1"])
    ours, baseline = (point.given for point in grid_points(given))
    assert (ours.get("views"), ours.get("lambda1")) == (4, None)
    assert (baseline.get("views"), baseline.get("lambda1")) == (None, 0.1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing varies: give a setting several values, by commas, such as --n_pro 1,3,5"),
        (("--n_pro", "3"), "nothing varies"),
        (("--n_pro", "1", "--n_pro", "1"), "--n_pro 1, 1: give each value once"),
        (("--n_pro", "0,1"), "--n_pro 0: must be a whole number of at least 1"),
        (("--lambda1", "0.1,0.2"), "--lambda1 0.1: the multi-prototype system has no such thing"),
        (("--n_pro", "1-40", "--n_pro_ab", "1-40"), "1600 settings are too many: at most 1000"),
        (("--n_pro", "1,2", "--select", "test-oracle"), "--select test-oracle: a sweep lets no test label choose"),
        (("--select", "last,test-oracle"), "--select test-oracle: a sweep lets no test label choose"),
        (("--n_pro", "1,2", "--seed", "3"), "did you mean --seeds?"),
        (("--n_pro", "1,2", "--classes", "carpet,nothere"), "nothere"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(words: tuple[str, ...], said: str) -> None:
    assert_refused(call("sweep", "--dataset", "demo", *words), said)


def test_a_refused_point_names_settings_not_flags() -> None:
    _, given = parse(["sweep"])
    assert refusal(grid_points, given).endswith("`n_pro` 1,3,5")
