"""Fixtures shared by several tests."""

import copy
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import CLASSES, LIGHT, TINY, Own, Trained, call, draw_small_class

from promptad.backbones.clip import Backbone
from promptad.backbones.factory import load_backbone
from promptad.backbones.image_encoder import ViTImageEncoder
from promptad.cli.main import main
from promptad.features import ImageFeatures
from promptad.settings import BackboneSettings
from promptad.utils.threads import SAME_BITS

os.environ.setdefault(*SAME_BITS)  # as commands do, before the first product


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor write the user's feature cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _graphs_are_traced_once() -> Iterator[None]:
    """The same encoders and detectors are exported by many tests: tracing one takes seconds, and gives the same."""
    if find_spec("onnxscript") is None:
        yield
        return
    from promptad.export import detector_graphs, onnx  # noqa: PLC0415 where it is installed

    traced: dict[str, tuple[Any, Any]] = {}

    def encoder_of(backbone: Backbone, *more: Any) -> str:
        encoder = backbone.image_encoder
        return repr((backbone.settings, backbone.weights_sha256, encoder.image_size, encoder.layer_indices, more))

    def once(trace: Callable[..., Any], name_of: Callable[..., str]) -> Callable[..., Any]:
        def traced_once(one: Any, *more: Any, **named: Any) -> Any:
            name = f"{trace.__name__} {name_of(one, *more, *named.values())}"
            if name not in traced:
                traced[name] = trace(one, *more, **named), one  # which keeps what it is named by
            return copy.deepcopy(traced[name][0])

        return traced_once

    with pytest.MonkeyPatch.context() as patch:
        for graph, name_of in (
            ("preparation_graph", encoder_of),
            ("encoder_graph", encoder_of),
            ("head_graph", lambda detector: str(id(detector))),
        ):
            trace = once(getattr(onnx, graph), name_of)
            for module in (onnx, detector_graphs):
                patch.setattr(module, graph, trace)
        yield


@pytest.fixture(scope="session")
def tiny() -> Backbone:
    """The bundled backbone; tests only read it."""
    return load_backbone(BackboneSettings(name="tiny"), torch.device("cpu"))


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a small carpet and a small grid as the demo data set."""
    root = tmp_path_factory.mktemp("drawn")
    for class_name in CLASSES:
        draw_small_class(root / "demo", class_name, tmp_path_factory.mktemp("whole"))
    return root


@pytest.fixture(scope="session")
def trained(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    results = tmp_path_factory.mktemp("trained")
    arguments: list[str | Path] = ["--dataset", "demo", "--data-root", drawn, "--class-name", "carpet"]
    arguments += ["--root-dir", results]
    outcome = call("train", *arguments, *LIGHT, "--vis", "True")
    assert outcome.code == 0, outcome.errors
    return Trained(tuple(arguments), results, outcome)


@pytest.fixture
def copied(trained: Trained, tmp_path: Path) -> Trained:
    """The finished run in a result folder of its own, which a test may change."""
    results = tmp_path / "result"
    shutil.copytree(trained.results, results)
    return Trained((*trained.arguments, "--root-dir", results), results, trained.outcome)


@pytest.fixture
def mvtec(drawn: Path, tmp_path: Path) -> Path:
    """The folder of a carpet in MVTec AD's layout, which a test may change."""
    return shutil.copytree(drawn / "demo" / "carpet", tmp_path / "data" / "mvtec" / "carpet")


@pytest.fixture
def bracket(drawn: Path, tmp_path: Path) -> Path:
    """A plain folder with nothing but good/."""
    shutil.copytree(drawn / "demo" / "carpet" / "train" / "good", tmp_path / "bracket" / "good")
    return tmp_path / "bracket"


@pytest.fixture(scope="session")
def own(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Own:
    folder = tmp_path_factory.mktemp("own")
    carpet, good, new = drawn / "demo" / "carpet", folder / "good", folder / "new"
    good.mkdir()
    new.mkdir()
    for number in range(3):
        shutil.copy(carpet / "train" / "good" / f"00{number}.png", good)
    for kind in carpet.joinpath("test").iterdir():
        shutil.copy(kind / "000.png", new / f"{kind.name}.png")
    (new / "broken.png").write_bytes(b"no picture")
    outcome = call("train", "--good", good, "--name", "my carpet", "--root-dir", folder / "result", *TINY, *LIGHT)
    assert outcome.code == 0, outcome.errors
    assert "learning from 3 of 3 pictures" in outcome.output
    assert "promptad predict" in outcome.output
    return Own(good, folder / "result" / "my_carpet", new)


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """A headless Chromium; if there is none, the tests that need it are skipped."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium and chromedriver here: a browser would load the report")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"):
        options.add_argument(flag)
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.fixture
def read_counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images in each call of the image encoder."""
    counts: list[int] = []
    complete = ViTImageEncoder.run_blocks

    def run_blocks(self: ViTImageEncoder, tokens: torch.Tensor, *asked: bool) -> ImageFeatures:
        counts.append(len(tokens))
        return complete(self, tokens, *asked)

    monkeypatch.setattr(ViTImageEncoder, "run_blocks", run_blocks)
    return counts


def has_come(is_time: Callable[[], bool]) -> bool:
    """Whether a moment has come; not if a folder went away while it was looked through."""
    try:
        return is_time()
    except FileNotFoundError:
        return False


@pytest.fixture(scope="session")
def killable() -> Callable[[list[str], Callable[[], bool]], None]:
    """Starts a command in a process of its own, imports done, and kills it as soon as a condition holds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["promptad.cli.main", "promptad.cli.commands.train", "promptad.cli.commands.sweep"])

    def start_and_kill(arguments: list[str], is_time: Callable[[], bool]) -> None:
        process = context.Process(target=main, args=(arguments,))
        process.start()
        while process.is_alive() and not has_come(is_time):
            time.sleep(0.005)
        process.kill()
        process.join(timeout=60)
        assert not process.is_alive()

    return start_and_kill
