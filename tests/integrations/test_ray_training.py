"""Trainings on a Ray cluster of two workers: the bytes of one process, also after a worker was killed."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from helpers import assert_refused
from trained_beside import bytes_of, rows_of, train_all

from promptad.utils.threads import SAME_BITS

ray = pytest.importorskip("ray", reason="Ray is an extra, with an environment of its own: tools/test_ray.sh")
pytestmark = pytest.mark.slow

TASK = "ray::run_in_folder"  # the name of a worker's process while it trains


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """A cluster of two workers."""
    ray.init(
        "local", num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": dict([SAME_BITS])}
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def alone(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of one process."""
    results = tmp_path_factory.mktemp("alone")
    assert train_all(drawn, results).code == 0
    return results


def test_a_cluster_writes_the_bytes_of_one_process(alone: Path, drawn: Path, tmp_path: Path) -> None:
    beside = train_all(drawn, tmp_path, "--cluster", "auto")
    assert (beside.code, beside.errors) == (0, "")
    assert bytes_of(tmp_path) == bytes_of(alone)
    assert rows_of(tmp_path) == rows_of(alone)
    assert "2 cores" in beside.output
    assert "learning from 2 of 4 pictures" in beside.output
    (next(tmp_path.rglob("checkpoint/*Seed_0-grid*.pt"))).unlink()
    again = train_all(drawn, tmp_path, "--cluster", "auto")
    assert again.output.count("finished before") == 3
    assert bytes_of(tmp_path) == bytes_of(alone)


def test_a_lost_worker_has_its_training_done_again(alone: Path, drawn: Path, tmp_path: Path) -> None:
    killed: list[int] = []
    raylet = next(child for child in psutil.Process().children(recursive=True) if child.name() == "raylet")

    def kill_once() -> None:
        while not killed:
            time.sleep(0.01)
            for worker in raylet.children():
                with suppress(psutil.Error):
                    if worker.cmdline()[:1] == [TASK]:
                        worker.kill()
                        killed.append(worker.pid)
                        return

    killer = threading.Thread(target=kill_once, daemon=True)
    killer.start()
    outcome = train_all(drawn, tmp_path, "--cluster", "auto")
    killer.join(timeout=10)
    assert killed
    assert (outcome.code, outcome.errors) == (0, "")
    assert bytes_of(tmp_path) == bytes_of(alone)
    assert rows_of(tmp_path) == rows_of(alone)


def test_a_cluster_without_room_for_a_training_is_refused(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptad.cli.workers.needed_memory", lambda *_: 10**15)
    outcome = train_all(drawn, tmp_path, "--cluster", "auto")
    assert_refused(outcome, "--cluster auto: a training takes 1000000.0 GB of memory", "the most that one gives is")
    assert not list(tmp_path.rglob("*.pt"))


def test_a_cluster_is_instead_of_processes_of_this_machine(drawn: Path, tmp_path: Path) -> None:
    assert_refused(
        train_all(drawn, tmp_path, "--cluster", "auto", "--workers", "2"), "--cluster auto: leave out --workers"
    )
    assert_refused(
        train_all(drawn, tmp_path, "--cluster", "auto", "--together"), "--cluster auto: leave out --together"
    )
