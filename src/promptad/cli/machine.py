"""From options to the machine that works."""

import torch
from rich.console import Console

from promptad.backbones.factory import as_device, choose_device
from promptad.cli.given import Arguments
from promptad.errors import InputError


def find_device(given: Arguments, console: Console) -> torch.device:
    """Return the device that is asked for; by default GPU 0 if there is one, and the CPU otherwise.

    Raises:
        InputError: it is asked for twice, or is not there; a GPU that is not there is only told if its number is given,
            as the original PromptAD's commands always do.
    """
    asked = given["gpu_id"]
    if (device := given["device"]) is not None:
        if asked is not None or given["use_cpu"]:
            twice = "use_cpu" if given["use_cpu"] else "gpu_id"
            raise InputError(f"`device` {device}: leave out `{twice}`")
        return as_device(device)
    device, remark = choose_device(None if given["use_cpu"] else asked or 0)
    if remark and asked is not None:
        console.print(remark)
    return device


def check_batch_size(given: Arguments) -> None:
    """Check that a batch of that size can be made."""
    if given["batch_size"] < 1:
        raise InputError(f"`batch_size` {given['batch_size']}: must be at least 1")
