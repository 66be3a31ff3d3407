"""The commands: each turns its options into work of the engine, and draws, writes and prints the results."""

from collections.abc import Callable
from importlib import import_module

from rich.console import Console

from promptad.cli.given import Arguments

Runner = Callable[[Arguments, Console], int | None]


def _of(module: str, function: str) -> Runner:
    """Return a command that imports its own module when it runs: none waits for what another one needs."""

    def run(given: Arguments, console: Console) -> int | None:
        runner: Runner = getattr(import_module(f"{__name__}.{module}"), function)
        return runner(given, console)

    return run


RUNNERS: dict[str, Runner] = {
    "train": _of("train", "run_train"),
    "predict": _of("predict", "run_predict"),
    "threshold": _of("threshold", "run_threshold"),
    "confirm": _of("confirm", "run_confirm"),
    "watch": _of("watch", "run_watch"),
    "export": _of("export", "run_export"),
    "serve": _of("serve", "run_serve"),
    "test": _of("evaluate", "run_test"),
    "train-all": _of("train", "run_train_all"),
    "sweep": _of("sweep", "run_sweep"),
    "compare": _of("compare", "run_compare"),
    "report": _of("report", "run_report"),
    "backbones": _of("backbones", "run_backbones"),
    "completion": _of("completion", "run_completion"),
    "demo-data": _of("demo_data", "run_demo_data"),
}
