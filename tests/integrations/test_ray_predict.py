"""Pictures that a Ray cluster judges; Ray is of an environment of its own (tools/test_ray.sh)."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from helpers import Outcome, Own, assert_refused, call, contents, read_lines

pytest.importorskip("ray.data", reason="Ray is of an environment of its own")

import ray
from pyarrow import Table
from pyarrow.parquet import write_table
from ray._private.state import actors as known_actors
from rich.console import Console

from promptad.data.fingerprints import file_sha256
from promptad.integrations.cluster_pictures import find_pictures
from promptad.integrations.ray_cluster import joined_cluster
from promptad.integrations.shard_files import read_shard
from promptad.runtime.predictions import LOCK

pytestmark = pytest.mark.slow

EXACT = 1e-6  # of scores in [0, 1]: an actor has one thread
COPIES = 4  # of each new picture
SIZE = 4  # pictures of a shard


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A cluster of two cores, which commands join, since this process has."""
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def many(own: Own, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in two folders, one of which cannot be read."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(COPIES):
        for path in own.new.iterdir():
            place = folder / f"{number % 2}" / f"{path.stem}_{number}{path.suffix}"
            if path.stem != "broken" or number == 1:
                place.parent.mkdir(exist_ok=True)
                shutil.copy(path, place)
    return folder


@pytest.fixture(scope="module")
def expected(own: Own, many: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The lines that one process writes for them."""
    output = tmp_path_factory.mktemp("one")
    assert call("predict", own.part, many, "--output", output, "--batch-size", "4").code == 0
    return read_lines(output)


@pytest.fixture
def predict(own: Own, tmp_path: Path) -> Callable[..., Outcome]:
    """The command on the cluster, in shards of some pictures."""

    def on_cluster(*words: str | Path) -> Outcome:
        count = next((number for number, word in enumerate(words) if str(word).startswith("--")), len(words))
        return call("predict", own.part, *words[:count], *options_for(tmp_path / "out"), *words[count:])

    return on_cluster


@pytest.fixture(scope="module")
def judged(own: Own, many: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """What the command has written of all pictures, and said; tests only read it, or work on a copy."""
    output = tmp_path_factory.mktemp("judged") / "out"
    return output, call("predict", own.part, many, "--overlays", "--fail-on-anomaly", *options_for(output))


def options_for(output: Path) -> list[str | Path]:
    return ["--cluster", "auto", "--output", output, "--batch-size", "4", "--shard-size", str(SIZE)]


def shard_lines(output: Path) -> list[dict[str, Any]]:
    files = sorted(output.glob("part-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def assert_alike(lines: list[dict[str, Any]], expected: list[dict[str, Any]], *, named: bool = True) -> None:
    """Check that lines say the same as those of one process."""
    assert len(lines) == len(expected)
    for one, other in zip(lines, expected, strict=True):
        assert one.keys() == other.keys()
        assert not named or one["path"] == other["path"]
        if "error" not in one:
            assert one["decision"] == other["decision"]
            assert one["score"] == pytest.approx(other["score"], abs=EXACT)
            assert one["explanation"]["most_like"] == other["explanation"]["most_like"]


def test_shards_say_what_one_process_says(
    judged: tuple[Path, Outcome], expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    output, outcome = judged
    assert outcome.code == 3, outcome.errors
    assert outcome.errors == ""
    assert f"{len(expected)} pictures: " in outcome.output
    assert "1 unreadable" in outcome.output
    assert "without a cluster this is faster" in outcome.output
    lines = shard_lines(output)
    overlays = [Path(line.pop("overlay")) for line in lines if "error" not in line]
    assert_alike(lines, expected)
    assert all(overlay.is_file() for overlay in overlays)
    assert call("report", "--predictions", output, "--output", tmp_path / "page.html", "--use-cpu").code == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(line["path"] in page for line in expected if line.get("decision") == "anomaly")


def test_the_manifest_counts_and_fingerprints_the_shards(
    judged: tuple[Path, Outcome], expected: list[dict[str, Any]]
) -> None:
    output, _ = judged
    manifest = json.loads((output / "manifest.json").read_text())
    shards, count = manifest["shards"], len(expected)
    assert [shard["total"] for shard in shards] == [min(SIZE, count - start) for start in range(0, count, SIZE)]
    for kind in ("total", "anomalies", "unsure", "unreadable"):
        assert manifest["total"][kind] == sum(shard[kind] for shard in shards)
    assert manifest["total"]["anomalies"] == sum(line.get("decision") == "anomaly" for line in expected)
    assert [shard["sha256"] for shard in shards] == [file_sha256(output / shard["file"]) for shard in shards]
    names = {LOCK, "manifest.json", "overlays", "run.json", *(shard["file"] for shard in shards)}
    assert {path.name for path in output.iterdir()} == names


def test_only_missing_and_damaged_shards_are_judged_again(
    judged: tuple[Path, Outcome], predict: Callable[..., Outcome], many: Path, tmp_path: Path
) -> None:
    output = shutil.copytree(judged[0], tmp_path / "out")
    before, shards = shard_lines(output), sorted(output.glob("part-*"))
    kept = {path: path.stat().st_ino for path in shards[2:]}
    shards[1].unlink()
    shards[0].write_bytes(shards[0].read_bytes()[:-20])  # as a broken disk may leave it
    again = predict(many, "--overlays")
    assert again.code == 0, again.errors
    assert f"{len(kept)} of {len(shards)} shards are there already" in again.output
    assert {path: path.stat().st_ino for path in kept} == kept
    for line in (lines := shard_lines(output)) + before:
        line.pop("overlay", None)
    assert_alike(lines, before)
    finished = predict(many, "--overlays")
    assert f"{len(shards)} of {len(shards)} shards are there already" in finished.output
    assert finished.code == 0


def test_another_command_starts_anew_and_keeps_the_earlier_shards_until_it_ends(
    judged: tuple[Path, Outcome], predict: Callable[..., Outcome], many: Path, tmp_path: Path
) -> None:
    output = shutil.copytree(judged[0], tmp_path / "out")
    before = contents(output)
    (output / "part-list.txt").write_text("the user's")
    assert_refused(predict(many, "--device", "cuda"), "the cluster has no GPU")
    assert before.items() <= contents(output).items()
    outcome = predict(many, "--shard-size", "100")
    assert "already" not in outcome.output
    names = {path.name for path in output.iterdir()}
    assert {"part-00000.jsonl", "part-list.txt", "manifest.json"} <= names
    assert "part-00001.jsonl" not in names
    assert "shards.part" not in names


def test_rows_of_parquet_files_are_judged_as_files(
    predict: Callable[..., Outcome], expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    names = [line["path"] for line in expected]
    (tmp_path / "tables").mkdir()
    for number, some in enumerate((names[:5], names[5:])):
        columns = {"bytes": [Path(name).read_bytes() for name in some], "path": some}
        write_table(Table.from_pydict(columns), tmp_path / "tables" / f"{number}.parquet", row_group_size=3)
    outcome = predict(tmp_path / "tables", "--shard-format", "parquet")
    assert outcome.code == 0, outcome.errors
    files = sorted((tmp_path / "out").glob("part-*.parquet"))
    assert len(files) == -(-len(names) // SIZE)
    records = [record for file in files for record in read_shard(file) or []]
    assert_alike([json.loads(record.to_line()) for record in records], expected)
    assert_refused(call("report", "--predictions", tmp_path / "out", "--use-cpu"), "only jsonl")
    assert_refused(predict(tmp_path / "tables", "--overlays"), "--overlays", "files alone")


def test_pictures_of_stores_are_judged_by_their_addresses(
    predict: Callable[..., Outcome], many: Path, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    """One is of pyarrow, the other of fsspec."""
    outcome = predict(f"file://{many / '0'}", f"local://{many / '1'}", "--shard-size", "100")
    assert outcome.code == 0, outcome.errors
    lines = shard_lines(tmp_path / "out")
    addresses = {"0": "file", "1": "local"}
    of = [Path(line["path"]) for line in expected]
    assert [line["path"] for line in lines] == [f"{addresses[path.parent.name]}://{path}" for path in of]
    assert_alike(lines, expected, named=False)


def test_a_killed_actor_loses_nothing(
    predict: Callable[..., Outcome], many: Path, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill_one() -> None:
        """Kill an actor as soon as it has begun a shard, and before it has ended it."""
        working = tmp_path / "out" / "shards.part"
        for _ in range(10_000):
            if list(working.glob("*.tries")):
                killed.extend(judges()[:1])
            if killed:
                os.kill(killed[0], signal.SIGKILL)
                return
            time.sleep(0.005)

    thread = Thread(target=kill_one)
    thread.start()
    outcome = predict(many)
    thread.join()
    assert killed
    assert outcome.code == 0, outcome.errors
    assert_alike(shard_lines(tmp_path / "out"), expected)
    assert not (tmp_path / "out" / "shards.part").exists()


def judges() -> list[int]:
    """The processes of the actors that judge."""
    return [
        actor["Pid"]
        for actor in known_actors().values()  # the public list needs the dashboard
        if actor["State"] == "ALIVE" and "ShardJudge" in actor["ActorClassName"]
    ]


def test_what_an_actor_cannot_do_is_said_in_one_line(
    predict: Callable[..., Outcome], own: Own, many: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    shutil.copy(own.new / "broken.png", broken)
    assert_refused(predict(broken), "none of the pictures could be read")
    assert_refused(call("predict", own.part, many, "--shard-size", "8"), "--shard-size 8", "--cluster")
    assert_refused(predict(many, "--device", "cuda:1"), "--device cuda:1")
    assert_refused(predict(many, "--shard-format", "csv"), "shard format")
    assert_refused(predict(many, "--which"), "--which")
    assert_refused(call("predict", own.part.parent, many, "--cluster", "auto"), "several")
    assert_refused(predict("s3:nothing"), "no picture")
    table = tmp_path / "other.parquet"
    write_table(Table.from_pydict({"image": [b""]}), table)
    assert_refused(predict(table), "no column 'path'", "image")
    table.write_bytes(b"no table")
    assert_refused(predict(table), "cannot be read as a Parquet file")
    write_table(Table.from_pydict({"path": ["a.png"] * 9, "bytes": [b"a"] * 9}), table)
    content = bytearray(table.read_bytes())
    content[4:80] = bytes(76)
    table.write_bytes(content)
    assert_refused(predict(table), str(table), "cannot be read as a Parquet file")
    assert_refused(predict("nowhere://bucket/a.png"), "nowhere://bucket/a.png cannot be opened")
    assert_refused(call("predict", own.part, many, "--cluster", "auto", "--output", "s3://bucket/out"), "--output")
    before = own.lines(tmp_path / "out2")
    assert_refused(
        call("predict", own.part, many, "--cluster", "auto", "--output", tmp_path / "out2"), "of one process"
    )
    assert read_lines(tmp_path / "out2") == before


def test_a_cluster_that_does_not_answer_is_refused_at_once(own: Own, many: Path, tmp_path: Path) -> None:
    started = time.perf_counter()
    options = ("--output", tmp_path / "out", "--cluster")
    assert_refused(call("predict", own.part, many, *options, "127.0.0.1:1"), "this process has joined")
    ours = ray.get_runtime_context().gcs_address
    with joined_cluster(ours, Console(quiet=True)) as cluster:
        assert (cluster.address, cluster.cpus, cluster.is_own) == (ours, 2, False)
    assert ray.is_initialized()
    assert time.perf_counter() - started < 20


def test_ranges_of_rows_are_picked_across_files(tmp_path: Path) -> None:
    for file, start in (("a", 0), ("b", 7)):
        names = [f"{number}.png" for number in range(start, start + 7)]
        table = Table.from_pydict({"path": names, "bytes": [name.encode() for name in names]})
        write_table(table, tmp_path / f"{file}.parquet", row_group_size=4)
    pictures = find_pictures([str(tmp_path)])
    picked: Any = pictures.pick(2, 12)
    assert [(group.number, first, last) for group, first, last in picked.parts] == [
        (0, 2, 4),
        (1, 0, 3),
        (0, 0, 4),
        (1, 0, 1),
    ]
    assert pictures.names == tuple(f"{number}.png" for number in range(14))
