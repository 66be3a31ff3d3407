"""Helpers of the tests: drawn images, commands called in this process, and reference implementations."""

import io
import json
import math
import shutil
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from promptad.backbones.clip import Backbone
from promptad.backbones.open_clip_vit import open_clip_of
from promptad.cli.main import main
from promptad.data.demo import DEFECT_FOLDERS, make_demo_class
from promptad.errors import InputError
from promptad.results.table import read_results

Array = NDArray[Any]

SHOWN = (UserWarning, RuntimeWarning, FutureWarning)  # categories that Python prints to a user
CLASSES = ("carpet", "grid")
LIGHT = ("--Epoch", "2", "--views", "4", "--resolution", "64")
LIGHTEST = ("--Epoch", "1", "--views", "2", "--resolution", "32", "--save-diagnostics", "False")
TINY = ("--backbone", "tiny")
CHECKPOINT = "checkpoint/CLS-Seed_111-{}-check_point.pt"
ONLY_CARPET = ("--classes", "carpet")
CSV = "csv/Seed_111-results.csv"
RED = (255, 0, 0)
WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Outcome:
    """The exit code and output of a command; `errors` holds the warnings that a user would see too."""

    code: int
    output: str
    errors: str


@dataclass(frozen=True)
class Trained:
    """A finished training run of the demo's carpet; tests only read it, or work on a copy."""

    arguments: tuple[str | Path, ...]  # of its data and results
    results: Path
    outcome: Outcome

    @property
    def folder(self) -> Path:
        """The folder of its results."""
        return self.results / "demo" / "k_2"


@dataclass(frozen=True)
class Own:
    """A detector of a user's own part, and new images; tests only read them."""

    good: Path
    part: Path
    new: Path

    def lines(self, output: Path, *more: str | Path, code: int = 0) -> list[dict[str, Any]]:
        """The lines that predict writes for the new images."""
        outcome = call("predict", self.part, self.new, "--output", output, *more)
        assert outcome.code == code, outcome.errors
        return read_lines(output)


