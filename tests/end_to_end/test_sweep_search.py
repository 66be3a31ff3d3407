"""The search of a sweep: chosen by classes that are not reported, resumed, killed, and the same with the same seed."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers import LIGHTEST, Outcome, assert_refused, call

from promptad.cli.commands import search as search_command
from promptad.engine import finished
from promptad.engine.context import RunContext
from promptad.reports.sweep import files
from promptad.results.search import CHOSEN_BY_REPORTED
from promptad.results.table import read_results

pytest.importorskip("optuna", reason="Optuna is not installed")
pytestmark = pytest.mark.slow

TRIALS = 3
RANGES = ("--search", "optuna", "--lr", "0.0005:0.5:log", "--n_pro", "1:4", "--objective", "p_pro")
TUNED = ("--tune-on", "carpet", "--classes", "grid")


@dataclass(frozen=True)
class Searched:
    """A finished search, tuned on the carpet and reported on the grid; tests only read it."""

    root: Path
    outcome: Outcome


@pytest.fixture(scope="module")
def searched(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    root = tmp_path_factory.mktemp("searched")
    outcome = search(drawn, root)
    assert (outcome.code, outcome.errors) == (0, "")
    return Searched(root, outcome)


def words_of(drawn: Path, root: Path, *more: str | Path, trials: int = TRIALS) -> list[str]:
    where = ("--dataset", "demo", "--data-root", drawn, "--root-dir", root)
    return [str(word) for word in ("sweep", *where, *RANGES, "--trials", trials, *LIGHTEST, *(more or TUNED))]


def search(drawn: Path, root: Path, *more: str | Path, trials: int = TRIALS) -> Outcome:
    return call(*words_of(drawn, root, *more, trials=trials))


def trials_in(root: Path) -> list[dict[str, str]]:
    """The trials without what differs between equal runs, and without who was chosen of how many."""
    rows = csv.DictReader((root / "trials.csv").read_text(encoding="utf-8").splitlines())
    return [{name: cell for name, cell in row.items() if name not in ("seconds", "verdict")} for row in rows]


def times_of(root: Path) -> dict[str, int]:
    return {file.relative_to(root).as_posix(): file.stat().st_mtime_ns for file in root.rglob("*.pt")}


def test_trials_are_of_the_tuned_class_and_the_report_is_of_the_other(searched: Searched) -> None:
    plain = json.loads((searched.root / "sweep.json").read_text(encoding="utf-8"))
    assert plain["classes"] == ["grid"]
    assert plain["search"]["tuned_on"] == ["carpet"]
    assert plain["compared_with"] == {"lr": "0.002", "n_pro": "3"}
    rows = trials_in(searched.root)
    assert len(rows) == TRIALS
    for row in rows:
        (own,) = read_results(searched.root / row["folder"] / "demo" / "k_2" / "csv" / "Seed_111-results.csv")
        assert own["class"] == "carpet"
        assert float(row["p_pro"]) == float(own["p_pro"])
    assert "chosen by mean AUPRO of carpet (seed 111), which is not reported" in " ".join(
        searched.outcome.output.split()
    )


def test_the_best_trial_is_reported_with_the_first(searched: Searched) -> None:
    plain = json.loads((searched.root / "sweep.json").read_text(encoding="utf-8"))
    trials = plain["search"]["trials"]
    best = max(trials, key=lambda trial: trial["objective"])
    assert plain["search"]["chosen"] == best["trial"]
    values = [own["values"] for own in plain["settings"]]
    assert values == [trials[0]["values"], *[best["values"]] * (best["trial"] > 1)]
    for own in plain["settings"]:
        (row,) = read_results(searched.root / own["folder"] / "demo" / "k_2" / "csv" / "Seed_111-results.csv")
        assert row["class"] == "grid"
        assert own["mean"]["i_roc"]["mean"] == float(row["i_roc"])


def test_more_trials_begin_with_the_finished_ones_and_train_none_again(
    searched: Searched, drawn: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(searched.root, tmp_path / "copy")
    before = times_of(root)
    outcome = search(drawn, root, trials=TRIALS + 1)
    assert (outcome.code, outcome.errors) == (0, "")
    assert f"{TRIALS} of {TRIALS + 1} trials were finished before" in outcome.output
    after = times_of(root)
    assert {name: after[name] for name in before} == before
    assert trials_in(root)[:TRIALS] == trials_in(searched.root)


def test_a_second_run_trains_nothing_and_prints_json_alone(searched: Searched, drawn: Path, tmp_path: Path) -> None:
    before = times_of(searched.root)
    outcome = search(drawn, searched.root, *TUNED, "--json", "--output", tmp_path)
    assert outcome.code == 0
    assert outcome.output == (searched.root / "sweep.json").read_text(encoding="utf-8")
    assert (tmp_path / "trials.csv").read_bytes() == (searched.root / "trials.csv").read_bytes()
    assert times_of(searched.root) == before


def test_a_killed_search_goes_on_and_ends_as_an_undisturbed_one(
    searched: Searched, drawn: Path, tmp_path: Path, killable: Callable[[list[str], Callable[[], bool]], None]
) -> None:
    folder = trials_in(searched.root)[1]["folder"]
    checkpoint = tmp_path / folder / "demo/k_2/checkpoint/CLS-Seed_111-carpet-check_point.pt"
    killable(words_of(drawn, tmp_path), checkpoint.exists)
    assert not (tmp_path / "trials.csv").exists()
    outcome = search(drawn, tmp_path)
    assert (outcome.code, outcome.errors) == (0, "")
    assert f" of {TRIALS} trials were finished before" in outcome.output
    assert trials_in(tmp_path) == trials_in(searched.root)
    assert (tmp_path / "sweep.csv").read_bytes() == (searched.root / "sweep.csv").read_bytes()


def read_before_the_choice(drawn: Path, root: Path, *more: str) -> set[str]:
    """The classes whose test split was encoded, or whose row was read, before a search had chosen."""
    seen: set[str] = set()
    is_chosen: list[bool] = []
    complete = RunContext.read_test_split

    def read_test_split(self: RunContext, dataset: Any, settings: Any) -> Any:
        seen.update([dataset.class_name] * (not is_chosen))
        return complete(self, dataset, settings)

    def rows_read(file: Path) -> list[dict[str, str]]:
        rows = read_results(file)
        seen.update(row["class"] for row in rows if not is_chosen)
        return rows

    def write_trials(*arguments: Any) -> None:
        is_chosen.append(True)
        files.write_trials(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunContext, "read_test_split", read_test_split)
        patch.setattr(finished, "read_results", rows_read)
        patch.setattr(search_command, "write_trials", write_trials)
        outcome = search(drawn, root, *more, trials=2)
    assert (outcome.code, outcome.errors) == (0, "")
    assert is_chosen
    return seen


def test_nothing_of_a_reported_class_is_read_before_the_choice(searched: Searched, drawn: Path, tmp_path: Path) -> None:
    assert read_before_the_choice(drawn, tmp_path / "new") == {"carpet"}
    root = shutil.copytree(searched.root, tmp_path / "copy")
    assert read_before_the_choice(drawn, root) == {"carpet"}  # of a class that was reported before
    by_reported = ("--tune-on", "test-oracle", "--classes", "grid")
    assert read_before_the_choice(drawn, tmp_path / "oracle", *by_reported) == {"grid"}  # where it would be seen


def test_other_labels_of_the_reported_class_change_no_trial(searched: Searched, drawn: Path, tmp_path: Path) -> None:
    data = shutil.copytree(drawn, tmp_path / "data")
    test = data / "demo" / "grid" / "test"
    defect = next(folder for folder in sorted(test.iterdir()) if folder.name != "good")
    for number in range(2):
        shutil.copy(defect / f"{number:03}.png", test / "good" / f"{number:03}.png")
    assert search(data, tmp_path / "swept").code == 0
    assert trials_in(tmp_path / "swept") == trials_in(searched.root)
    assert (tmp_path / "swept" / "sweep.csv").read_bytes() != (searched.root / "sweep.csv").read_bytes()


def test_where_reported_labels_choose_all_says_so_and_nothing_is_trained_twice(drawn: Path, tmp_path: Path) -> None:
    outcome = search(drawn, tmp_path, "--tune-on", "test-oracle", "--classes", "carpet")
    assert (outcome.code, outcome.errors) == (0, "")
    words = " ".join(outcome.output.split())
    assert words.count(CHOSEN_BY_REPORTED) >= 4  # the line of the choice, the trials, both metrics' tables
    for name in ("sweep.md", "sweep.json", "sweep.csv", "trials.csv"):
        assert CHOSEN_BY_REPORTED in (tmp_path / name).read_text(encoding="utf-8")
    assert {file.relative_to(tmp_path).parts[0] for file in tmp_path.rglob("*.pt")} == {"trials"}
    assert len(times_of(tmp_path)) == TRIALS


def test_a_training_that_fails_ends_the_search_and_it_goes_on_later(drawn: Path, tmp_path: Path) -> None:
    data = shutil.copytree(drawn, tmp_path / "data")
    picture = data / "demo" / "carpet" / "test" / "good" / "000.png"
    kept = picture.read_bytes()
    picture.write_bytes(b"no picture")
    assert_refused(
        search(data, tmp_path / "swept"), "trial 1 failed; carpet, seed 111, lr 0.002, n_pro 3: not a picture"
    )
    picture.write_bytes(kept)
    assert search(data, tmp_path / "swept").code == 0


def test_a_folder_that_cannot_be_written_to_ends_the_search_and_leaves_no_trial_out(
    searched: Searched, drawn: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(searched.root, tmp_path / "copy")
    folder = root / trials_in(root)[1]["folder"]
    shutil.rmtree(folder)
    folder.touch()
    assert_refused(search(drawn, root), f"cannot write to '{folder}", "choose another folder")
    assert trials_in(root) == trials_in(searched.root)  # as they were
    folder.unlink()
    assert search(drawn, root).code == 0


def test_an_objective_that_was_not_measured_is_refused(drawn: Path, tmp_path: Path) -> None:
    data = tmp_path / "data" / "mvtec"
    shutil.copytree(drawn / "demo", data)
    shutil.rmtree(data / "carpet" / "ground_truth")
    words = [*words_of(data.parent, tmp_path / "swept", *TUNED, "--backbone", "tiny"), "--dataset", "mvtec"]
    assert_refused(call(*words), "--objective p_pro: not measured of carpet")


def test_one_folder_under_two_names_cannot_both_choose_and_be_reported(drawn: Path, tmp_path: Path) -> None:
    part = shutil.copytree(drawn / "demo" / "carpet", tmp_path / "part")
    shutil.move(part / "train" / "good", part / "good")
    words = ["sweep", "--dataset", "folder", "--data-root", str(part), *RANGES, "--trials", "2", "--backbone", "tiny"]
    outcome = call(*words, "--root-dir", tmp_path / "swept", "--tune-on", "one", "--classes", "two", *LIGHTEST)
    assert_refused(outcome, "is of a class in --tune-on and of one in --classes")


def test_values_that_do_not_go_together_are_left_out_with_the_reason(drawn: Path, tmp_path: Path) -> None:
    light = (*LIGHTEST[:4], *LIGHTEST[6:])
    ranges = ("--search", "optuna", "--sigma", "4:30", "--resolution", "32,8", "--objective", "i_roc", "--trials", "8")
    where = ("--dataset", "demo", "--data-root", drawn, "--root-dir", tmp_path)
    outcome = call("sweep", *where, *ranges, *TUNED, *light)
    assert (outcome.code, outcome.errors) == (0, "")
    trials = json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))["search"]["trials"]
    for trial in trials:
        fits = float(trial["values"]["sigma"]) <= int(trial["values"]["resolution"])
        assert (trial["objective"] is not None) == fits
        assert ("must be at most the" in trial["failure"]) == (not fits)
    assert {trial["objective"] is None for trial in trials} == {True, False}
