"""How many pictures a place judges, at what cost, and what holds it up: arithmetic on figures that others measure.

Milliseconds of one core and bytes of a picture are measured (`stage_times.py`), operations are counted, and all else is
in `Assumptions`.
"""

import math
from dataclasses import dataclass, field
from typing import Any

GIGA = 1e9
TERA = 1e12
CORES, GPU, NETWORK, SERVER = "cores", "GPU", "network", "file server"
DECODE, RESIZE, ENCODE, HEAD, RECORD, LINE = "decode", "resize", "encoder", "head and map", "regions", "line"
AFTER = (RECORD, LINE)  # stages that one process does picture by picture, in one thread, while its GPU waits


def _assumed(default: float, words: str) -> Any:
    """A field with the words that tell what it is, with its unit."""
    return field(default=default, metadata={"words": words})


@dataclass(frozen=True)
class Assumptions:
    """What is assumed, and measured nowhere; each is an option of `scale.py` by its name."""

    core_hour: float = _assumed(0.05, "dollars an hour of a core")
    gpu_hour: float = _assumed(0.80, "dollars an hour of a GPU, beside the cores of its machine")
    gpu_teraflops: float = _assumed(120.0, "10^12 operations a second, the peak of a GPU's products in half precision")
    gpu_share: float = _assumed(0.3, "share of that peak that an image encoder reaches")
    machine_cores: int = _assumed(16, "cores of a machine")
    machines: int = _assumed(10, "machines of the cluster")
    core_scaling: float = _assumed(0.8, "a core's speed while all work, as a share of one alone")
    machine_gigabits: float = _assumed(10.0, "Gbit a second of each machine's network")
    server_gigabits: float = _assumed(10.0, "Gbit a second of the file server that all machines read from")
    network_share: float = _assumed(0.8, "share of the network that carries pictures")
    hours: float = _assumed(24.0, "hours a day that pictures come in")
    utilisation: float = _assumed(0.7, "share of these hours that is worked: the rest is waiting, and room for peaks")


@dataclass(frozen=True)
class Work:
    """What one picture takes.

    Attributes:
        stages: milliseconds of one core by their names, each done by the cores.
        gpu: milliseconds of a GPU; 0 if it has nothing to do.
        size: bytes of its file.
    """

    stages: dict[str, float]
    size: float
    gpu: float = 0.0

    @property
    def core(self) -> float:
        """Milliseconds of one core."""
        return sum(self.stages.values())

    @property
    def heaviest(self) -> str:
        """The stage that takes the cores most, with its share of their time."""
        name = max(self.stages, key=self.stages.__getitem__)
        return f"{name}, {self.stages[name] / self.core:.0%}"


@dataclass(frozen=True)
class Place:
    """Where pictures are judged: machines that are alike."""

    cores: int = 1  # of each machine
    gpus: int = 0  # of each machine
    machines: int = 1


@dataclass(frozen=True)
class Capacity:
    """What a place can do, while it works."""

    limits: dict[str, float]  # pictures a second that each of its means could do
    dollars: float  # an hour

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return min(self.limits.values())

    @property
    def bottleneck(self) -> str:
        """What holds it up."""
        return min(self.limits, key=self.limits.__getitem__)

    def a_day(self, assumed: Assumptions) -> float:
        """Return the pictures of a day."""
        return self.rate * 3600 * assumed.hours * assumed.utilisation

    def per_million(self, assumed: Assumptions) -> float:
        """Return the dollars of a million pictures; hours without work are paid, too."""
        return self.dollars * 1e6 / (self.rate * 3600 * assumed.utilisation)


def capacity(work: Work, place: Place, assumed: Assumptions, *, one_process: bool = False) -> Capacity:
    """Return what a place can do.

    Args:
        work: what a picture takes.
        place: where it is judged.
        assumed: prices, networks, and how cores share a machine.
        one_process: whether one does all: it reads pictures while its GPU works, and writes lines while that waits.
    """
    speed = scaling(place.cores, assumed)
    limits = {CORES: 1000 * place.cores * speed / work.core}
    if place.gpus:
        after = sum(work.stages.get(name, 0.0) for name in AFTER) if one_process else 0.0
        limits[GPU] = 1000 / (work.gpu / place.gpus + after)
    limits[NETWORK] = carried(assumed.machine_gigabits, work.size, assumed)
    limits = {name: place.machines * rate for name, rate in limits.items()}
    limits[SERVER] = carried(assumed.server_gigabits, work.size, assumed)
    dollars = place.machines * (place.cores * assumed.core_hour + place.gpus * assumed.gpu_hour)
    return Capacity(limits, dollars)


def scaling(cores: int, assumed: Assumptions) -> float:
    """Return the speed of one of so many cores that work, as a share of one that works alone."""
    return 1.0 if cores == 1 else assumed.core_scaling


def carried(gigabits: float, size: float, assumed: Assumptions) -> float:
    """Return the pictures of `size` bytes that a network carries in a second."""
    return gigabits * GIGA * assumed.network_share / (8 * size)


def gpu_milliseconds(operations: float, assumed: Assumptions) -> float:
    """Return how long a GPU takes for floating-point operations."""
    return 1000 * operations / (assumed.gpu_teraflops * TERA * assumed.gpu_share)


def cores_needed(a_second: float, work: Work, assumed: Assumptions) -> int:
    """Return the cores that so many pictures a second need, on average over the hours, with room for peaks."""
    alone = a_second * work.core / 1000 / assumed.utilisation
    return 1 if alone <= 1 else math.ceil(alone / assumed.core_scaling)


def cores_of_gpu(work: Work, assumed: Assumptions) -> float:
    """Return the cores that keep one GPU busy."""
    return work.core / (work.gpu * assumed.core_scaling)


def training_hours(parts: int, seconds: float, cores: int, assumed: Assumptions) -> float:
    """Return the hours that the training of parts takes, each on one core, as many side by side as there are cores."""
    rounds = math.ceil(parts / cores)
    return rounds * seconds / scaling(cores, assumed) / 3600


def memory_gigabytes(parts: int, first: float, more: float) -> float:
    """Return the memory of a process with detectors of one tower, from the MiB of the first and of each further one."""
    return (first + (parts - 1) * more) * 2**20 / GIGA


@dataclass(frozen=True)
class TowerShape:
    """The sizes of a plain ViT."""

    side: int  # pixels
    patch: int  # pixels
    width: int
    blocks: int
    dimensions: int  # of the text space
    hidden: float = 4.0  # width of an MLP, in widths


def tower_operations(shape: TowerShape) -> int:
    """Return the floating-point operations of one image through both paths of the image encoder.

    A product of [a, b] and [b, c] counts 2 a b c, and all else nothing. Patch tokens come from the local path, which
    adds value-value attention and no MLP; the last block of the class path serves the class token alone.
    """
    patches, width = (shape.side // shape.patch) ** 2, shape.width
    tokens, square = patches + 1, 2 * width * width  # of one token through a matrix [width, width]
    embedding = 2 * patches * 3 * shape.patch**2 * width
    mlp = int(2 * shape.hidden * square)  # of one token

    def attention(queries: int) -> int:
        return 2 * (2 * queries * tokens * width) + queries * square  # scores, mixing; the projection behind

    local = attention(patches)
    block = tokens * 3 * square + attention(tokens) + tokens * mlp + local
    last = tokens * 2 * square + square + attention(1) + mlp + local
    return embedding + (shape.blocks - 1) * block + last + 2 * tokens * width * shape.dimensions
