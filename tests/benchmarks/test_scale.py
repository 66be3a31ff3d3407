"""The arithmetic of pictures a day and of their cost: units, what holds a place up, clusters, parts, operations."""

from dataclasses import replace
from pathlib import Path

import pytest
from capacity import (
    CORES,
    DECODE,
    ENCODE,
    GPU,
    NETWORK,
    RECORD,
    SERVER,
    Assumptions,
    Place,
    TowerShape,
    Work,
    capacity,
    carried,
    cores_needed,
    cores_of_gpu,
    gpu_milliseconds,
    memory_gigabytes,
    tower_operations,
    training_hours,
)
from PIL import Image
from scale_figure import draw_stages
from scale_tables import Setup, setups_table
from stage_times import best, counted_operations

from promptad.backbones.clip import Backbone

ASSUMED = Assumptions(
    core_hour=0.1,
    gpu_hour=1.0,
    machine_cores=10,
    machines=4,
    core_scaling=0.5,
    machine_gigabits=1.0,
    server_gigabits=3.0,
    network_share=0.8,
    hours=10.0,
    utilisation=0.5,
)
SMALL, MEGABYTE = 1e3, 1e6  # bytes
ON_CORES = Work({DECODE: 20.0, ENCODE: 180.0}, SMALL)
ON_GPU = Work({DECODE: 20.0, RECORD: 5.0}, SMALL, gpu=2.0)


def test_one_core_works_at_its_whole_speed() -> None:
    found = capacity(ON_CORES, Place(), ASSUMED)
    assert found.rate == pytest.approx(5)  # 1000 ms by 200
    assert found.bottleneck == CORES
    assert found.dollars == pytest.approx(0.1)


def test_a_day_has_its_worked_hours() -> None:
    assert capacity(ON_CORES, Place(), ASSUMED).a_day(ASSUMED) == pytest.approx(5 * 3600 * 10 * 0.5)


def test_a_million_pictures_pay_for_the_hours_that_wait_too() -> None:
    # 1e6 pictures are 200,000 s of work, 55.6 h, and as many of waiting, at 0.1 dollars each
    assert capacity(ON_CORES, Place(), ASSUMED).per_million(ASSUMED) == pytest.approx(2 * 1e6 / 5 / 3600 * 0.1)


def test_cores_of_one_machine_slow_each_other() -> None:
    assert capacity(ON_CORES, Place(10), ASSUMED).rate == pytest.approx(10 * 0.5 * 5)


def test_a_network_carries_bits() -> None:
    assert carried(1.0, MEGABYTE, ASSUMED) == pytest.approx(1e9 * 0.8 / 8 / 1e6)  # 100 pictures
    assert carried(10.0, MEGABYTE, ASSUMED) == pytest.approx(1000)


def test_a_gpu_takes_operations_by_the_share_of_its_peak() -> None:
    assert gpu_milliseconds(60e9, replace(ASSUMED, gpu_teraflops=100.0, gpu_share=0.3)) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("cores", "size", "bottleneck", "rate"),
    [
        (10, SMALL, CORES, 10 * 0.5 * 1000 / 25),  # the GPU waits for decoding
        (100, SMALL, GPU, 500),
        (100, MEGABYTE, NETWORK, 100),
    ],
)
def test_what_is_slowest_holds_a_gpu_up(cores: int, size: float, bottleneck: str, rate: float) -> None:
    found = capacity(replace(ON_GPU, size=size), Place(cores, 1), ASSUMED)
    assert found.bottleneck == bottleneck
    assert found.rate == pytest.approx(rate)
    assert found.dollars == pytest.approx(cores * 0.1 + 1.0)


def test_one_process_reads_while_its_gpu_works_and_writes_while_it_waits() -> None:
    # 25 ms of 10 cores at half speed; 2 ms of the GPU and 5 ms of one thread
    found = capacity(ON_GPU, Place(10, 1), ASSUMED, one_process=True)
    assert found.bottleneck == GPU
    assert found.rate == pytest.approx(1000 / (2 + 5))
    slow = capacity(ON_GPU, Place(4, 1), ASSUMED, one_process=True)
    assert slow.bottleneck == CORES
    assert slow.rate == pytest.approx(1000 * 4 * 0.5 / 25)


