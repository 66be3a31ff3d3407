"""A short, fixed share of the soak test, and that a failure would be seen."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource")  # which tools/soak.py measures with, and Windows lacks

import soak

from promptad.errors import InputError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SHARE = {"image": 150, "mask": 40, "results": 80, "checkpoint": 3, "command": 3, "writers": 1}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> soak.Bench:
    return soak.Bench(tmp_path_factory.mktemp("soak"))


@pytest.mark.parametrize("kind", SHARE)
def test_no_trial_fails(bench: soak.Bench, kind: str) -> None:
    figures = soak.soak(bench, ((kind, number) for number in range(SHARE[kind])))
    assert figures["failures"] == []
    assert figures["kinds"][kind] == {"tried": SHARE[kind], "failed": 0}


@pytest.mark.parametrize(
    "error", [ValueError("an index"), AssertionError("wrong"), InputError("two\nlines"), SystemExit(1), MemoryError()]
)
def test_a_failure_is_counted_and_told(
    bench: soak.Bench, error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(soak, "read_image", fail)
    figures = soak.soak(bench, iter([("image", 7), ("mask", 7)]))
    assert (figures["tried"], figures["failed"]) == (2, 1)
    assert figures["failures"][0]["number"] == 7
    assert "image 7 failed: Traceback" in capsys.readouterr().out


ENDLESS = """
import pathlib, sys
import soak

def hang(*_):
    while True:
        pass

soak.PATIENCE, soak.read_image = 1, hang
print(soak.tried(soak.Bench(pathlib.Path(sys.argv[1])), "image", 0))
"""


def test_an_endless_trial_is_a_failure(tmp_path: Path) -> None:
    """In a process of its own: an alarm may end one in which other libraries have compiled code of theirs."""
    tools = {"PYTHONPATH": str(Path(soak.__file__).parent)}
    ended = subprocess.run(
        [sys.executable, "-c", ENDLESS, tmp_path], check=False, capture_output=True, text=True, env=os.environ | tools
    )
    assert "took more than 1 s" in ended.stdout, ended.stderr


def test_damage_depends_on_the_number_alone() -> None:
    content = bytes(range(256))
    assert soak.damaged(content, random.Random("a 1")) == soak.damaged(content, random.Random("a 1"))
    assert len({soak.damaged(content, random.Random(f"a {number}")) for number in range(20)}) == 20
