"""The words of a command line: spellings, switches, mistakes, completion; and machines without a GPU, or a full one."""

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import LIGHTEST, Own, Trained, assert_refused, call
from rich.console import Console

from promptad.cli.commands import RUNNERS
from promptad.cli.given import make_settings
from promptad.cli.options import COMMANDS, SHELLS
from promptad.cli.parser import parse
from promptad.errors import InputError
from promptad.utils.provenance import package_version


def test_a_missing_gpu_is_reported_in_one_line(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    outcome = call("train", *trained.arguments, "--root-dir", tmp_path, *LIGHTEST, "--gpu-id", "0")
    assert (outcome.code, outcome.errors) == (0, "")
    assert [line for line in outcome.output.splitlines() if "CUDA" in line] == [
        "--gpu-id 0: no CUDA device here, running on the CPU"
    ]
    asked_for_none = call("train", *trained.arguments, "--root-dir", tmp_path, *LIGHTEST, "--use-cpu", "True")
    assert "CUDA" not in asked_for_none.output


def test_an_out_of_memory_error_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out_of_memory(_: dict[str, Any], __: Console) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB\nand so on")

    monkeypatch.setitem(RUNNERS, "train", run_out_of_memory)
    assert_refused(
        call("train", "--dataset", "demo", "--class-name", "carpet"),
        "the GPU is out of memory",
        "lower --batch-size or --resolution",
        "--use-cpu",
    )


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (("--epochs", "3"), "epochs", 3),
        (("--Epoch", "3"), "epochs", 3),
        (("--Epoch=3",), "epochs", 3),
        (("--n-pro-ab", "4"), "n_pro_ab", 4),
        (("--memory-bank",), "memory_bank", True),
        (("--memory_bank", "True"), "memory_bank", True),
        (("--no-memory-bank",), "memory_bank", False),
        (("--no_memory_bank",), "memory_bank", False),
        (("--no-feature-cache",), "feature_cache", False),
    ],
)
def test_conventional_spellings_and_the_guides_mean_the_same(words: tuple[str, ...], name: str, value: object) -> None:
    command, given = parse(["train", "--class-name", "carpet", *words])
    assert (command, given[name]) == ("train", value)


def test_no_unsets_switches_alone() -> None:
    with pytest.raises(InputError, match="unknown option '--no-epochs'"):
        parse(["train", "--no-epochs"])


@pytest.mark.parametrize("space", [" ", "  ", "\t"])
def test_a_space_behind_a_backslash_is_explained(space: str) -> None:
    """In the guide, comments stand behind backslashes: the shell gives a space as an argument, and ends there."""
    outcome = call("train", "--dataset", "demo", "--class-name", "carpet", space)
    assert_refused(outcome, "is an argument of only space", "put nothing behind a backslash")


def test_every_choice_that_a_shell_completes_is_accepted() -> None:
    for option in COMMANDS["train"].options:
        for choice in option.choices:
            words = [] if option.name == "dataset" else ["--dataset", "mvtec"]
            words += ["--memory-bank", "True"] if option.name == "memory_backbone" else []
            make_settings(parse(["train", *words, option.flag, choice])[1])


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_and_options(shell: str) -> None:
    script = call("completion", shell)
    assert (script.code, script.errors) == (0, "")
    assert all(word in script.output for word in ("train-all", "confirm"))
    assert shell == "tcsh" or "k-shot" in script.output  # of tcsh's only commands


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (("tr",), {"train", "train-all"}),
        (("train", "--memory-ban"), {"--memory-bank"}),
        (("train", "--system", ""), {"multi-prototype", "single-anchor"}),
        (("export", "bracket", "--to", "o"), {"onnx", "openvino"}),
    ],
)
def test_bash_completes(words: tuple[str, ...], completed: set[str], tmp_path: Path) -> None:
    (tmp_path / "script").write_text(call("completion", "bash").output)
    typed = " ".join(shlex.quote(word) for word in ("promptad", *words))
    code = f"source ./script; COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _shtab_promptad; echo ${{COMPREPLY[@]}}"
    found = subprocess.run(["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert set(found.stdout.split()) == completed


def test_an_unknown_shell_is_refused() -> None:
    assert_refused(call("completion", "bosh"), 'unknown shell: "bosh"', "did you mean bash?")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        parse(["--version"])
    assert capsys.readouterr().out.startswith(f"promptad {package_version()}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--device", "cuda"), ("--device cuda", "choose cpu")),
        (("--device", "gpu"), ("--device 'gpu'", "give cpu, cuda")),
        (("--device", "cpu", "--use-cpu"), ("--device cpu", "leave out --use-cpu")),
        (("--device", "cpu", "--gpu-id", "0"), ("--device cpu", "leave out --gpu-id")),
    ],
)
def test_a_device_that_is_not_there_or_asked_for_twice_is_refused(
    words: tuple[str, ...], said: tuple[str, ...], own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert_refused(call("threshold", own.part, *words), *said)


def test_a_device_is_asked_for_by_its_name(own: Own) -> None:
    assert call("threshold", own.part, "--device", "cpu").output == call("threshold", own.part, "--use-cpu").output
