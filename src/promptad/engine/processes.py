"""Several processes of this machine that train side by side."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.context import BaseContext
from types import FrameType

import torch

from promptad.engine.work import Effort, Message, Outcome, Task, Told, Turns, run_message

MOST_TRIES = 2  # of a task whose process was ended
ENDED = "its process was ended twice, killed or for lack of memory: use fewer `workers`"


class Processes:
    """Trains in several processes, each with a share of the cores; a task whose process is ended is done again.

    Results are those of one process to the last bit: none depends on the number of threads where torch computes by
    Intel's math library (`utils.threads`). All share the feature cache and the table of results, which take writes of
    several processes.
    """

    def __init__(self, messages: Sequence[Message], threads: int) -> None:
        """Have one process for each of the messages, with that many threads each."""
        self.messages, self.threads, self.effort = messages, threads, Effort()

    def run(self, tasks: Sequence[Task], told: Told) -> Iterator[Outcome]:
        """Yield the outcome of each task as it comes; Ctrl-C, or an error of our own, ends all processes."""
        self.effort, turns, tries = Effort(), Turns(tasks), dict.fromkeys(map(id, tasks), 0)
        slots = [Slot(message, self.threads) for message in self.messages[: len(tasks)]]
        running: dict[Future[Outcome], tuple[Slot, Task]] = {}
        try:
            idle = list(slots)
            while True:
                for slot in idle:
                    if (task := turns.next(slot.last)) is not None:
                        tries[id(task)] += 1
                        running[slot.submit(task)] = slot, task
                if not running:
                    break
                told([task.name for _, task in running.values()])
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                idle = [running[future][0] for future in done]
                for future in done:
                    slot, task = running.pop(future)
                    outcome = slot.outcome(future, task)
                    if outcome is None and tries[id(task)] < MOST_TRIES:
                        turns.put_back(task)
                        continue
                    outcome = outcome or Outcome(task, ENDED)
                    self.effort.add(outcome)
                    yield outcome
        except BaseException:
            for slot in slots:
                slot.interrupt()
            raise
        finally:
            for slot in slots:
                slot.close()

    def remark(self) -> str:
        """Return that the start of processes took longer than what they gained, if so."""
        return self.effort.remark("`workers`")


class Slot:
    """One process after another, if they are ended."""

    def __init__(self, message: Message, threads: int) -> None:
        self.message, self.threads = message, threads
        self.last: Task | None = None  # whose features it has
        self._start()

    def _start(self) -> None:
        self.executor = ProcessPoolExecutor(1, _context(), _begin, (self.threads,))
        with _ctrl_c_later():
            self.process = self.executor.submit(os.getpid)

    def submit(self, task: Task) -> "Future[Outcome]":
        """Have a task done."""
        self.last = task
        return self.executor.submit(run_message, task, self.message)

    def outcome(self, future: "Future[Outcome]", task: Task) -> Outcome | None:
        """Return the outcome of a task; None if its process was ended, in whose place there is a new one then."""
        try:
            return replace(future.result(), task=task)
        except BrokenProcessPool:
            self.close()
            self.last = None  # a new process has no features
            self._start()
            return None

    def interrupt(self) -> None:
        """End the process, which still cleans up behind itself."""
        with suppress(Exception):  # it has not started, or has ended
            os.kill(self.process.result(timeout=0), signal.SIGTERM)

    def close(self) -> None:
        """Wait for the end of the process."""
        self.executor.shutdown(cancel_futures=True)


def _context() -> BaseContext:
    """Return how processes start: as copies of one that has imported all, where the system can do that."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Hold Ctrl-C back until the end; what is started meanwhile never gets it, also while it imports all."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(threads: int) -> None:
    """Prepare a process: Ctrl-C reaches it by the one that started it, without which it ends, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
