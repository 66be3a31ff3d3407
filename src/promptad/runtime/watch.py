"""Watch a folder: each picture that arrives is judged once, when it is completely written, also after a kill."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from promptad.errors import InputError
from promptad.runtime.alone import alone
from promptad.runtime.journal import Journal
from promptad.runtime.judge import Listener, check_decides
from promptad.runtime.predict import Predictor
from promptad.runtime.predictions import ONE_IMAGE, PredictionRun
from promptad.runtime.watch_options import WatchOptions
from promptad.runtime.watcher import Watcher

TICK = 0.1  # seconds between two looks at the pictures that wait
OUTPUT_LOCK, REJECTED_LOCK = "watch.lock", ".watch.lock"
STOPPING = (signal.SIGINT, signal.SIGTERM)


def watch(
    predictor: Predictor, file: Path, options: WatchOptions, listener: Listener, stop: threading.Event | None = None
) -> int:
    """Judge the pictures of a folder that are not yet judged, and those that arrive, until SIGTERM or Ctrl-C.

    Args:
        predictor: the detector.
        file: its file.
        options: which folder, and how.
        listener: is told what happens.
        stop: ends it, too; the batch in hand is finished.

    Returns:
        The exit code.

    Raises:
        InputError: the detector has no threshold, the output belongs to another detector or watcher, or cannot be
            written to.
    """
    check_decides(predictor.metadata, file)
    if predictor.metadata.settings.training.k_shot == 1:
        listener.tell(ONE_IMAGE)
    stop = stop or threading.Event()
    with ExitStack() as closing:
        closing.enter_context(alone(options.output, OUTPUT_LOCK, "output"))
        if options.rejected_to is not None:
            closing.enter_context(alone(options.rejected_to, REJECTED_LOCK, "rejected_to"))
        closing.enter_context(_stopped_by_signals(stop))
        watcher = Watcher(
            predictor,
            Journal(options.output, PredictionRun.of(file, predictor.metadata, options.masks)),
            options,
            listener,
        )
        with watcher:
            watcher.run(_ticks(options, stop), stop)
        return watcher.summarize()


def _ticks(options: WatchOptions, stop: threading.Event) -> Iterator[list[Path]]:
    """Yield again and again, with the files that have changed as far as the system tells.

    Raises:
        InputError: the system does not tell of changes in this folder.
    """
    if options.once or options.poll is not None:
        while not stop.is_set():
            yield []
            stop.wait(TICK)
        return
    import watchfiles  # noqa: PLC0415 it comes with an extra

    milliseconds = int(1000 * TICK)
    folder = Path(os.path.abspath(options.folder))  # noqa: PTH100 not through links
    try:
        for changes in watchfiles.watch(
            folder,
            watch_filter=None,
            debounce=milliseconds,
            step=milliseconds // 2,
            stop_event=stop,
            rust_timeout=milliseconds,
            yield_on_timeout=True,
            raise_interrupt=False,
            ignore_permission_denied=True,
        ):
            yield [Path(path) for kind, path in changes if kind != watchfiles.Change.deleted]
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(
            f"the system does not tell of changes in {folder} ({reason}): give `poll` in seconds"
        ) from error


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Set an event at SIGTERM and Ctrl-C, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_: int, __: FrameType | None) -> None:
        stop.set()

    before: dict[signal.Signals, Callable[..., object] | int | None] = {}
    for number in STOPPING:
        before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
