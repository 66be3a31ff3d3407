"""The page of predictions: unlabelled images with their predictions, for a reader who has only the page."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import LIGHTEST, TINY, Outcome, Own, Page, assert_refused, call, contents, look, read_lines
from rich.console import Console

from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.registry import load_with_thresholds
from promptad.reports.predictions_summary import (
    MOST_PASSED,
    MOST_REJECTED,
    PredictionsSummary,
    common_folder,
    make_gallery,
)
from promptad.runtime.predictions import LOCK, ONE_IMAGE, PredictionRun, read_predictions
from promptad.runtime.records import PredictionRecord
from promptad.structures import NO_PLACE, is_without_place
from promptad.visualization.prediction import overlay_title


def test_absolute_and_relative_paths_stand_on_one_page(
    own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own.new)
    first, second = sorted(own.new.glob("*.png"))[1:3]
    assert call("predict", own.part, first, second.name, "--output", tmp_path / "p").code == 0
    text = "".join(page_of(tmp_path / "p", tmp_path).text)
    assert str(first) in text
    assert second.name in text


def report(predictions: Path, output: Path, *more: str | Path) -> Outcome:
    return call("report", "--predictions", predictions, "--output", output, *more)


def page_of(predictions: Path, tmp_path: Path) -> Page:
    output = tmp_path / "page.html"
    outcome = report(predictions, output)
    assert (outcome.code, outcome.errors) == (0, "")
    return Page(output.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def written(own: Own, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the predictions in the folder beside it."""
    folder = tmp_path_factory.mktemp("inspected")
    own.lines(folder / "predictions")
    outcome = report(folder / "predictions", folder / "report.html")
    assert (outcome.code, outcome.errors) == (0, "")
    assert f"report: {folder / 'report.html'}" in outcome.output
    return folder / "report.html"


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page(written.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def lines(written: Path) -> list[dict[str, Any]]:
    return read_lines(written.parent / "predictions")


@pytest.fixture
def moved(own: Own, tmp_path: Path) -> Own:
    """A part, its images and its predictions, in a folder of their own that a test may change."""
    part, new = shutil.copytree(own.part, tmp_path / "part"), shutil.copytree(own.new, tmp_path / "new")
    copied = Own(own.good, part, new)
    copied.lines(tmp_path / "predictions")
    return copied


def test_the_run_is_recorded_beside_the_lines(own: Own, written: Path) -> None:
    run, lines = read_predictions(written.parent / "predictions")
    checkpoint = torch.load(run.checkpoint_path, weights_only=True)
    assert run.checkpoint_path == own.part / "detector.pt"
    assert (run.class_name, list(run.support_images)) == ("my carpet", checkpoint["support_images"])
    assert run.settings.to_dict() == checkpoint["settings"]
    assert [line.path for line in lines] == [str(path) for path in sorted(own.new.iterdir())]
    files = {LOCK, "predictions.jsonl", "predictions.csv", "run.json"}
    assert contents(written.parent / "predictions").keys() == files


def test_the_page_shows_what_was_predicted(page: Page, lines: list[dict[str, Any]]) -> None:
    predicted = [line for line in lines if "error" not in line]
    rejected = sum(line["decision"] == "anomaly" for line in predicted)
    assert f"my carpet: {rejected} of {len(predicted)} pictures rejected" in page.words
    assert "learned from 3 good pictures, backbone tiny" in page.words
    assert "False-alarm rate 1 % asked for" in page.words
    assert "Unreadable 1 " in page.words
    assert "no error rates are known" in page.words
    assert "training.epochs 2" in page.words
    assert not any(attributes.get("role") == "alert" for _, attributes in page.elements)


def test_every_image_has_a_row_with_the_highest_score_first(page: Page, lines: list[dict[str, Any]]) -> None:
    predicted = sorted((line for line in lines if "error" not in line), key=lambda line: -line["raw"])
    (bad,) = (line for line in lines if "error" in line)
    rows = [
        f"{Path(line['path']).name} {line['decision']} {line['score']:.2f} {line['peak']:.2f} {len(line['regions'])}"
        + (f" most like: {', '.join(line['explanation']['most_like'])}" if line["decision"] == "anomaly" else " -")
        + " good defect"  # the buttons of the verdict
        for line in predicted
    ]
    assert " ".join([*rows, "broken.png", "unreadable", bad["error"]]) in page.words


def test_the_gallery_shows_the_worst_rejected_and_the_closest_passed_images(
    page: Page, lines: list[dict[str, Any]]
) -> None:
    predicted = sorted((line for line in lines if "error" not in line), key=lambda line: -line["raw"])
    rejected, passed = ([x for x in predicted if x["decision"] == name] for name in ("anomaly", "good"))
    shown = [Path(line["path"]).name for line in rejected[:MOST_REJECTED] + passed[:MOST_PASSED]]
    assert shown
    assert [image["alt"] for image in page.all("img")][::2] == shown
    assert " now: picture or checkpoint have changed" not in page.words


def test_the_health_of_the_prototypes_is_shown(own: Own, page: Page) -> None:
    for verdict in json.loads((own.part / "diagnostics.json").read_text())["verdicts"]:
        assert verdict["name"] in page.words
        assert verdict["advice"] in page.words
    assert [figure["role"] for figure in page.all("svg")] == ["img"] * 4  # a histogram and three of the prototypes


def test_the_page_needs_no_network_and_is_accessible(page: Page) -> None:
    places = [attributes[name] for _, attributes in page.elements for name in ("src", "href") if name in attributes]
    assert {place.split(",")[0] for place in places if not place.startswith("#")} == {"data:image/jpeg;base64"}
    assert re.findall(r"url\((?!#)|@import", page.text) == []
    assert page.all("link") == []
    assert page.all("script") == [{}]  # of the verdicts, within the page
    identities = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(identities)) == len(identities)
    assert {attributes["href"][1:] for attributes in page.all("a")} <= set(identities)
    assert len(page.all("h1")) == 1
    assert all(image["alt"] for image in page.all("img"))
    assert all(head.get("scope") for head in page.all("th"))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_the_page(browser: Any, written: Path, width: int, scheme: str) -> None:
    run = look(browser, written, width, scheme)
    assert run("return document.querySelector('h1').textContent").startswith("my carpet: ")
    assert run("return document.querySelectorAll('svg, table, nav').length") == 10


