"""Who takes which training, and when several processes have cost more than they gained."""

from dataclasses import replace
from pathlib import Path

import pytest

from promptad.data.datasets import read_class
from promptad.engine.context import Job
from promptad.engine.work import Effort, Outcome, Task, Turns, in_order
from promptad.results.paths import ResultFolder
from promptad.settings import Settings, TrainingSettings
from promptad.structures import ClassDataset


def task_of(dataset: ClassDataset, seed: int) -> Task:
    settings = Settings(training=TrainingSettings(seed=seed))
    job = Job(dataset, settings, dataset.normal[:2], ResultFolder(Path("result"), "demo", 2, seed))
    return Task(job, f"{dataset.class_name} {seed}")


@pytest.fixture
def tasks(drawn: Path) -> list[Task]:
    """Two classes with three seeds each, seed by seed."""
    datasets = [read_class("demo", drawn / "demo", name) for name in ("carpet", "grid")]
    return [task_of(dataset, seed) for seed in range(3) for dataset in datasets]


def test_jobs_of_the_same_features_follow_each_other(tasks: list[Task]) -> None:
    jobs = in_order([task.job for task in tasks])
    assert [(job.class_name, job.settings.training.seed) for job in jobs] == [
        (name, seed) for name in ("carpet", "grid") for seed in range(3)
    ]


def test_each_worker_goes_on_with_the_features_that_it_has(tasks: list[Task]) -> None:
    turns = Turns(tasks)
    first, second = turns.next(None), turns.next(None)
    assert first is not None
    assert second is not None
    assert (first.name, second.name) == ("carpet 0", "grid 0")
    third, fourth = turns.next(second), turns.next(first)
    assert third is not None
    assert fourth is not None
    assert (third.name, fourth.name) == ("grid 1", "carpet 1")


def test_a_worker_without_work_helps_where_most_is_left(tasks: list[Task]) -> None:
    turns = Turns([task for task in tasks if task.name != "grid 2"])
    first, second = turns.next(None), turns.next(None)
    last = turns.next(second)
    assert last is not None
    assert last.name == "grid 1"
    helped = turns.next(last)
    assert helped is not None
    assert helped.name == "carpet 1"
    turns.put_back(helped)
    again = turns.next(first)
    assert again is helped
    left = turns.next(None)
    assert left is not None
    assert left.name == "carpet 2"
    assert turns.next(left) is None


@pytest.mark.parametrize(("passed", "is_told"), [(9.0, True), (4.0, False)])
def test_it_is_told_where_processes_took_longer_than_the_trainings(
    tasks: list[Task], monkeypatch: pytest.MonkeyPatch, passed: float, is_told: bool
) -> None:
    now = 100.0
    monkeypatch.setattr("promptad.engine.work.time.monotonic", lambda: now)
    effort = Effort()
    for task in tasks[:2]:
        effort.add(replace(Outcome(task), seconds=3.0))
    now += passed
    told = "the trainings took 6 s of work, and with the start of their processes 9 s: so few short ones are faster"
    assert effort.remark("`workers`") == (f"{told} without `workers`" if is_told else "")
