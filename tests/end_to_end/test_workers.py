"""Several processes that train: the bytes of one, also after a kill, and nothing left of them after Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import psutil
import pytest
from helpers import CLASSES, LIGHTEST, assert_refused
from helpers import Outcome as Called
from trained_beside import bytes_of, rows_of, train_all

from promptad.engine.processes import ENDED, Slot
from promptad.engine.work import Outcome, Task

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alone(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Called]:
    """The results of one process."""
    results = tmp_path_factory.mktemp("alone")
    outcome = train_all(drawn, results)
    assert (outcome.code, outcome.errors) == (0, "")
    return results, outcome


def killing(monkeypatch: pytest.MonkeyPatch, most: int) -> list[str]:
    """Have the processes of the first tasks killed while they work; return the names of these as they come."""
    submit, killed = Slot.submit, list[str]()

    def submit_and_kill(self: Slot, task: Task) -> "Future[Outcome]":
        future = submit(self, task)
        if len(killed) < most:
            killed.append(task.name)
            os.kill(self.process.result(), signal.SIGKILL)
        return future

    monkeypatch.setattr(Slot, "submit", submit_and_kill)
    return killed


def test_two_processes_write_the_bytes_of_one(alone: tuple[Path, Called], drawn: Path, tmp_path: Path) -> None:
    results, outcome = alone
    beside = train_all(drawn, tmp_path, "--workers", "2")
    assert (beside.code, beside.errors) == (0, "")
    assert bytes_of(tmp_path) == bytes_of(results)
    assert rows_of(tmp_path) == rows_of(results)
    for line in ("learning from 2 of 4 pictures", "carpet, seed 0 (1 of 4)", "grid, seed 1 (4 of 4)", "mean of 2"):
        assert line in beside.output
        assert line in outcome.output
    again = train_all(drawn, tmp_path, "--workers", "2")
    assert again.output.count("finished before") == 4


def test_a_process_that_is_killed_has_its_training_done_again(
    alone: tuple[Path, Called], drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = killing(monkeypatch, most=1)
    outcome = train_all(drawn, tmp_path, "--workers", "2")
    assert (outcome.code, outcome.errors) == (0, "")
    assert killed == ["carpet, seed 0"]
    assert bytes_of(tmp_path) == bytes_of(alone[0])
    assert rows_of(tmp_path) == rows_of(alone[0])


def test_a_training_whose_processes_are_always_killed_does_not_stop_the_others(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killing(monkeypatch, most=3)  # two of the same, and one of another
    outcome = train_all(drawn, tmp_path, "--workers", "2")
    assert_refused(outcome, "1 of 4 classes failed", ENDED.replace("`workers`", "--workers"))
    assert len(rows_of(tmp_path)) == 3


def test_ctrl_c_ends_all_processes_and_keeps_what_is_finished(drawn: Path, tmp_path: Path) -> None:
    data = ("--dataset", "demo", "--data-root", str(drawn), "--classes", ",".join(CLASSES))
    command = ["train-all", *data, "--root-dir", str(tmp_path), "--seeds", "0-9", *LIGHTEST, "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "promptad", *command], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    while not (tmp_path / "demo" / "k_2" / "csv" / "Seed_0-results.csv").exists():
        assert process.poll() is None
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "promptad: interrupted; what was finished is kept\n"
    assert not psutil.wait_procs(children, timeout=10)[1]
    assert not list(tmp_path.rglob(".*.pt"))  # nothing half-written
    finished = rows_of(tmp_path)
    assert 0 < len(finished) < 20


def test_ctrl_c_while_processes_start_says_one_line(drawn: Path, tmp_path: Path) -> None:
    command = ["train-all", "--dataset", "demo", "--data-root", str(drawn), "--root-dir", str(tmp_path), *LIGHTEST]
    process = subprocess.Popen(
        [sys.executable, "-m", "promptad", *command, "--classes", ",".join(CLASSES), "--workers", "2"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    while not any("forkserver" in " ".join(child.cmdline()) for child in psutil.Process(process.pid).children()):
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.3)  # it imports torch now
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "promptad: interrupted; what was finished is kept\n")


def test_more_processes_than_the_memory_has_room_for_are_refused(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptad.cli.workers.free_memory", lambda: 10**9)
    outcome = train_all(drawn, tmp_path, "--workers", "9")
    assert_refused(outcome, "--workers 9: each needs about", "1.0 GB are free: at most")
    assert_refused(train_all(drawn, tmp_path, "--workers", str(10**20)), "each needs about")
    assert not list(tmp_path.iterdir())


def test_workers_are_at_least_one_and_train_one_by_one(drawn: Path, tmp_path: Path) -> None:
    assert_refused(train_all(drawn, tmp_path, "--workers", "0"), "--workers 0: must be at least 1")
    assert_refused(train_all(drawn, tmp_path, "--workers", "2", "--together"), "--workers 2: leave out --together")
