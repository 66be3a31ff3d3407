"""Join a Ray cluster, or start one on this machine, for the time of some work; Ray is the extra `ray`."""

import logging
import os
import socket
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from promptad.errors import InputError, not_installed
from promptad.utils.quiet import errors_into

AUTO = "auto"  # the cluster that runs, else one of our own
ANSWER = 5.0  # seconds within which a cluster answers
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
CLIENT = "ray://"  # addresses of Ray's client, which sends all data through one process
START = "start one by Ray's own command, ray start, or leave it to `cluster` auto"


@dataclass(frozen=True)
class Cluster:
    """A cluster that was joined."""

    address: str  # host and port
    is_own: bool  # whether it was started for this work, and ends with it
    nodes: int  # machines
    cpus: int  # cores of all of them
    gpus: int  # of all of them
    seconds: float  # that starting or joining it took

    def __str__(self) -> str:
        nodes = "this machine" if self.is_own else f"{self.nodes} machines" if self.nodes > 1 else "1 machine"
        gpus = f", {self.gpus} GPUs" if self.gpus else ""
        kind = "started on" if self.is_own else f"joined at {self.address}:"
        return f"Ray {kind} {nodes}: {self.cpus} cores{gpus}, in {self.seconds:.1f} s"


@contextmanager
def joined_cluster(address: str, console: Console) -> Iterator[Cluster]:
    """Join a Ray cluster, print which, and leave it at the end; one that was started here is shut down.

    Where this process has joined one before, it stays joined.

    Args:
        address: host:port of a cluster; or "auto", which joins that of RAY_ADDRESS, or the one that `ray start` has
            started on this machine, and else starts one here, with all its cores.
        console: is told which cluster it is.

    Raises:
        InputError: Ray is not installed, or no cluster answers there, or it has another version of Ray or of Python.
    """
    ray = import_ray()
    if ray.is_initialized():
        cluster = _joined_before(ray, address)
        console.print(str(cluster), soft_wrap=True)
        yield cluster
        return
    place = _place_of(address)
    try:
        started = time.perf_counter()
        _join(ray, place)
        cluster = _described(ray, place == "local", time.perf_counter() - started)
        console.print(str(cluster), soft_wrap=True)
        yield cluster
    finally:
        with errors_into(Path(os.devnull)):  # of tasks that Ray would try again, which is over now
            ray.shutdown()


def import_ray() -> Any:
    """Return the module ray, which says nothing and reports nothing.

    Raises:
        InputError: it is not installed.
    """
    for name, value in QUIET.items():  # read once, when it is imported, and by the processes that it starts
        os.environ.setdefault(name, value)
    try:
        return import_module("ray")
    except ImportError as error:
        raise not_installed("Ray", '"promptad[ray]"') from error


def _place_of(address: str) -> str:
    """Return the host and port of the cluster to join, "auto" for the one of this machine, or "local" to start one.

    Ray has the token of a cluster that it finds itself, and of no other, unless RAY_AUTH_MODE is token.

    Raises:
        InputError: the address is none, or nobody answers there.
    """
    if address != AUTO:
        _check_answers(address, f"`cluster` {address}")
        return address
    if named := os.environ.get("RAY_ADDRESS", "").strip():
        if named in (AUTO, "local"):
            return "local"
        _check_answers(named, f"RAY_ADDRESS {named}")
        return named
    running = _running_here()
    return AUTO if running and _answers(running) else "local"


def _running_here() -> str:
    """Return the address of the cluster that `ray start` started last on this machine; empty if there is none.

    Ray would wait many minutes for one that was killed and has left the file of its address.
    """
    folder = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("RAY_TEMP_DIR") or _temporary())
    try:
        return (folder / "ray" / "ray_current_cluster").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _temporary() -> str:
    return "/tmp" if os.name == "posix" else tempfile.gettempdir()  # Ray's own choice


def _check_answers(address: str, named: str) -> None:
    """Check that somebody answers at an address.

    Raises:
        InputError: it is none, or nobody does.
    """
    if address.startswith(CLIENT):
        raise InputError(
            f"{named} is of Ray's client: run promptad on a machine of the cluster, or by ray job submit, with the"
            " address of its head, host:port"
        )
    if not _host_and_port(address):
        raise InputError(f"{named} is no address of a Ray cluster: give host:port, such as 10.0.0.5:6379, or {AUTO}")
    if not _answers(address):
        raise InputError(f"{named}: no Ray cluster answers there: check it, {START}")


def _host_and_port(address: str) -> tuple[str, int] | None:
    host, _, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdecimal() and int(port) < 2**16 else None


def _answers(address: str) -> bool:
    place = _host_and_port(address)
    try:
        with socket.create_connection(place or ("", 0), timeout=ANSWER):
            return place is not None
    except (OSError, UnicodeError):
        return False


def _join(ray: Any, place: str) -> None:
    """Join or start a cluster.

    Raises:
        InputError: it could not be done.
    """
    own: dict[str, Any] = {"include_dashboard": False} if place == "local" else {}
    try:
        # Ray's core warns past Python.
        with warnings.catch_warnings(action="ignore"), errors_into(Path(os.devnull)):
            ray.init(place, log_to_driver=False, logging_level=logging.ERROR, **own)
    except Exception as error:  # Ray raises many kinds
        if own:
            raise InputError(f"a Ray cluster cannot be started here: {first_line(error)}") from error
        raise InputError(
            f"the Ray cluster at {place} cannot be joined: {first_line(error)}; if it asks for a token, set"
            " RAY_AUTH_MODE=token"
        ) from error


def enter_folder(folder: str) -> None:
    """Enter, in a worker, the working directory of the command, which relative names are of.

    Raises:
        InputError: there is no such folder on its machine.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise InputError(
            f"{socket.gethostname()} has no folder {folder}: start the command in one that all machines share"
        ) from error


def first_line(error: BaseException) -> str:
    r"""Return what an error of Ray says, without the traceback that follows or comes before it.

    >>> first_line(RuntimeError("Version mismatch: 2.50 and 2.60.\n  more"))
    'Version mismatch: 2.50 and 2.60'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def _joined_before(ray: Any, address: str) -> Cluster:
    """Return the cluster that this process has joined.

    Raises:
        InputError: it is another one than that of the address.
    """
    cluster = _described(ray, False, 0.0)
    if address not in (AUTO, cluster.address):
        raise InputError(f"`cluster` {address}: this process has joined the one at {cluster.address}; leave it first")
    return cluster


def _described(ray: Any, is_own: bool, seconds: float) -> Cluster:
    resources, nodes = ray.cluster_resources(), [node for node in ray.nodes() if node["Alive"]]
    address = str(ray.get_runtime_context().gcs_address)
    return Cluster(address, is_own, len(nodes), int(resources.get("CPU", 0)), int(resources.get("GPU", 0)), seconds)
