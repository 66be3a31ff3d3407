"""The runtime: the same lines as `promptad predict`, by numpy, Pillow and an engine alone."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from exported import SIDE, carpets, head_of, trained
from helpers import call, read_lines, refusal

import promptad
from promptad.runtime import engines, session
from promptad.runtime.__main__ import main
from promptad.runtime.engines import open_graph
from promptad.runtime.session import Session, TowerSession, open_sessions

NAME = "multi-prototype+memory"
PACKAGES = ("numpy", "PIL", "onnxruntime", "flatbuffers", "google", "packaging")  # of an environment without torch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an exported detector, its checkpoint, and pictures: twelve, one broken and one of one colour."""
    folder = tmp_path_factory.mktemp("runtime")
    head_of(NAME, ".onnx", folder)
    trained(NAME).save(folder / "carpet.pt")
    (folder / "new").mkdir()
    for number, image in enumerate(carpets()):
        image.save(folder / "new" / f"{number:02}.png")
    (folder / "new" / "broken.png").write_bytes(b"no picture")
    carpets()[0].resize((1, 1)).resize((50, 40)).save(folder / "new" / "blank.png")
    return folder


def test_the_lines_are_those_of_the_checkpoint(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = call("predict", folder / "carpet.pt", folder / "new", "--output", tmp_path / "usual")
    code = main(["predict", str(folder / f"{NAME}.onnx"), str(folder / "new"), "--output", str(tmp_path / "runtime")])
    assert (code, outcome.code) == (0, 0)
    assert capsys.readouterr().out == outcome.output.replace("usual", "runtime")
    for found, usual in zip(read_lines(tmp_path / "runtime"), read_lines(tmp_path / "usual"), strict=True):
        assert found.keys() == usual.keys()
        for key in ("path", "error", "decision", "blank"):
            assert found.get(key) == usual.get(key)
        if "error" not in found:
            assert found["score"] == pytest.approx(usual["score"], abs=1e-5)
            assert found["explanation"]["most_like"] == usual["explanation"]["most_like"]
            assert len(found["regions"]) == len(usual["regions"])
    run = json.loads((tmp_path / "runtime" / "run.json").read_text())
    assert (run["class_name"], run["support_images"]) == ("carpet", [])


def test_the_usual_command_takes_an_exported_file_and_its_report_draws_pictures(folder: Path, tmp_path: Path) -> None:
    exported = folder / f"{NAME}.onnx"
    outcome = call("predict", exported, folder / "new", "--output", tmp_path, "--overlays", "--fail-on-anomaly")
    assert outcome.code == 3, outcome.errors
    assert len(list((tmp_path / "overlays").iterdir())) == 13
    assert call("report", "--predictions", tmp_path, "--output", tmp_path / "r.html").code == 0
    page = (tmp_path / "r.html").read_text()
    assert page.count("data:image/jpeg") >= 12
    assert "learned from 2 good pictures" in page
    refused = call("predict", exported, folder / "new", "--output", tmp_path, "--false-alarm-rate", "0.1")
    assert refused.code == 2
    assert "decides as it was exported" in refused.errors


def test_it_runs_where_nothing_but_its_own_packages_is(folder: Path, tmp_path: Path) -> None:
    for name in PACKAGES:
        spec = find_spec(name)
        assert spec is not None
        place = next(iter(spec.submodule_search_locations or ()))
        (tmp_path / name).symlink_to(place)
        for libraries in Path(place).parent.glob(f"{ {'PIL': 'pillow'}.get(name, name) }.libs"):
            (tmp_path / libraries.name).symlink_to(libraries)
    (tmp_path / "promptad").symlink_to(Path(promptad.__file__).parent)
    command = [sys.executable, "-S", "-m", "promptad.runtime", "predict", folder / f"{NAME}.onnx", folder / "new"]
    options = ["--output", tmp_path / "out", "--fail-on-anomaly"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*map(str, command), *map(str, options)], check=False, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 3, done.stderr
    assert "1 unreadable" in done.stdout
    assert len(read_lines(tmp_path / "out")) == 14
    usual = [sys.executable, "-S", "-m", "promptad", "predict", "carpet.pt", "new"]
    without = subprocess.run(usual, check=False, env=environment, capture_output=True, text=True)
    assert (without.returncode, without.stderr.count("\n")) == (2, 1)
    assert without.stderr.startswith("promptad: torch is not installed: ")


def test_a_mistake_is_one_line_and_exit_code_2(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = folder / f"{NAME}.onnx"
    cut, text = tmp_path / "cut.onnx", tmp_path / "text.xml"
    cut.write_bytes(whole.read_bytes()[:-1000])
    text.write_text("<net>")
    new = str(folder / "new")

    def complaint(*arguments: object) -> str:
        assert main(["predict", *map(str, arguments), "--output", str(tmp_path / "out")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert "is damaged or no exported file" in complaint(cut, new)
    assert "is damaged or no exported file" in complaint(text, new)
    assert "a checkpoint becomes one by promptad export" in complaint(folder / "carpet.pt", new)
    assert "no exported file" in complaint(tmp_path / "nothing.onnx", new)
    (tmp_path / "empty").mkdir()
    assert "no pictures in" in complaint(whole, tmp_path / "empty")
    assert "is a tower, an image encoder alone" in complaint(folder / "tower.onnx", new)
    assert 'unknown engine: "tensorrt"' in complaint(whole, new, "--engine", "tensorrt")
    assert "--precision bfloat16: onnxruntime" in complaint(whole, new, "--precision", "bfloat16")
    assert "--threads 0" in complaint(whole, new, "--threads", "0")
    assert "--batch-size 0" in complaint(whole, new, "--batch-size", "0")
    assert "unrecognized arguments: --batchsize" in complaint(whole, new, "--batchsize")
    single = head_of("single-anchor", ".onnx", folder)
    assert "decides nothing" in complaint(single, new)
    assert not (tmp_path / "out").exists()

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(engines, "import_module", missing)
    assert "onnxruntime is not installed: pip install onnxruntime" in complaint(whole, new)


def test_squares_of_another_size_or_type_are_refused(folder: Path) -> None:
    session = Session(folder / f"{NAME}.onnx")
    for wrong in (np.zeros((1, SIDE, SIDE + 1, 3), np.uint8), np.zeros((1, SIDE, SIDE, 3), np.float32)):
        assert f"takes [N, {SIDE}, {SIDE}, 3] uint8" in refusal(session.run, wrong)
    assert "no images to score" in refusal(session.predict, [])


def test_a_whole_file_is_no_tower_and_needs_none(folder: Path, tmp_path: Path) -> None:
    trained(NAME).export(tmp_path / "whole.onnx")
    assert "is no tower, but a detector" in refusal(TowerSession, tmp_path / "whole.onnx")
    message = refusal(Session, tmp_path / "whole.onnx", tower=folder / "tower.onnx")
    assert "with an image encoder of its own" in message
    assert "does not read" in refusal(open_graph, _ir(tmp_path), "onnxruntime")


def test_of_many_files_each_head_has_one_thread_and_their_tower_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, int | None]] = []

    def note(path: Path, engine: str | None, precision: str, threads: int | None) -> engines.Graph:
        opened.append((path.name, threads))
        return open_graph(path, engine, precision, threads)

    monkeypatch.setattr(session, "open_graph", note)
    files = [folder / f"{NAME}.onnx", folder / "tower.onnx"]
    few = open_sessions(files)
    assert opened == [(f"{NAME}.onnx", None), ("tower.onnx", None)]
    monkeypatch.setattr(session, "MANY", 1)
    opened.clear()
    many = open_sessions(files)
    assert opened == [(f"{NAME}.onnx", 1), ("tower.onnx", 1), ("tower.onnx", None)]
    opened.clear()
    open_sessions(files, threads=2)
    assert opened == [(f"{NAME}.onnx", 2), ("tower.onnx", 2)]
    scores = [sessions[0].predict(carpets()).score for sessions in (few, many)]
    np.testing.assert_allclose(scores[1], scores[0], rtol=0, atol=1e-6)


def _ir(folder: Path) -> Path:
    trained(NAME).export(path := folder / "carpet.xml")
    return path


def test_bfloat16_of_openvino_is_asked_for_and_moves_scores_a_little(folder: Path, tmp_path: Path) -> None:
    scores = {}
    for precision in ("float32", "bfloat16"):  # each in a process of its own
        arguments = ("predict", folder / f"{NAME}.onnx", folder / "new", "--output", tmp_path / precision)
        options = ("--engine", "openvino", "--precision", precision)
        command = [sys.executable, "-m", "promptad.runtime", *map(str, (*arguments, *options))]
        subprocess.run(command, check=True, capture_output=True)
        scores[precision] = np.array(
            [line["score"] for line in read_lines(tmp_path / precision) if "error" not in line]
        )
    assert np.abs(scores["float32"] - scores["bfloat16"]).max() < 0.05
