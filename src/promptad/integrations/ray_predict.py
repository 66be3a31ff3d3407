"""Judge very many pictures by Ray Data: shards of them, by actors that hold a detector each; its extra is `ray`."""

import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from promptad.errors import InputError, in_words
from promptad.integrations.picked import Picked, Pictures
from promptad.integrations.ray_cluster import Cluster, enter_folder, first_line, import_ray
from promptad.integrations.shard_files import write_shard
from promptad.integrations.shard_folder import TRIED, ShardFolder
from promptad.runtime.judge import Draw, overlay_file
from promptad.runtime.predict import Predictor
from promptad.utils.quiet import errors_into, quiet_logging

TRIES = 4  # of a shard whose actor is killed each time: one of its pictures may be the cause
LOG = "ray.log"  # in the folder of the new shards: what Ray writes to standard error


class Opened(NamedTuple):
    """A detector that is ready to judge."""

    predictor: Predictor
    masks: Path | None  # folder of the pictures' regions, where each has its own
    draw: Draw | None  # what draws overlays


@dataclass(frozen=True)
class ActorWork:
    """What an actor is to do with each shard: plain data, which can be sent to another machine."""

    open: Callable[[int], Opened]  # opens the detector, for so many threads
    folder: str  # the working directory that relative names are of
    output: Path  # of the overlays
    batch_size: int
    threads: int


class Judged(NamedTuple):
    """What became of a shard."""

    number: int
    pictures: int
    seconds: float  # that judging it took, without opening the detector
    opening: float  # seconds that opening the detector took before it; 0 where it was open
    problem: str  # why it could not be judged, in words; empty if it was


@dataclass(frozen=True)
class JudgingEffort:
    """What the judging of all shards took."""

    pictures: int = 0
    actors: int = 0
    judging: float = 0.0  # seconds, of all actors together
    opening: float = 0.0  # seconds, of all actors together


class ShardJudge:
    """An actor: it holds one detector and judges one shard after another.

    Args:
        work: what it does with each.
    """

    def __init__(self, work: ActorWork) -> None:
        self.work = work
        self._opened: Opened | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Judge the shard of a row and write its file; what is wrong, as with a full disk, is part of the answer."""
        started = time.perf_counter()
        picked, file, first = pickle.loads(row["shard"])
        opening, count, problem = 0.0, 0, ""
        try:
            if self._opened is None:
                self._opened = self._open()
                opening = time.perf_counter() - started
            with _counted_try(file):
                count = self._judge(self._opened, picked, file, first)
        except (InputError, OSError) as error:
            problem = in_words(error) if isinstance(error, OSError) else str(error)
        seconds = time.perf_counter() - started - opening
        return Judged(row["number"], count, seconds, opening, problem)._asdict()

    def _open(self) -> Opened:
        """Open the detector in the working directory of the command.

        Raises:
            InputError: it cannot be opened, or there is no such directory here.
        """
        enter_folder(self.work.folder)
        return self.work.open(self.work.threads)

    def _judge(self, opened: Opened, picked: Picked, file: Path, first: int) -> int:
        """Write the records of the pictures of a shard, whose `first` has that number in all; return how many."""
        records = []
        coming = picked.predicted(opened.predictor, self.work.batch_size, opened.masks)
        for number, (record, anomaly_map) in enumerate(coming, first):
            if opened.draw is not None and anomaly_map is not None:
                place = overlay_file(self.work.output, number, record)
                record = opened.draw(record, anomaly_map, place)  # noqa: PLW2901 the same, with its overlay
            records.append(record)
        write_shard(file, records)
        return len(records)


@contextmanager
def _counted_try(file: Path) -> Iterator[None]:
    """Count, in a file beside that of a shard, how often it was begun and not ended: its actor was killed.

    Raises:
        InputError: that was too often.
    """
    tries = file.with_suffix(TRIED)
    before = tries.stat().st_size if tries.exists() else 0
    if before >= TRIES:
        raise InputError(
            f"the actor that judged {file.name} was killed {before} times, perhaps for lack of memory: lower"
            " `batch_size` or `shard_size`, or look for a picture that no decoder survives; finished shards are kept"
        )
    with tries.open("ab") as marks:
        marks.write(b".")
    yield
    tries.unlink(missing_ok=True)


def judge_shards(
    cluster: Cluster,
    pictures: Pictures,
    shards: ShardFolder,
    work: ActorWork,
    advance: Callable[[int], None],
    *,
    on_gpus: bool = False,
) -> JudgingEffort:
    """Judge the missing shards, each by one actor of a pool; those that are finished stay, whatever happens later.

    A shard whose actor is killed is judged again by another one.

    Args:
        cluster: where; it has been joined.
        pictures: all pictures.
        shards: the folder of their shards.
        work: what the actors do.
        advance: is called with how many pictures more are done.
        on_gpus: whether each actor has a GPU of its own, instead of a core.

    Raises:
        InputError: a detector cannot be opened there, a folder cannot be written to, or the cluster gives up.
    """
    places = cluster.gpus if on_gpus else cluster.cpus // work.threads
    actors = max(1, min(places, len(shards.missing)))
    found: list[Judged] = []
    with quiet_logging(), errors_into(shards.working / LOG):
        try:
            for judged in _judged(_rows(pictures, shards), work, actors, on_gpus):
                _check_judged(judged)
                found.append(judged)
                advance(judged.pictures)
        except InputError:
            raise
        except Exception as error:  # Ray raises many kinds
            raise InputError(
                f"the cluster has given up ({_cause(error)}): finished shards are kept, and the same command goes on"
            ) from error
    opening = sum(one.opening for one in found)
    return JudgingEffort(sum(one.pictures for one in found), actors, sum(one.seconds for one in found), opening)


def _check_judged(judged: Judged) -> None:
    """Check that a shard was judged.

    Raises:
        InputError: it was not.
    """
    if judged.problem:
        raise InputError(judged.problem)


def _rows(pictures: Pictures, shards: ShardFolder) -> list[dict[str, Any]]:
    """Return a row for each missing shard: its number; and its pictures, its file and its first line's number."""
    rows = []
    for number in shards.missing:
        start, stop = shards.plan.range_of(number)
        content = pictures.pick(start, stop), shards.new_file(number), start + 1
        rows.append({"number": number, "shard": pickle.dumps(content)})
    return rows


def _judged(rows: Sequence[dict[str, Any]], work: ActorWork, actors: int, on_gpus: bool) -> Iterator[Judged]:
    """Yield what became of each shard, as they are finished."""
    import_ray()
    import ray.data  # noqa: PLC0415 it is an extra

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    machine = {"num_gpus": 1} if on_gpus else {"num_cpus": work.threads}
    judged = ray.data.from_items(list(rows), override_num_blocks=len(rows)).map(
        ShardJudge,
        fn_constructor_args=(work,),
        compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=1),
        **machine,
    )
    for row in judged.iter_rows():
        yield Judged(**row)


def _cause(error: BaseException) -> str:
    """Return the words of the error that others were raised from."""
    while (inner := getattr(error, "cause", None) or error.__cause__) is not None and inner is not error:
        error = inner
    return first_line(error)