def read_lines(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


class Page(HTMLParser):
    """A page's elements with their attributes, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.said: list[str] = []
        self.feed(text)
        self.words = " ".join(" ".join(self.said).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Store an element."""
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        """Store the text."""
        self.said.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of each element of a kind."""
        return [attributes for kind, attributes in self.elements if kind == tag]


def reference_centred(similarities: list[list[float]]) -> list[list[float]]:
    """Similarities [patch][K] of one image, each less the mean preference of the image for its prototype."""
    patches, count = len(similarities), len(similarities[0])
    preference = [sum(row[k] for row in similarities) / patches for k in range(count)]
    return [[row[k] - (preference[k] - sum(preference) / count) for k in range(count)] for row in similarities]


def call(*arguments: str | Path) -> Outcome:
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        code = main([str(argument) for argument in arguments])
    seen = "".join(f"{warning.message}\n" for warning in caught if issubclass(warning.category, SHOWN))
    return Outcome(code, output.getvalue(), errors.getvalue() + seen)


def assert_refused(outcome: Outcome, *words: str) -> None:
    """Check that a command refused its input: exit code 2 and one line, which holds the `words`."""
    assert outcome.code == 2, outcome
    assert outcome.errors.count("\n") == 1, outcome.errors
    assert outcome.errors.startswith("promptad: ")
    assert outcome.errors.endswith("\n")
    assert "Traceback" not in outcome.output + outcome.errors
    for word in words:
        assert word in outcome.errors


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below the folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def draw_small_class(folder: Path, class_name: str, scratch: Path) -> None:
    """Draw a demo class with four training images, four good test images and two each of two defects."""
    complete, small = make_demo_class(scratch, class_name), folder / class_name
    defects = list(DEFECT_FOLDERS[class_name])[-2:]
    names = ["readme.txt", *(f"{split}/good/{number:03}.png" for split in ("train", "test") for number in range(4))]
    for defect in defects:
        for number in range(2):
            names += [f"test/{defect}/{number:03}.png", f"ground_truth/{defect}/{number:03}_mask.png"]
    for name in names:
        (small / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(complete / name, small / name)


def draw(path: Path, color: object = RED, mode: str = "RGB", size: tuple[int, int] = (8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)  # type: ignore[arg-type]
    return path


def draw_column(path: Path, left: int, value: int) -> Path:
    """Draw a mask of 8 x 6 pixels with one column marked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", (8, 6))
    image.paste(value, (left, 0, left + 1, 6))
    image.save(path)
    return path


def refusal(call: object, *arguments: object, **keywords: object) -> str:
    """The message of the InputError that the call raises: one line, as the command line prints it."""
    with pytest.raises(InputError) as caught:
        call(*arguments, **keywords)  # type: ignore[operator]
    message = str(caught.value)
    assert "\n" not in message
    return message


def read_checkpoint(file: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(file, weights_only=True)
    return checkpoint


def only_row(folder: Path) -> dict[str, str]:
    (row,) = read_results(folder / CSV)
    return row


def without_seconds(row: dict[str, str]) -> dict[str, str]:
    return {column: cell for column, cell in row.items() if column != "seconds"}


def train_mvtec(class_folder: Path, results: Path, *more: str) -> Outcome:
    data = ("--dataset", "mvtec", "--data-root", class_folder.parent.parent, "--class-name", class_folder.name)
    return call("train", *data, "--root-dir", results, *TINY, *LIGHTEST, *more)


def train_folder(root: Path, results: Path, *more: str | Path) -> Outcome:
    return call("train", "--dataset", "folder", "--data-root", root, "--root-dir", results, *TINY, *LIGHTEST, *more)


def shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def smooth_best(similarities: Sequence[float]) -> float:
    """The smooth maximum of similarities, as a loop: the logarithm of their mean tenfold exponential, over 10."""
    powers = [math.exp(10 * own) for own in similarities]
    return math.log(sum(powers) / len(powers)) / 10


def reference_text_feature(backbone: Backbone, vectors: Tensor) -> Tensor:
    """The feature [D], of any length, of one prompt [token, width], over all 77 tokens by open_clip's transformer."""
    clip, end = open_clip_of(backbone), len(vectors) - 1
    padded = torch.cat([vectors, backbone.text_encoder.embed(torch.zeros(77 - len(vectors), dtype=torch.long))])
    hidden = clip.transformer((padded + clip.positional_embedding)[None], attn_mask=clip.attn_mask)
    feature: Tensor = clip.ln_final(hidden)[0, end] @ clip.text_projection
    return feature


def look(browser: Any, page: Path, width: int, scheme: str) -> Callable[[str], Any]:
    """Open a page, check what all of our pages must fulfil, and return a function that runs scripts in it."""
    run: Callable[[str], Any] = browser.execute_script
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(page.as_uri())
    assert run("return [...document.images].every(image => image.complete && image.naturalWidth === 224)")
    assert run("return document.documentElement.scrollWidth") == width  # only tables scroll sideways
    light = run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert light == (scheme == "light")
    assert browser.get_log("browser") == []
    return run


def reference_auroc(scores: Array, labels: Array) -> float:
    """The share of (anomalous, normal) pairs in the right order; a tie is half a pair."""
    right = pairs = 0.0
    for anomalous in scores[labels]:
        for normal in scores[~labels]:
            right += 1.0 if anomalous > normal else 0.5 if anomalous == normal else 0.0
            pairs += 1
    return right / pairs


def reference_average_precision(scores: Array, labels: Array) -> float:
    """Step down through the thresholds and add precision times gained recall."""
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        found = sum(1 for score, label in zip(scores, labels, strict=True) if score >= threshold and label)
        flagged = sum(1 for score in scores if score >= threshold)
        total += found / flagged * (found / labels.sum() - recall)
        recall = found / labels.sum()
    return total


def reference_f1_max(scores: Array, labels: Array) -> float:
    """Try every score as the threshold."""
    best = 0.0
    for threshold in scores:
        found = missed = false_alarms = 0
        for score, label in zip(scores, labels, strict=True):
            found += int(label and score >= threshold)
            missed += int(label and score < threshold)
            false_alarms += int(not label and score >= threshold)
        best = max(best, 2 * found / (2 * found + missed + false_alarms))
    return best
