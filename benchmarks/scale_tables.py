"""The tables of `scale.py`: what each set-up does in a day, what pictures and parts take, and what to buy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from capacity import (
    CORES,
    GIGA,
    Assumptions,
    Capacity,
    Place,
    Work,
    capacity,
    carried,
    cores_needed,
    cores_of_gpu,
    memory_gigabytes,
    training_hours,
)
from rich.table import Table
from stage_times import Loading

PARTS = (1, 100, 1000)
NEEDS = {"1 a second": 86400.0, "100,000 a day": 1e5, "10 million a day": 1e7}  # pictures of 24 hours
NETWORKS = (1.0, 10.0)  # gigabits a second
DAY = 86400  # seconds


@dataclass(frozen=True)
class Setup:
    """A place, and what a picture takes there."""

    name: str
    work: Work
    place: Place
    one_process: bool = False  # whether one process does all, whose GPU waits while it writes lines
    drawn: bool = False  # whether the figure has it

    def capacity(self, assumed: Assumptions) -> Capacity:
        """Return what it can do."""
        return capacity(self.work, self.place, assumed, one_process=self.one_process)

    def figures(self, assumed: Assumptions) -> dict[str, float | str]:
        """Return its numbers by name."""
        found = self.capacity(assumed)
        return {
            "pictures_a_second": found.rate,
            "pictures_a_day": found.a_day(assumed),
            "dollars_a_million": found.per_million(assumed),
            "held_up_by": self.held_up_by(assumed),
        }

    def held_up_by(self, assumed: Assumptions) -> str:
        """Return what holds it up; of cores, which stage takes them most."""
        found = self.capacity(assumed).bottleneck
        return f"{found} ({self.work.heaviest})" if found == CORES else found


def setups_table(rows: Sequence[Setup], assumed: Assumptions) -> Table:
    """Return pictures and dollars of each set-up."""
    title = f"{assumed.hours:g} hours a day, {assumed.utilisation:.0%} of them worked; a GPU is computed, not measured"
    table = Table("", "a second", "a day", "dollars a million", "held up by", title=title)
    for row in rows:
        found = row.capacity(assumed)
        cells = f"{found.rate:.1f}", f"{found.a_day(assumed):,.0f}", f"{found.per_million(assumed):.2f}"
        table.add_row(row.name, *cells, row.held_up_by(assumed))
    return table


def kinds_table(works: Mapping[str, tuple[Work, Work]], assumed: Assumptions) -> Table:
    """Return what kinds of pictures take: of the first work by cores alone, of the second with a GPU."""
    carry = [f"{gigabits:g} Gbit/s carries" for gigabits in NETWORKS]
    names = ("MB", "decode, ms", "resize, ms", "all of a core, ms", "cores a GPU", "a second by 1 GPU", "held up by")
    table = Table("", *names, *carry, title=f"by pictures; a GPU with {assumed.machine_cores} cores, several processes")
    for name, (cores, gpu) in works.items():
        decode, resize, *_ = cores.stages.values()
        own = Setup(name, gpu, Place(assumed.machine_cores, 1))
        times = (decode, resize, cores.core, cores_of_gpu(gpu, assumed), own.capacity(assumed).rate)
        rates = [f"{carried(gigabits, cores.size, assumed):.0f}" for gigabits in NETWORKS]
        table.add_row(name, f"{cores.size / 1e6:.2f}", *(f"{x:.1f}" for x in times), own.held_up_by(assumed), *rates)
    return table


def parts_table(loading: Mapping[str, Loading], seconds: float, assumed: Assumptions) -> Table:
    """Return what numbers of parts take: training by one core and by a machine; loading, memory and disk."""
    table = Table("parts", *(f"{parts:,}" for parts in PARTS), title="for many parts of one image encoder")
    for cores in (1, assumed.machine_cores):
        hours = [training_hours(parts, seconds, cores if parts > 1 else 1, assumed) for parts in PARTS]
        table.add_row("training on 1 core" if cores == 1 else f"training on {cores} cores", *map(_duration, hours))
    for name, own in loading.items():
        taken = [own.first_seconds + parts * own.more_seconds for parts in PARTS]
        memory = [memory_gigabytes(parts, own.first_mib, own.more_mib) for parts in PARTS]
        table.add_row(f"{name}: loading", *(f"{second:.1f} s" for second in taken))
        table.add_row(f"{name}: memory", *(f"{gigabytes:.2f} GB" for gigabytes in memory))
        table.add_row(f"{name}: files", *(f"{parts * own.file_mb * 1e6 / GIGA:.3f} GB" for parts in PARTS))
    return table


def needs_table(rows: Sequence[Setup], assumed: Assumptions) -> Table:
    """Return the cores that numbers of pictures need, by each set-up of one core, and the network."""
    own = [row for row in rows if row.place == Place()]
    table = Table(
        "", *(row.name.removeprefix("1 core, ") for row in own), "Gbit/s", title="cores needed, with room for peaks"
    )
    for name, pictures in NEEDS.items():
        a_second = pictures / DAY * 24 / assumed.hours
        cores = [str(cores_needed(a_second, row.work, assumed)) for row in own]
        table.add_row(name, *cores, f"{8 * a_second * own[0].work.size / (GIGA * assumed.network_share):.2f}")
    return table


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"