@pytest.mark.slow
def test_verdicts_are_pressed_by_keys_counted_and_downloaded(browser: Any, written: Path) -> None:
    look(browser, written, 1280, "light")
    run: Callable[..., Any] = browser.execute_script
    assert run("return document.querySelector('.verdicts button').disabled")
    groups = browser.find_elements("css selector", ".list .verdict")
    lines = [line for line in read_lines(written.parent / "predictions") if "error" not in line]
    assert {group.get_attribute("data-path") for group in groups} == {line["path"] for line in lines}
    first, second = (group.find_elements("css selector", "button") for group in groups[:2])
    first[0].send_keys(" ")
    second[1].send_keys("\n")
    assert run("return document.querySelector('.verdicts output').value") == "1 good, 1 defective."
    run("arguments[0].click()", first[1])
    pressed = "[...document.querySelectorAll('.verdict [aria-pressed=true]')]"
    shown = run(f"return {pressed}.map(button => [button.parentElement.dataset.path, button.textContent])")
    path = groups[0].get_attribute("data-path")
    assert [path, "defect"] in shown
    assert shown.count([path, "defect"]) == len(browser.find_elements("css selector", f".verdict[data-path='{path}']"))
    run("arguments[0].click()", second[1])
    assert run("return document.querySelector('.verdicts output').value") == "0 good, 1 defective."
    run(
        "window.held = []; URL.createObjectURL = blob => { blob.text().then(text => held.push(text)); return '#'; };"
        "document.querySelector('.verdicts button').click();"
    )
    content = json.loads(browser.execute_async_script("setTimeout(() => arguments[0](held[0]), 200)"))
    made_by = json.loads((written.parent / "predictions" / "run.json").read_text())
    assert content == {
        "format": "promptad verdicts",
        "detector_sha256": made_by["checkpoint_sha256"],
        "verdicts": [{"path": path, "verdict": "defective"}],
    }


def test_the_file_of_lines_can_be_named_and_the_rate_is_that_of_predict(own: Own, tmp_path: Path) -> None:
    own.lines(tmp_path, "--false-alarm-rate", "0.3")
    page = page_of(tmp_path / "predictions.jsonl", tmp_path)
    assert "False-alarm rate 30 % asked for" in page.words
    assert " now: picture or checkpoint have changed" not in page.words


