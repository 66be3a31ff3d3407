"""Commands on a machine without a GPU, or with a full one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import LIGHTEST, Trained, assert_refused, call
from rich.console import Console

from promptad.cli.commands import RUNNERS


def test_a_missing_gpu_is_reported_in_one_line(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    outcome = call("train", *trained.arguments, "--root-dir", tmp_path, *LIGHTEST, "--gpu-id", "0")
    assert (outcome.code, outcome.errors) == (0, "")
    assert [line for line in outcome.output.splitlines() if "CUDA" in line] == [
        "--gpu-id 0: no CUDA device here, running on the CPU"
    ]
    asked_for_none = call("train", *trained.arguments, "--root-dir", tmp_path, *LIGHTEST, "--use-cpu", "True")
    assert "CUDA" not in asked_for_none.output


def test_an_out_of_memory_error_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out_of_memory(_: dict[str, Any], __: Console) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB\nand so on")

    monkeypatch.setitem(RUNNERS, "train", run_out_of_memory)
    assert_refused(call("train"), "the GPU is out of memory", "lower --batch-size or --resolution", "--use-cpu")
