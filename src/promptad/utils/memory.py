"""How much memory there is."""

from contextlib import suppress
from pathlib import Path

import psutil

GROUPS = (  # of a container: limit, use, and what of the use is given back when it is asked for
    ("memory.max", "memory.current", "inactive_file"),  # control groups, version 2
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),  # version 1
)


def free_memory(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes that are free on this machine, or in this container if that has a limit in `groups`."""
    free = int(psutil.virtual_memory().available)
    for limit, used, given_back in GROUPS:
        with suppress(OSError, ValueError, KeyError):  # no such group, or one without a limit
            stat = (groups / used).with_name("memory.stat").read_text().split()
            kept = int((groups / used).read_text()) - int(dict(zip(stat[::2], stat[1::2], strict=True))[given_back])
            free = min(free, int((groups / limit).read_text()) - kept)
    return max(free, 0)


def used_memory() -> int:
    """Return the bytes that this process holds by itself, without those of libraries, which processes share."""
    return int(psutil.Process().memory_full_info().uss)


def in_gigabytes(count: int) -> str:
    """Return bytes in words.

    >>> in_gigabytes(1_550_000_000)
    '1.6 GB'
    """
    return f"{count / 1e9:.1f} GB"
