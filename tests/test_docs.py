"""The docs tell the truth: their code runs, and the options, files and links that they name exist."""

import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch

from promptad.cli.options import COMMANDS
from promptad.cli.values import truth

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {
    file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
    for pattern in ("*.md", "docs/**/*.md", "tests/README.md", "benchmarks/README.md")
    for file in ROOT.glob(pattern)
}
# Options of uv, pip and ruff.
OTHER_TOOLS = {"--extra", "--python-version", "--universal", "--generate-hashes", "--fix", "--no-deps"}
INSTALL = {"--torch-backend", "--index-url", "--extra-index-url", "--excludes", "--tests"}  # of pip, uv, check_wheel
ANOMALIB = {"--model", "--data", "--ckpt-path"}  # options of its command line
SOAK = {"--minutes", "--seed", "--only", "--json", "--files", "--kills"}  # options of tools/soak.py and soak_watch.py


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


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.slow
def test_the_example_of_fit_and_predict_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_example("fit_predict.py", tmp_path)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("good: good, score 0.")
    assert any(line.startswith("hole: anomaly, score ") for line in shown)
    assert {"carpet.png", "carpet.pt"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_the_example_of_evaluating_a_folder_runs(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(drawn / "demo" / "carpet", tmp_path / "rug")
    run_example("evaluate_folder.py", tmp_path / "rug", "carpet", "tiny")
    shown = capsys.readouterr().out
    assert re.search(r"^image_auroc: \d+\.\d %$", shown, flags=re.MULTILINE)
    assert re.search(r"^aupro: \d+\.\d %$", shown, flags=re.MULTILINE)
    assert "no collapse: " in shown


def run_example(name: str, *arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")


WITH_OPTIONS = [name for name in DOCS if not name.startswith(("benchmarks", "CHANGELOG", "tests"))]


@pytest.mark.parametrize("doc", WITH_OPTIONS)
def test_every_option_that_is_named_exists(doc: str) -> None:
    flags = {option.flag.replace("_", "-") for command in COMMANDS.values() for option in command.options}
    named = {flag.replace("_", "-") for flag in re.findall(r"--[A-Za-z][\w-]*", DOCS[doc])}
    flags |= {
        f"--no-{option.flag[2:]}" for command in COMMANDS.values() for option in command.options if option.read is truth
    }
    allowed = flags | OTHER_TOOLS | INSTALL | SOAK | ANOMALIB | {"--help", "--shots", "--weight-", "--weight-shrinking"}
    assert named <= allowed


def test_every_option_of_a_training_is_explained() -> None:
    explained = {flag.replace("_", "-") for flag in re.findall(r"--[A-Za-z][\w-]*", DOCS["docs/settings.md"])}
    for option in COMMANDS["train"].options:
        assert option.flag.replace("_", "-") in explained or option.flag.startswith("--weight-"), option.flag


@pytest.mark.parametrize("doc", DOCS)
def test_every_link_leads_to_a_file_and_a_heading(doc: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", DOCS[doc]):
        place, _, heading = target.partition("#")
        file = (ROOT / doc).parent / place if place else ROOT / doc
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert heading in {re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-") for words in headings}, target


@pytest.mark.parametrize("doc", ["README.md", "CONTRIBUTING.md", "docs/extending.md", "tests/README.md"])
def test_every_file_that_is_named_exists(doc: str) -> None:
    places = (ROOT, ROOT / "src" / "promptad", ROOT / "tests")
    for name in re.findall(r"`([\w./]+(?:\.py|\.sh|\.md|/))`", DOCS[doc]):
        assert any((place / name).exists() for place in places) or name.startswith("data/"), name


def test_every_package_is_in_the_tree() -> None:
    tree = README.split("## The tree")[1].split("```")[1]
    packages = {path.parent.name for path in (ROOT / "src" / "promptad").glob("*/__init__.py")} - {"utils"}
    assert packages <= set(re.findall(r"(\w+)/", tree))