def test_paths_are_relative_to_where_predict_was_started(
    own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own.new.parent)
    part = own.part.relative_to(own.new.parent)
    assert call("predict", part, "new", "--output", tmp_path / "predictions").code == 0
    monkeypatch.chdir(tmp_path)
    page = page_of(Path("predictions"), tmp_path)
    assert page.all("img")
    assert "paths below new" in page.words


def drop_detector(folder: Path) -> None:
    (folder / "part" / "detector.pt").unlink()


def change_detector(folder: Path) -> None:
    with (folder / "part" / "detector.pt").open("ab") as file:
        file.write(b"more")


def drop_diagnostics(folder: Path) -> None:
    (folder / "part" / "diagnostics.json").unlink()


def damage_diagnostics(folder: Path) -> None:
    (folder / "part" / "diagnostics.json").write_text("{")


def drop_images(folder: Path) -> None:
    shutil.rmtree(folder / "new")


def change_scores(folder: Path) -> None:
    file = folder / "predictions" / "predictions.jsonl"
    file.write_text(re.sub(r'"score": [^,]+', '"score": 0.777', file.read_text()))


@pytest.mark.parametrize(
    ("spoil", "words", "shows"),
    [
        (drop_detector, "detector.pt is no longer there", False),
        (change_detector, "detector.pt has changed since: judge the pictures again", False),
        (drop_diagnostics, "There are no diagnostics beside the detector", True),
        (damage_diagnostics, "The diagnostics in diagnostics.json cannot be read", True),
        (drop_images, "no picture at", False),
        (change_scores, "now: picture or checkpoint have changed since", True),
    ],
)
def test_what_is_missing_is_reported(
    moved: Own, tmp_path: Path, spoil: Callable[[Path], None], words: str, shows: bool
) -> None:
    spoil(tmp_path)
    page = page_of(tmp_path / "predictions", tmp_path)
    assert words in page.words
    assert bool(page.all("img")) == shows
    for path in moved.new.parent.glob("new/*"):
        assert path.name in page.words


def test_one_good_image_gives_a_warning(own: Own, tmp_path: Path) -> None:
    (good, *_) = sorted(own.good.iterdir())
    learn = ("train", "--good", good, "--name", "b&lt;c", "--root-dir", tmp_path, *TINY, *LIGHTEST)
    assert call(*learn).code == 0
    assert call("predict", tmp_path / "b&lt;c", good, "--output", tmp_path).code == 0
    page = page_of(tmp_path, tmp_path)
    assert ONE_IMAGE in page.words
    assert any(attributes.get("role") == "alert" for _, attributes in page.elements)
    assert "b&lt;c: 0 of 1 picture rejected" in page.words


def test_a_page_without_readable_images_reports_it(own: Own, tmp_path: Path) -> None:
    assert call("predict", own.part, own.new / "broken.png", "--output", tmp_path).code == 2
    page = page_of(tmp_path, tmp_path)
    assert "my carpet: 0 of 0 pictures rejected" in page.words
    assert "None of the pictures could be read." in page.words
    assert "broken.png unreadable" in page.words


