"""Images read in threads: each of some, or batch by batch, the next one meanwhile."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from itertools import islice
from typing import Any, TypeVar

from promptad.data.images import is_large

Item = TypeVar("Item")
Result = TypeVar("Result")


class Large:
    """Stands for a large image, which is not read in a pool."""


def read_each(
    pool: Executor,
    read: Callable[[Item], Result],
    items: Sequence[Item],
    path_of: Callable[[Item], Any] = lambda one: one,
) -> Iterator[Result]:
    """Apply `read` to images in the threads of a pool, but to large ones one after another in the calling thread.

    A large image takes many times its file's size while it is decoded, and each thread's allocator keeps what it once
    had. Reading starts at once; results come in order. `path_of` gives the path of an item, or what else it is.
    """

    def read_small(item: Item) -> Result | Large:
        return Large() if is_large(path_of(item)) else read(item)

    reading = [pool.submit(read_small, item) for item in items]
    found = ((item, task.result()) for item, task in zip(items, reading, strict=True))
    return (read(item) if isinstance(result, Large) else result for item, result in found)


def read_batches(
    pool: Executor, read: Callable[[Item], Result], items: Sequence[Item], size: int, *, ahead: bool
) -> Iterator[tuple[Sequence[Item], list[Result]]]:
    """Yield images batch by batch, and as they were read by `read_each`.

    Args:
        pool: whose threads read.
        read: reads an image.
        items: the images.
        size: images of a batch.
        ahead: whether the next batch is read while one is worked on: two are in memory then. That is for a GPU: on a
            CPU, threads that read would delay those that compute, which wait for each other at every layer.
    """
    batches = [items[start : start + size] for start in range(0, len(items), size)]
    coming = (read_each(pool, read, batch) for batch in batches)
    for batch, of_images in zip(batches, _one_ahead(coming) if ahead else coming, strict=True):
        yield batch, list(of_images)


def _one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items, each after the next one has been requested from `items`."""
    iterator = iter(items)
    ahead = deque(islice(iterator, 1))
    for item in iterator:
        ahead.append(item)
        yield ahead.popleft()
    yield from ahead
