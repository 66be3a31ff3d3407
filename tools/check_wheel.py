#!/usr/bin/env python
"""Builds the wheel and the sdist, and uses the wheel on several versions of Python, far from the checkout.

usage: python tools/check_wheel.py [PYTHON ...] [--tests]

For each Python (3.11, 3.12 and 3.13; uv finds or fetches them) the wheel is installed with its extra `onnx` into a new
environment. There, in an empty folder, pictures are drawn, a detector is trained on them, judges them, is exported, and
judges them again by the runtime. `--tests` unpacks the sdist, too, and runs its tests that are not slow. It needs uv, a
package registry, and 6 GB for each Python; with UV_TORCH_BACKEND=cpu, uv takes smaller builds of torch.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13")
CLASS, EPOCHS = "carpet", 3
MAX_DIFFERENCE = 1e-3  # between a score of the checkpoint and one of the exported file
SHOWN = 3000  # letters of what a failed command has written
UNTRACKED = {"__pycache__"}
IN_SDIST = (
    *("README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "pyproject.toml", "requirements.lock", "run_tests.sh"),
    *("docs/settings.md", "benchmarks/README.md", "examples/fit_predict.py", "tools/set_up.sh", "tests/conftest.py"),
)


class CheckError(Exception):
    """A command ended with an error, or what it made is not as it should be."""


@dataclass(frozen=True)
class Row:
    """What came of one Python."""

    python: str
    gigabytes: float
    seconds: float
    outcome: str


def main() -> int:
    """Build, check and use the wheel; print a table, and return 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="*", default=PYTHONS, metavar="PYTHON", help="a version, or an interpreter")
    parser.add_argument("--tests", action="store_true", help="run the tests of the sdist, too, by the first Python")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="promptad-wheel-") as place:
        folder = Path(place)
        wheel, sdist = build(folder / "dist")
        print(f"{wheel.name} {megabytes(wheel)}, {sdist.name} {megabytes(sdist)}", flush=True)
        rows = [row_of(python, folder / f"with-{number}", wheel) for number, python in enumerate(given.pythons)]
        if given.tests:
            rows.append(row_of(given.pythons[0], folder / "tests", sdist, test_sdist))
    print("| Python | installed | seconds | outcome |", "|---|---|---|---|", sep="\n")
    for row in rows:
        print(f"| {row.python} | {row.gigabytes:.2f} GB | {row.seconds:.0f} | {row.outcome} |")
    return int(any(row.outcome != "OK" for row in rows))


