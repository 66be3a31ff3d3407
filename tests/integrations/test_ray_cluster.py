"""Which cluster is joined, and what is said where there is none; most of it needs no Ray."""

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import refusal
from rich.console import Console

from promptad.integrations import ray_cluster
from promptad.integrations.ray_cluster import Cluster, joined_cluster


@pytest.fixture
def listening() -> Iterator[str]:
    """An address where somebody answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))


def started_here(folder: Path, address: str) -> None:
    """Leave the file of the cluster that `ray start` has started."""
    (folder / "ray").mkdir()
    (folder / "ray" / "ray_current_cluster").write_text(address)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r'pip install "promptad\[ray\]"'), joined_cluster("auto", Console(quiet=True)):
        pass


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nonsense", "host:port"),
        ("host:", "host:port"),
        ("host:70000", "host:port"),
        ("ray://10.0.0.5:10001", "of Ray's client"),
        ("127.0.0.1:1", "no Ray cluster answers there"),
    ],
)
def test_what_is_no_cluster_is_refused_at_once(address: str, words: str) -> None:
    started = time.perf_counter()
    assert words in refusal(ray_cluster._place_of, address)
    assert time.perf_counter() - started < 10  # Ray itself would wait for many minutes


def test_auto_joins_what_the_environment_names(monkeypatch: pytest.MonkeyPatch, listening: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", listening)
    assert ray_cluster._place_of("auto") == listening
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert "RAY_ADDRESS 127.0.0.1:1" in refusal(ray_cluster._place_of, "auto")


def test_auto_joins_the_cluster_of_this_machine_if_it_still_runs(tmp_path: Path, listening: str) -> None:
    assert ray_cluster._place_of("auto") == "local"
    started_here(tmp_path, listening)
    assert ray_cluster._place_of("auto") == "auto"  # by Ray itself, which has the token of that one


def test_auto_starts_one_where_a_killed_one_has_left_its_address(tmp_path: Path) -> None:
    started_here(tmp_path, "127.0.0.1:1")
    assert ray_cluster._place_of("auto") == "local"


def test_a_cluster_says_what_it_is() -> None:
    assert str(Cluster("10.0.0.5:6379", False, 2, 16, 4, 1.23)) == (
        "Ray joined at 10.0.0.5:6379: 2 machines: 16 cores, 4 GPUs, in 1.2 s"
    )
    assert str(Cluster("10.0.0.5:6379", True, 1, 2, 0, 3.0)) == "Ray started on this machine: 2 cores, in 3.0 s"
