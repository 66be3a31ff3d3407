"""The free memory of a container is that of its limit, without what is given back when it is asked for."""

from pathlib import Path

import numpy as np
import pytest

from promptad.utils.memory import free_memory, used_memory


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_has_what_its_limit_leaves(tmp_path: Path, version: int) -> None:
    folder, names, cache = {
        1: (tmp_path / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_inactive_file"),
        2: (tmp_path, ("memory.max", "memory.current"), "inactive_file"),
    }[version]
    folder.mkdir(exist_ok=True)
    for name, count in zip(names, (5_000_000, 3_000_000), strict=True):
        (folder / name).write_text(f"{count}\n")
    (folder / "memory.stat").write_text(f"anon 12\n{cache} 500000\n")
    assert free_memory(tmp_path) == 2_500_000
    (folder / names[0]).write_text("max\n")
    assert free_memory(tmp_path) > 50_000_000


def test_a_process_holds_more_with_more_in_it() -> None:
    before = used_memory()
    held = np.ones(25_000_000)
    assert used_memory() - before > 0.9 * held.nbytes
