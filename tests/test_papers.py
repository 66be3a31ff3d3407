"""The README tells the truth."""

import re
from pathlib import Path

import pytest
import torch

from promptad.cli.options import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(example, names)
    assert "(8, 256, 256)" in capsys.readouterr().out
    checkpoint = torch.load("carpet.pt", weights_only=True)
    assert checkpoint["normal_prototypes"].shape == (3, 128)
    assert checkpoint["abnormal_prototypes"].shape == (6, 128)


def test_every_option_that_is_named_exists() -> None:
    flags = {option.flag for _, options in COMMANDS.values() for option in options} | {"--help"}
    named = {flag.replace("_", "-") for flag in re.findall(r"--[A-Za-z][\w-]*", README)}
    assert {flag for flag in named if not flag.startswith("--weight")} <= flags
    assert len(named) > 20


def test_every_file_that_is_named_exists() -> None:
    package = ROOT / "src" / "promptad"
    reading_order = README.split("### Reading order")[1].split("\n## ")[0]
    named = re.findall(r"`([\w/]+(?:\.py|/))`", reading_order)
    assert len(named) > 20
    for name in named:
        assert any(
            (folder / name).exists()
            for folder in (ROOT, package, package / "backbone", package / "comparison", package / "report")
        ), name
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert modules <= set(named)
    for image in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / image).is_file()
