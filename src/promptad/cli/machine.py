"""From options to the machine that works."""

import torch
from rich.console import Console

from promptad.backbones.factory import choose_device
from promptad.cli.given import Arguments
from promptad.errors import InputError


def find_device(given: Arguments, console: Console) -> torch.device:
    """Return the GPU that is asked for, or GPU 0 if there is one; the CPU otherwise."""
    asked = given["gpu_id"]
    device, remark = choose_device(None if given["use_cpu"] else asked or 0)
    if remark and asked is not None:
        console.print(remark)
    return device


def check_batch_size(given: Arguments) -> None:
    """Check that a batch of that size can be made."""
    if given["batch_size"] < 1:
        raise InputError(f"`batch_size` {given['batch_size']}: must be at least 1")
