"""Start the service: check what is asked for, open the detectors, and answer until it is stopped."""

import errno
import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from promptad.errors import InputError, check_choice, not_installed
from promptad.runtime.engines import ENGINES

if TYPE_CHECKING:
    from fastapi import FastAPI

HOST, PORT, QUEUE, MAX_MB = "127.0.0.1", 8000, 64, 32.0
TOKEN_VARIABLE = "PROMPTAD_TOKEN"
EXTRA = ("fastapi", "uvicorn", "python_multipart")  # what the extra "serve" brings
PACKAGES = ("fastapi", "uvicorn", "python-multipart")  # which hold these
BACKLOG = 128  # connections that may wait to be accepted
HIGHEST_PORT = 65535


@dataclass(frozen=True)
class ServeOptions:
    """How the service is run.

    Raises:
        InputError: a value is none of those that are possible.
    """

    detectors: tuple[Path, ...]  # exported files, or folders that hold some
    host: str = HOST
    port: int = PORT  # 0: any that is free
    token: str | None = None  # None: that of the environment, if it has one
    engine: str | None = None  # None: the usual one of each file
    threads: int | None = None  # of the engine; None: one a core
    queue: int = QUEUE  # images that are read, wait or are judged, at most
    max_mb: float = MAX_MB  # megabytes of one request's body, at most

    def __post_init__(self) -> None:
        if not 0 <= self.port <= HIGHEST_PORT:
            raise InputError(f"`port` {self.port}: must be from 0 to {HIGHEST_PORT}")
        if self.engine is not None:
            check_choice("engine", self.engine, ENGINES)
        for name in ("threads", "queue"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise InputError(f"`{name}` {number}: must be at least 1")
        if not self.max_mb > 0:
            raise InputError(f"`max_mb` {self.max_mb:g}: must be more than 0")

    def needed_token(self) -> str | None:
        """Return the token that requests must bring; None if none is needed.

        Raises:
            InputError: it is empty, or cannot be sent.
        """
        token = os.environ.get(TOKEN_VARIABLE) if self.token is None else self.token
        if token is not None and not (token and token.isascii() and token.isprintable() and " " not in token):
            raise InputError(f"`token`, or {TOKEN_VARIABLE}: give ASCII letters, digits and signs without spaces")
        return token


def serve(options: ServeOptions, tell: Callable[[str], None]) -> None:
    """Answer requests until SIGTERM or Ctrl-C; what was accepted by then is still answered.

    Args:
        options: how.
        tell: is given lines for the user.

    Raises:
        InputError: something is not installed, a detector cannot be opened, or the port is taken.
    """
    if missing := [name for name in EXTRA if find_spec(name) is None]:
        raise not_installed(missing[0], " ".join(PACKAGES))
    token = options.needed_token()
    with _bound(options.host, options.port) as listening:
        from promptad.serve.app import make_app  # noqa: PLC0415 it needs the extra
        from promptad.serve.parts import open_parts  # noqa: PLC0415
        from promptad.serve.service import Service  # noqa: PLC0415

        parts = open_parts(options.detectors, engine=options.engine, threads=options.threads)
        app = make_app(Service(parts, options.queue), token=token, max_mb=options.max_mb)
        listening.listen(BACKLOG)
        host, port = listening.getsockname()[:2]
        at = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        lines = [f"judging {', '.join(part.name for part in parts)} at {at}, until Ctrl-C"]
        if not _is_loopback(host) and token is None:
            lines.append(f"whoever reaches {host} can use this service: give a `token`, or `host` {HOST}")
        _run(app, listening, lambda: tell("\n".join(lines)))


def _run(app: "FastAPI", listening: socket.socket, started: Callable[[], None]) -> None:
    import uvicorn  # noqa: PLC0415 it comes with the extra

    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # the client is told what it sent amiss
    # Errors go to standard error, as those of libraries do.
    config = uvicorn.Config(app, access_log=False, log_config=None, ws="none", server_header=False)
    server = uvicorn.Server(config)

    def stop(_: int, __: FrameType | None) -> None:
        server.should_exit = True

    # The server has handlers of its own while it runs, and then raises the signal once more for those from before.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        started()
        server.run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket at an address.

    Raises:
        InputError: there is no such address, it is taken, or it needs rights.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise InputError(f"`host` {host}: there is no such address on this machine; leave it out for {HOST}") from error
    try:
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after a restart
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise InputError(f"`host` {host} is no address of this machine; leave it out for {HOST}") from error
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"`port` {port} of {host}: {reason}; choose another with `port`") from error
    return bound


def _is_loopback(host: str) -> bool:
    return host == "::1" or host.startswith("127.")
