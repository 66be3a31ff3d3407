"""Images read in threads, each and batch by batch."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import draw

from promptad.data import images
from promptad.data.batches import read_batches, read_each


def test_large_images_are_read_one_after_another_in_the_calling_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "LARGE", 100)
    small = [draw(tmp_path / f"small{number}.png", size=(10, 10)) for number in range(3)]
    large = [draw(tmp_path / f"large{number}.png", size=(11, 10)) for number in range(2)]
    items = [small[0], large[0], small[1], tmp_path / "missing.png", large[1], small[2]]
    threads: dict[Path, int] = {}

    def read(path: Path) -> str:
        threads[path] = threading.get_ident()
        return path.name

    with ThreadPoolExecutor(2) as pool:
        assert list(read_each(pool, read, items)) == [path.name for path in items]
        assert list(read_each(pool, len, [[large[0]], []], lambda item: item[0] if item else None)) == [1, 0]
    here = threading.get_ident()
    assert {path for path, thread in threads.items() if thread == here} == set(large)


@pytest.mark.parametrize("ahead", [False, True])
def test_batches_come_in_order_and_the_next_is_read_meanwhile_where_that_is_asked_for(ahead: bool) -> None:
    begun = {number: threading.Event() for number in range(5)}

    def read(number: int) -> str:
        begun[number].set()
        return str(number)

    with ThreadPoolExecutor(2) as pool:
        batches = read_batches(pool, read, range(5), 2, ahead=ahead)
        assert next(batches) == (range(2), ["0", "1"])
        if ahead:
            assert all(begun[number].wait(10) for number in (2, 3))
        assert [event.is_set() for event in begun.values()] == [True, True, ahead, ahead, False]
        assert list(batches) == [(range(2, 4), ["2", "3"]), (range(4, 5), ["4"])]