def test_the_gallery_has_a_limited_number_of_images(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    path = own.part / "detector.pt"
    detector = load_with_thresholds(path, torch.device("cpu"))
    lines = [
        PredictionRecord(f"{n}.png", "anomaly" if n % 2 else "good", n % 2, float(n), max_score=n % 2)
        for n in range(40)
    ]
    found = PredictionsSummary(PredictionRun.of(path, detector.metadata), tuple(lines))
    monkeypatch.setattr(MultiPrototypeDetector, "predict", None)  # no image files to be predicted
    gallery = make_gallery(found, torch.device("cpu"), Console(quiet=True))
    assert [shown.name for shown in gallery.rejected] == [f"{n}.png" for n in range(39, 15, -2)]
    assert [shown.name for shown in gallery.passed] == ["38.png", "36.png", "34.png", "32.png"]


@pytest.mark.parametrize(
    ("paths", "folder"),
    [
        (["/a/b/1.png", "/a/2.png"], "/a"),
        (["/1.png", "a/2.png"], ""),
        (["1.png"], ""),
        (["a/b/1.png"], "a/b"),
        (["ab/1.png", "a/2.png"], ""),
    ],
)
def test_a_common_folder_is_the_deepest(paths: list[str], folder: str) -> None:
    assert common_folder(paths) == folder


GOOD_LINE = '{"path": "a.png", "error": "no picture"}'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("is empty", "judge the pictures again")),
        (f"{GOOD_LINE}\nno line\n", ("line 2 is no prediction",)),
        ("[1]\n", ("line 1 is no prediction",)),
        ('{"path": "a.png", "decision": "maybe", "score": 1}\n', ("line 1 is no prediction",)),
        ('{"path": "a.png", "decision": "good", "score": 0.1, "raw": 1, "regions": []}\n', ("line 1",)),
    ],
)
def test_invalid_lines_are_refused(written: Path, tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    shutil.copy(written.parent / "predictions" / "run.json", tmp_path)
    (tmp_path / "predictions.jsonl").write_text(text)
    before = contents(tmp_path)
    assert_refused(report(tmp_path, tmp_path / "page.html"), "predictions.jsonl", *words)
    assert contents(tmp_path) == before


def test_predictions_without_a_valid_run_file_are_refused(written: Path, tmp_path: Path) -> None:
    output = tmp_path / "page.html"
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "nowhere", tmp_path / "empty"):
        assert_refused(report(place, output), str(place), "promptad predict")
    predictions = shutil.copytree(written.parent / "predictions", tmp_path / "predictions")
    for content in ("{", "[]", "{}", '{"settings": {}}'):
        (predictions / "run.json").write_text(content)
        assert_refused(report(predictions, output), "run.json", "judge the pictures again")
    (predictions / "run.json").unlink()
    assert_refused(report(predictions, output), "no run.json", "judge the pictures again")
    assert not output.exists()


def test_options_that_do_not_go_with_predictions_are_refused(written: Path, tmp_path: Path) -> None:
    predictions = written.parent / "predictions"
    assert_refused(report(predictions, tmp_path / "page.html", "--dataset", "demo"), "--dataset demo", "leave it out")
    assert_refused(report(predictions, tmp_path / "page.html", "--k-shot", "2"), "--k-shot 2", "leave it out")
    assert_refused(report(predictions, tmp_path), "--output", "is a folder")
    (tmp_path / "file").write_text("")
    assert_refused(report(predictions, tmp_path / "file" / "page.html"), "--output")
    assert contents(tmp_path).keys() == {"file"}


def made_placeless(folder: Path) -> str:
    """Change the lines of predictions so that the first anomaly's map is nowhere above 0.5; return its name."""
    file = folder / "predictions.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    changed = next(line for line in lines if line.get("decision") == "anomaly")
    changed |= {"peak": 0.39, "regions": []}
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Path(changed["path"]).name


def test_a_picture_rejected_without_a_region_is_marked_and_has_advice(written: Path, tmp_path: Path) -> None:
    before = Page(written.read_text(encoding="utf-8"))
    assert "Rejected as a whole" not in before.words
    predictions = shutil.copytree(written.parent / "predictions", tmp_path / "predictions")
    name = made_placeless(predictions)
    page = page_of(predictions, tmp_path)
    assert "Rejected as a whole" in page.words
    assert "A ring marks the highest place" in page.words
    assert f"{NO_PLACE} good defect" in page.words  # the reason in the list
    below = page.words.split("Rejected as a whole")[1]
    assert re.match(r".* whole picture \S+ \+ its places \S+ = \S+, threshold \S+ good defect", below)
    assert below.index(name) < below.index("Passed, those closest")
    assert page.words.count(name) == before.words.count(name)  # once in the gallery, once in the list
    shown = {image["alt"]: image["src"] for image in page.all("img")}
    for image in before.all("img"):
        marked = image["alt"].startswith(name)
        alt = re.sub(r"highest .*", "highest 0.39", image["alt"]) if marked else image["alt"]
        assert (shown[alt] != image["src"]) == marked


@pytest.mark.parametrize(
    ("label", "highest", "reason", "found"),
    [
        ("anomaly", 0.5, "most like: broken", True),
        ("anomaly", 0.51, "most like: broken", False),
        ("good", 0.2, "most like: broken", False),
        ("unsure", 0.2, "most like: broken", False),
        ("anomaly", 0.2, "unlike the part: one colour throughout", False),
        ("anomaly", 0.2, "like the defect in 003.png", False),
    ],
)
def test_an_anomaly_without_a_place_is_told_unless_its_reason_says_why(
    label: str, highest: float, reason: str, found: bool
) -> None:
    assert is_without_place(label, highest, reason) == found
    assert ("ring" in overlay_title(0.57, highest, label, reason)) == found
