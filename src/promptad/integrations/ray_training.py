"""Trainings as tasks of a Ray cluster, whose machines see pictures and results at the same paths."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from promptad.engine.work import Effort, Message, Outcome, Task, Told, run_message
from promptad.errors import InputError
from promptad.integrations.ray_cluster import enter_folder, first_line, import_ray, joined_cluster
from promptad.utils.memory import in_gigabytes
from promptad.utils.threads import SAME_BITS

RETRIES = 2  # of a task whose worker was lost


@dataclass
class RayTasks:
    """Trains on a Ray cluster: each training is a task that takes one core, or a GPU, and the memory that it needs.

    Tasks are plain data: a worker reads pictures from the paths that they name and writes into the result folder, so
    all machines must see both at the same paths, as a shared file system gives them. A task whose worker is lost is
    done again. Results are those of one process to the last bit on processors of the same kind.
    """

    address: str  # of the cluster, as of `joined_cluster`
    message: Message
    memory: int  # bytes that a training needs
    console: Console  # is told which cluster it is
    effort: Effort = field(default_factory=Effort)

    def run(self, tasks: Sequence[Task], told: Told) -> Iterator[Outcome]:
        """Yield the outcome of each task as it comes.

        Raises:
            InputError: there is no such cluster, or none of its machines has room for a training.
        """
        self.effort = Effort()
        if not tasks:
            return
        ray = import_ray()
        with joined_cluster(self.address, self.console):
            train = ray.remote(run_in_folder).options(**self._options(ray))
            running = {train.remote(task, self.message, str(Path.cwd())): task for task in tasks}
            while running:
                told([task.name for task in running.values()])
                (done, *_), _ = ray.wait(list(running), num_returns=1)
                outcome = _outcome(ray, done, running.pop(done))
                self.effort.add(outcome)
                yield outcome

    def remark(self) -> str:
        """Return that the cluster took longer than what it gained, if so."""
        return self.effort.remark("`cluster`")

    def _options(self, ray: Any) -> dict[str, Any]:
        """Return what a task takes of a machine.

        Raises:
            InputError: no machine has that.
        """
        on_gpu = self.message.settings.device.startswith("cuda")
        needed = {"CPU": 1, "memory": self.memory} | ({"GPU": 1} if on_gpu else {})
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(all(own.get(name, 0) >= count for name, count in needed.items()) for own in machines):
            most = max((own.get("memory", 0) for own in machines), default=0)
            gpu = " and a GPU" if on_gpu else ""
            raise InputError(
                f"`cluster` {self.address}: a training takes {in_gigabytes(self.memory)} of memory{gpu}, and no machine"
                f" has that; the most that one gives is {in_gigabytes(int(most))}"
            )
        return {
            "num_cpus": 1,
            "num_gpus": 1 if on_gpu else 0,
            "memory": self.memory,
            "max_retries": RETRIES,
            "runtime_env": {"env_vars": dict([SAME_BITS])},
        }


def run_in_folder(task: Task, message: Message, folder: str) -> Outcome:
    """Train in a worker, in the folder that relative paths are of; what fails is told with the machine's name."""
    try:
        enter_folder(folder)
    except InputError as error:
        return Outcome(task, str(error))
    torch.set_num_threads(1)
    return run_message(task, message)


def _outcome(ray: Any, done: Any, task: Task) -> Outcome:
    """Return the outcome of a task, or why its workers were lost."""
    try:
        outcome: Outcome = ray.get(done)
        return replace(outcome, task=task)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError) as error:
        return Outcome(task, f"its worker was lost {RETRIES + 1} times: {first_line(error)}")
    except ray.exceptions.RayTaskError as error:
        raise error.cause or error from error