def test_the_cores_of_a_gpu_keep_it_just_busy() -> None:
    cores = cores_of_gpu(ON_GPU, ASSUMED)
    limits = capacity(ON_GPU, Place(round(cores), 1), ASSUMED).limits
    assert cores == pytest.approx(25 / 2 / 0.5)
    assert limits[CORES] == pytest.approx(limits[GPU])


def test_a_cluster_does_as_much_as_its_machines_until_the_file_server_does_not() -> None:
    one, four = (capacity(ON_CORES, Place(10, 0, machines), ASSUMED) for machines in (1, 4))
    assert four.rate == pytest.approx(4 * one.rate)
    assert four.per_million(ASSUMED) == pytest.approx(one.per_million(ASSUMED))
    large = Work({ENCODE: 1.0}, MEGABYTE)
    machine, cluster = (capacity(large, Place(10, 0, machines), ASSUMED) for machines in (1, 4))
    assert (machine.bottleneck, cluster.bottleneck) == (NETWORK, SERVER)
    assert [machine.rate, cluster.rate] == pytest.approx([100, 300])  # and not 400
    assert cluster.per_million(ASSUMED) == pytest.approx(4 / 3 * machine.per_million(ASSUMED))


@pytest.mark.parametrize(("a_second", "cores"), [(1.0, 1), (2.5, 1), (3.0, 3), (50.0, 40)])
def test_cores_that_are_needed_leave_room_for_peaks(a_second: float, cores: int) -> None:
    # a core does 5 a second, half of them as it is worked half of the time, and half of these beside others
    assert cores_needed(a_second, ON_CORES, ASSUMED) == cores


def test_parts_train_side_by_side_in_rounds() -> None:
    assert training_hours(1, 36.0, 1, ASSUMED) == pytest.approx(0.01)
    assert training_hours(1000, 36.0, 1, ASSUMED) == pytest.approx(10)
    assert training_hours(1000, 36.0, 10, ASSUMED) == pytest.approx(2)  # 100 rounds at half speed
    assert training_hours(1001, 36.0, 10, ASSUMED) == pytest.approx(2.02)


def test_parts_share_their_image_encoder() -> None:
    assert memory_gigabytes(1, 1000.0, 1.0) == pytest.approx(1000 * 2**20 / 1e9)
    assert memory_gigabytes(1000, 1000.0, 1.0) == pytest.approx(1999 * 2**20 / 1e9)


def test_operations_are_those_that_torch_counts(tiny: Backbone) -> None:
    visual = tiny.image_encoder.visual  # type: ignore[attr-defined]
    block = visual.transformer.resblocks[0]
    shape = TowerShape(
        side=tiny.image_encoder.image_size,
        patch=visual.conv1.kernel_size[0],
        width=visual.proj.shape[0],
        blocks=len(visual.transformer.resblocks),
        dimensions=visual.proj.shape[1],
        hidden=block.mlp.c_fc.out_features / visual.proj.shape[0],
    )
    assert tower_operations(shape) == counted_operations(tiny)


def test_times_are_the_fewest_of_all_runs_but_the_first() -> None:
    clock = iter([0.0, 5.0, 10.0, 12.0, 20.0, 23.0])
    runs: list[int] = []
    assert best(lambda: runs.append(1), 3, lambda: next(clock)) == 2.0
    assert len(runs) == 4


def test_a_table_names_the_stage_that_cores_wait_for() -> None:
    (row,) = setups_table([Setup("one core", ON_CORES, Place())], ASSUMED).rows
    assert row is not None
    assert Setup("one core", ON_CORES, Place()).held_up_by(ASSUMED) == f"{CORES} ({ENCODE}, 90%)"
    assert Setup("a GPU", ON_GPU, Place(100, 1)).held_up_by(ASSUMED) == GPU


def test_the_figure_has_a_bar_for_each(tmp_path: Path) -> None:
    file = tmp_path / "scale.png"
    draw_stages({"cores": ON_CORES, "a GPU": replace(ON_GPU, stages=ON_CORES.stages)}, file)
    with Image.open(file) as image:
        assert image.width > image.height > 0
