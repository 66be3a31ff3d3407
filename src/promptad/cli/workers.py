"""From options to who trains: this process, several, or a cluster."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from rich.console import Console

from promptad.cli.given import Arguments
from promptad.cli.jobs import context_settings
from promptad.cli.main import FlagConsole
from promptad.engine.context import Job, RunContext
from promptad.engine.memory_need import needed_memory
from promptad.engine.processes import Processes
from promptad.engine.work import Message, ThisProcess, Workers
from promptad.errors import InputError
from promptad.settings import BackboneSettings
from promptad.utils.memory import free_memory, in_gigabytes


def find_workers(
    given: Arguments, jobs: Sequence[Job], contexts: Mapping[BackboneSettings, RunContext], console: Console
) -> Workers:
    """Return who does the jobs.

    Args:
        given: the options.
        jobs: what is to be done.
        contexts: what jobs run with in this process; other ones print as on their consoles.
        console: is told of the machine, or the cluster.

    Raises:
        InputError: there is not enough memory, or there are not enough GPUs, for that many processes.
    """
    count, device = given["workers"], next(iter(contexts.values())).backbone.device
    printing = next(iter(contexts.values())).console
    if given["cluster"]:
        from promptad.integrations.ray_training import RayTasks  # noqa: PLC0415 Ray is asked for

        message = Message(context_settings(given, torch.device(device.type)), _like(printing))
        return RayTasks(given["cluster"], message, _need(jobs, contexts), console)
    if count == 1:
        return ThisProcess(contexts)
    if device.type == "cuda":
        devices = _gpus(count)
    else:
        _check_memory(count, jobs, contexts)
        devices = [device] * count
        if count > torch.get_num_threads():
            console.print(f"`workers` {count}: more than the {torch.get_num_threads()} cores here, for which they wait")
    messages = [Message(context_settings(given, own), _like(printing)) for own in devices]
    return Processes(messages, max(1, torch.get_num_threads() // count))


def _like(console: Console) -> Callable[..., Console]:
    """Return what makes a console in another process, of a file: as this one, without progress bars."""
    look: dict[str, Any] = {"color_system": console.color_system, "width": console.width, "quiet": console.quiet}
    return partial(FlagConsole, highlight=False, markup=False, force_terminal=False, **look)


def _gpus(count: int) -> list[torch.device]:
    """Return a GPU for each process.

    Raises:
        InputError: there are fewer.
    """
    if count > (there := torch.cuda.device_count()):
        raise InputError(f"`workers` {count}: each needs a GPU of its own, and this machine has {there}")
    return [torch.device("cuda", number) for number in range(count)]


def _check_memory(count: int, jobs: Sequence[Job], contexts: Mapping[BackboneSettings, RunContext]) -> None:
    """Check that there is memory for that many processes.

    Raises:
        InputError: there is not.
    """
    free = free_memory()
    need = _need(jobs, contexts)
    if count * need > free:
        raise InputError(
            f"`workers` {count}: each needs about {in_gigabytes(need)} of memory, and {in_gigabytes(free)} are free: at"
            f" most {max(1, free // need)}"
        )


def _need(jobs: Sequence[Job], contexts: Mapping[BackboneSettings, RunContext]) -> int:
    """Return the bytes that a process needs that does any of the jobs."""
    return max(
        needed_memory([job for job in jobs if job.settings.backbone == backbone], context.backbone)
        for backbone, context in contexts.items()
    )