def build(folder: Path) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from it; return both files.

    Raises:
        CheckError: a file is missing in one of them.
    """
    run([*uv(), "build", "--quiet", "--out-dir", folder, ROOT])
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    check_contents(wheel, sdist)
    return wheel, sdist


def check_contents(wheel: Path, sdist: Path) -> None:
    """Check that the wheel holds the files of the package and nothing else, and the sdist what its tests need.

    Raises:
        CheckError: they do not.
    """
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*") if path.is_file()}
    wanted = {name for name in files if UNTRACKED.isdisjoint(name.split("/"))}
    if held != wanted:
        raise CheckError(f"the wheel lacks {sorted(wanted - held)}, and should not hold {sorted(held - wanted)}")
    with tarfile.open(sdist) as archive_of_source:
        names = {name.partition("/")[2] for name in archive_of_source.getnames()}
    if missing := ({f"src/{name}" for name in wanted} | set(IN_SDIST)) - names:
        raise CheckError(f"the sdist lacks {sorted(missing)}")


def row_of(python: str, folder: Path, package: Path, use: Callable[[Path, Path], None] | None = None) -> Row:
    """Install a package for a Python in an empty folder and use it; return what came of it."""
    print(f"{python}: {package.name}", flush=True)
    started = time.monotonic()
    environment, called, outcome = folder / "environment", python, "OK"
    try:
        run([*uv(), "venv", "--quiet", "--no-project", "--python", python, environment])
        called = run([interpreter(environment), "-c", "import platform; print(platform.python_version())"]).strip()
        (use or use_wheel)(environment, package)
    except CheckError as error:
        print(error, file=sys.stderr, flush=True)
        outcome = "FAILED"
    return Row(called, size_of(environment) / 1e9, time.monotonic() - started, outcome)


def use_wheel(environment: Path, wheel: Path) -> None:
    """Install the wheel, and go from drawn pictures to decisions of a checkpoint and of an exported file.

    Raises:
        CheckError: a command ended with an error, or both decide differently.
    """
    python, empty = interpreter(environment), environment.parent / "empty"
    empty.mkdir()
    run([*uv(), "pip", "install", "--quiet", "--python", python, f"{wheel}[onnx]"])
    where = Path(run([python, "-c", "import promptad; print(promptad.__file__)"], empty).strip())
    if not where.is_relative_to(environment):
        raise CheckError(f"promptad is imported from {where}, not from the environment")
    run([python.with_name(f"promptad{python.suffix}"), "--help"], empty)
    command = [python, "-m", "promptad"]
    run([*command, "--help"], empty)
    run([*command, "demo-data", "--classes", CLASS, "--output", "drawn"], empty)
    good, new = Path("drawn", CLASS, "train", "good"), Path("drawn", CLASS, "test", "hole")
    learning = ("--backbone", "tiny", "--Epoch", EPOCHS, "--k-shot", 2)
    run([*command, "train", "--good", good, "--name", CLASS, *learning], empty)
    run([*command, "predict", Path("result", CLASS), new, "--output", "by-torch", "--overlays"], empty)
    run([*command, "export", Path("result", CLASS), "--output", f"{CLASS}.onnx"], empty)
    run([python, "-m", "promptad.runtime", "predict", f"{CLASS}.onnx", new, "--output", "by-runtime"], empty)
    by_torch, by_runtime = scores_of(empty / "by-torch"), scores_of(empty / "by-runtime")
    difference = max(abs(by_torch[path] - by_runtime[path]) for path in by_torch)
    if not by_torch or by_torch.keys() != by_runtime.keys() or difference > MAX_DIFFERENCE:
        raise CheckError(f"the checkpoint and the exported file differ: {by_torch}, {by_runtime}")


def test_sdist(environment: Path, sdist: Path) -> None:
    """Unpack the sdist, and run its tests that are not slow.

    Raises:
        CheckError: a test failed.
    """
    with tarfile.open(sdist) as archive:
        archive.extractall(environment.parent, filter="data")
    (source,) = environment.parent.glob("promptad-*")
    run([*uv(), "pip", "install", "--quiet", "--python", interpreter(environment), "--editable", f"{source}[dev]"])
    print(run([interpreter(environment), "-m", "pytest", "-m", "not slow", "-n", "2", "--dist", "loadfile"], source))


def scores_of(folder: Path) -> dict[str, float]:
    """Return the score of each picture in a folder of predictions."""
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return {record["path"]: record["score"] for record in map(json.loads, lines)}


def uv() -> list[str]:
    """Return the command of uv: of this environment, or on the path.

    Raises:
        SystemExit: there is none.
    """
    if find_spec("uv"):
        return [sys.executable, "-m", "uv"]
    return [shutil.which("uv") or sys.exit("uv is not installed: pip install uv")]


def interpreter(environment: Path) -> Path:
    """Return the interpreter of an environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run(command: Sequence[object], folder: Path | None = None) -> str:
    """Run a command without any setting of the checkout; return its output.

    Raises:
        CheckError: it ended with an error.
    """
    words = list(map(str, command))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, check=False)
    output = done.stdout.decode(errors="replace")
    if done.returncode:
        told = (output + done.stderr.decode(errors="replace"))[-SHOWN:]
        raise CheckError(f"{' '.join(words)} ended with {done.returncode}:\n{told}")
    return output


def size_of(folder: Path) -> int:
    """Return how many bytes the files below a folder have."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def megabytes(file: Path) -> str:
    """Return the size of a file in words."""
    return f"{file.stat().st_size / 1e6:.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
