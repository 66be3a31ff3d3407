"""Reports: one self-contained page that shows the saved numbers and reports what is missing."""

import base64
import json
import re
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import CHECKPOINT, Outcome, Page, Trained, assert_refused, call, contents, look, only_row
from PIL import Image

from promptad.evaluation.metrics import image_auroc
from promptad.reports.comparison.rows import BASELINE, OURS, Choice
from promptad.reports.gallery import MAX_ITEMS, heatmap, outlined, worst_false_alarms, worst_misses
from promptad.reports.run_summary import Counts, summarize_run
from promptad.reports.template import flat
from promptad.results.columns import METRIC_TITLES
from promptad.results.paths import ResultFolder
from promptad.results.scores import ScoredImage, read_scores
from promptad.results.table import write_result
from promptad.structures import TestImage

SCORES = "scores/CLS-Seed_111-{}-scores.json"
DIAGNOSTICS = "diagnostics/{}_k2_diagnostics.json"


def report(root: Path, output: Path, *more: str | Path, dataset: str = "demo") -> Outcome:
    return call("report", "--dataset", dataset, "--root-dir", root, "--output", output, *more)


def page_of(root: Path, tmp_path: Path, *more: str | Path, dataset: str = "demo") -> Page:
    output = tmp_path / "page.html"
    outcome = report(root, output, *more, dataset=dataset)
    assert (outcome.code, outcome.errors) == (0, "")
    return Page(output.read_text(encoding="utf-8"))


def save_run(root: Path, name: str, seed: int = 0, system: str = OURS, k: int = 2, **cells: object) -> None:
    """Write a row with its own metrics, and scores: 3 normal and 3 anomalous images, one of each predicted wrongly."""
    metrics = {metric: 0.5 + 0.01 * place + 0.1 * seed for place, metric in enumerate(METRIC_TITLES)}
    base, memory = system.removesuffix("+memory"), "yes" if system.endswith("+memory") else "no"
    row: dict[str, object] = {
        "class": name,
        "system": base,
        "memory": memory,
        "level": "image",
        "select": "last",
        "dataset": "demo",
    }
    row |= {"data": f"data of {name}", "k": k, "seed": seed, "n_pro": 3, "n_pro_ab": 6, "epochs": 5, "run": "a run"}
    folder = ResultFolder(root, "demo", k, seed, base)
    write_result(folder.csv, row | {"backbone": "tiny", "weights": "abc", "test_images": 6} | metrics | cells)
    scores = [("good", 0.1), ("good", 0.2), ("good", 0.7), ("<i>bent", 0.9), ("<i>bent", 0.8), ("cut", 0.3)]
    images = [
        {"path": f"/gone/{kind}/{place}.png", "defect": kind, "mask": None, "score": score, "peak": score}
        for place, (kind, score) in enumerate(scores)
    ]
    file = folder.scores(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"run": "a run", "pictures": images}))


def scored(*scores: float, defect: str = "good") -> list[ScoredImage]:
    return [ScoredImage(TestImage(Path(f"{s}.png"), defect, None), s, s) for s in scores]


@pytest.fixture(scope="module")
def written(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the finished run."""
    output = tmp_path_factory.mktemp("report") / "report.html"
    outcome = report(trained.results, output)
    assert (outcome.code, outcome.errors) == (0, "")
    assert f"report: {output}" in outcome.output
    return output


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page(written.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page_with_mistakes(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The report of the same run, with the scores of one normal and one anomalous image changed to wrong ones."""
    folder = tmp_path_factory.mktemp("mistakes")
    root = shutil.copytree(trained.results, folder / "result")
    (file,) = root.rglob(SCORES.format("carpet"))
    saved = json.loads(file.read_text())
    for wrong, good in ((0.9, True), (0.1, False)):
        next(one for one in saved["pictures"] if (one["defect"] == "good") == good)["score"] = wrong
    file.write_text(json.dumps(saved))
    return page_of(root, folder)


def test_saved_scores_are_those_that_were_measured(trained: Trained) -> None:
    row = only_row(trained.folder)
    saved = read_scores(trained.folder / SCORES.format("carpet"), row["run"])
    scores, labels = np.array([s.score for s in saved]), np.array([s.image.is_anomalous for s in saved])
    assert (len(saved), int(labels.sum())) == (8, 4)
    assert f"{100 * image_auroc(scores, labels):.2f}" == row["i_roc"]
    assert all((one.image.mask_path is not None) == one.image.is_anomalous for one in saved)
    assert all(0 < one.max_score <= 1 for one in saved)


def test_the_page_needs_no_network(page_with_mistakes: Page) -> None:
    page = page_with_mistakes
    places = [attributes.get(name, "") for _, attributes in page.elements for name in ("src", "href", "xlink:href")]
    assert {place.split(",")[0] for place in places if place and not place.startswith("#")} == {
        "data:image/jpeg;base64"
    }
    assert re.findall(r"url\((?!#)|@import", page.text) == []
    assert page.all("script") == page.all("link") == []


def test_the_links_and_headings_of_the_page_are_valid(page: Page) -> None:
    identities = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(identities)) == len(identities)
    targets = {attributes["href"][1:] for attributes in page.all("a")}
    assert targets <= set(identities)
    assert {"summary", "results", "baseline", "classes", "class-1", "protocol"} <= targets
    assert next(kind for kind, _ in page.elements if re.fullmatch("h[1-3]", kind)) == "h1"
    assert len(page.all("h1")) == 1


def test_the_page_is_accessible(page_with_mistakes: Page) -> None:
    page = page_with_mistakes
    assert page.all("html") == [{"lang": "en"}]
    assert page.all("img")
    assert all(image["alt"] for image in page.all("img"))
    figures = page.all("svg")
    assert len(figures) == 5  # ROC curve, histogram and three of the prototypes
    assert all(figure["role"] == "img" and figure["aria-label"].startswith("carpet: ") for figure in figures)
    assert all(head.get("scope") for head in page.all("th"))


def test_the_page_shows_the_saved_numbers(page: Page, trained: Trained) -> None:
    row = only_row(trained.folder)
    for metric, title in METRIC_TITLES.items():
        assert f"{title} {float(row[metric]):.1f} %" in page.words
    saved = read_scores(trained.folder / SCORES.format("carpet"), row["run"])
    alarms = sum(one.score > 0.5 and one.image.defect == "good" for one in saved)
    misses = sum(one.score <= 0.5 and one.image.defect != "good" for one in saved)
    assert f"{alarms} of 4 good ones rejected" in page.words
    assert f"{misses} of 4 defective ones passed" in page.words
    for verdict in json.loads((trained.folder / DIAGNOSTICS.format("carpet")).read_text())["verdicts"]:
        assert verdict["name"] in page.words
        assert verdict["advice"] in page.words
    assert "There is no comparison: --baseline single-anchor+memory: no results of it" in page.words
    assert "training.epochs 2" in page.words


def test_the_images_on_the_page_are_images(page: Page) -> None:
    for image in page.all("img"):
        data = base64.b64decode(image["src"].split(",")[1])
        with Image.open(BytesIO(data)) as opened:
            opened.load()
            assert (opened.format, opened.size) == ("JPEG", (224, 224))


def test_figures_use_the_colours_of_the_page(page: Page) -> None:
    figures = "".join(re.findall(r"<svg.*?</svg>", page.text, flags=re.DOTALL))
    assert "currentColor" in figures
    assert "var(--blue)" in figures
    assert set(re.findall(r"#[0-9a-f]{6}\b", figures)) == set()  # no colour is fixed


def drop_scores(folder: Path) -> None:
    (folder / SCORES.format("carpet")).unlink()


def damage_scores(folder: Path) -> None:
    (folder / SCORES.format("carpet")).write_text('{"run": "x", "pictures": [{}]}')


def change_run(folder: Path) -> None:
    file = folder / SCORES.format("carpet")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"run": "another"}))


def drop_diagnostics(folder: Path) -> None:
    (folder / DIAGNOSTICS.format("carpet")).unlink()


def damage_diagnostics(folder: Path) -> None:
    (folder / DIAGNOSTICS.format("carpet")).write_text("{")


def shorten_diagnostics(folder: Path) -> None:
    (folder / DIAGNOSTICS.format("carpet")).write_text('{"verdicts": []}')


def drop_checkpoint(folder: Path) -> None:
    (folder / CHECKPOINT.format("carpet")).unlink()


def move_images(folder: Path) -> None:
    file = folder / SCORES.format("carpet")
    file.write_text(file.read_text().replace("/demo/carpet/", "/elsewhere/"))


def change_scores(folder: Path) -> None:
    """Make all normal images false alarms and all anomalous ones misses, by scores that the detector does not give."""
    file = folder / SCORES.format("carpet")
    content = json.loads(file.read_text())
    for place, line in enumerate(content["pictures"]):
        line["score"] = (0.95 if line["defect"] == "good" else 0.05) + place / 1000
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (drop_scores, "no scores of single pictures in CLS-Seed_111-carpet-scores.json: measure the class again"),
        (damage_scores, "CLS-Seed_111-carpet-scores.json cannot be read as scores"),
        (change_run, "is of another training than the row of results"),
        (drop_diagnostics, "No diagnostics were saved"),
        (damage_diagnostics, "The diagnostics in carpet_k2_diagnostics.json cannot be read"),
        (shorten_diagnostics, "The diagnostics in carpet_k2_diagnostics.json lack normal_prototype_frequencies"),
        (drop_checkpoint, "No pictures are shown: no checkpoint"),
        (change_scores, "now: picture or checkpoint have changed since"),
    ],
)
def test_what_is_missing_is_reported(
    copied: Trained, tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(copied.folder)
    page = page_of(copied.results, tmp_path)
    assert words in page.words
    assert f"I-AUROC {float(only_row(copied.folder)['i_roc']):.1f} %" in page.words


def test_findings_and_the_range_of_false_alarms_are_named(copied: Trained, tmp_path: Path) -> None:
    file = copied.folder / DIAGNOSTICS.format("carpet")
    found = {"findings": ["the anomaly map is constant: see"], "false_alarm_range": [0.0025, 0.039]}
    file.write_text(json.dumps(json.loads(file.read_text()) | found))
    page = page_of(copied.results, tmp_path)
    assert "The anomaly map is constant: see." in page.words
    assert "0.25 % to 3.9 % of other good pictures" in page.words
    assert "below chance" not in page.words
    save_run(tmp_path / "worse", "carpet", i_roc=0.4)
    assert "Image AUROC 0.40 is below chance" in page_of(tmp_path / "worse", tmp_path).words


def test_images_that_are_gone_are_named(copied: Trained, tmp_path: Path) -> None:
    change_scores(copied.folder)
    move_images(copied.folder)
    page = page_of(copied.results, tmp_path)
    assert page.all("img") == []
    assert page.words.count("no picture at") == 8
    assert "good/000.png" in page.words


def test_all_that_comes_from_data_is_escaped(tmp_path: Path) -> None:
    save_run(tmp_path, "<b>part & $x$")
    page = page_of(tmp_path, tmp_path)
    assert page.all("b") == page.all("i") == []
    assert "<b>part & $x$" in page.words
    assert "<i>bent" in page.words


def test_both_systems_stand_side_by_side_where_both_have_rows(tmp_path: Path) -> None:
    for name in ("carpet", "grid"):
        for seed in (0, 1):
            save_run(tmp_path, name, seed)
            if name == "carpet":
                save_run(tmp_path, name, seed, BASELINE, i_roc=0.4 + 0.2 * seed)
    page = page_of(tmp_path, tmp_path)
    # ours 50 and 60, the baseline 40 and 60; differences 10 and 0
    for cell in ("55.0 ± 7.1", "50.0 ± 14.1", "+5.0 ± 7.1"):
        assert cell in page.words
    assert "grid: only multi-prototype has results, left out" in page.words
    assert "8 of 12 good ones rejected" not in page.words
    assert "4 of 12 good ones rejected" in page.words
    assert "all classes: ROC curve" in [figure["aria-label"] for figure in page.all("svg")]


def test_filters_choose_what_is_shown(tmp_path: Path) -> None:
    for k in (1, 2):
        for name in ("carpet", "grid"):
            save_run(tmp_path, name, k=k)
    output = tmp_path / "page.html"
    assert_refused(report(tmp_path, output), "k = 1, 2", "--k-shot")
    assert_refused(report(tmp_path, output, "--k-shot", "4"), "--k-shot 4", "1, 2")
    assert not output.exists()
    page = page_of(tmp_path, tmp_path, "--k-shot", "1", "--classes", "grid")
    assert "1 class, learned from k = 1 good picture each, seed 0" in page.words
    assert "carpet" not in page.words


def test_results_of_the_test_oracle_have_a_warning(tmp_path: Path) -> None:
    save_run(tmp_path, "carpet", select="test-oracle")
    assert_refused(report(tmp_path, tmp_path / "page.html"), "test labels chose")
    page = page_of(tmp_path, tmp_path, "--select", "test-oracle")
    assert any(attributes.get("role") == "alert" for _, attributes in page.elements)


def test_the_single_anchor_system_has_no_threshold(tmp_path: Path) -> None:
    save_run(tmp_path, "carpet", system=BASELINE)
    page = page_of(tmp_path, tmp_path, "--ours", BASELINE)
    assert "calibrates no threshold" in page.words
    assert "Misses" not in page.words
    assert "No diagnostics: the single-anchor system has no prototypes." in page.words


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    save_run(tmp_path / "result", "carpet")
    (tmp_path / "file").write_text("")
    assert_refused(report(tmp_path / "result", tmp_path / "file" / "page.html"), "--output")
    assert_refused(report(tmp_path / "result", tmp_path), "--output", "is a folder")
    assert_refused(report(tmp_path / "nothing", tmp_path / "page.html"), "no such results")
    assert {name for name in contents(tmp_path) if not name.startswith("result/")} == {"file"}


def test_classes_that_were_trained_and_not_measured_are_told_apart_from_none(tmp_path: Path) -> None:
    checkpoint = tmp_path / "demo" / "k_2" / "checkpoint" / "CLS-Seed_0-carpet-check_point.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    outcome = report(tmp_path, tmp_path / "page.html")
    assert_refused(outcome, "was measured, though some are trained", "test pictures, good and defective ones")


def test_counts_equal_those_of_a_loop() -> None:
    chance = np.random.default_rng(0)
    images = scored(*chance.random(40)) + scored(*chance.random(30), defect="cut") + scored(0.5, defect="cut")
    alarms = misses = 0
    for one in images:
        if one.image.defect == "good" and one.score > 0.5:
            alarms += 1
        if one.image.defect != "good" and not one.score > 0.5:
            misses += 1
    assert Counts.of(images) == Counts(40, alarms, 31, misses)
    assert Counts.of(images[:20]) + Counts.of(images[20:]) == Counts.of(images)


def test_the_worst_are_the_furthest_on_the_wrong_side() -> None:
    images = scored(0.1, 0.6, 0.9, 0.5) + scored(0.2, 0.95, 0.4, 0.5, 0.3, 0.1, defect="cut")
    assert [one.score for one in worst_false_alarms(images, decides=True)] == [0.9, 0.6]
    assert [one.score for one in worst_misses(images, decides=True)] == [0.1, 0.2, 0.3, 0.4]
    assert [one.score for one in worst_false_alarms(images, decides=False)] == [0.9, 0.6, 0.5, 0.1]
    assert len(worst_misses(images, decides=False)) == MAX_ITEMS


def test_a_map_is_drawn_over_its_image_and_the_outline_around_the_region() -> None:
    square = np.full((32, 32, 3), 100, dtype=np.uint8)
    anomaly_map = np.zeros((32, 32), dtype=np.float32)
    anomaly_map[8:16, 8:16] = 1
    over = heatmap(square, anomaly_map)
    assert over[12, 12].sum() > over[24, 24].sum()
    lined = outlined(square, anomaly_map > 0.5, (0, 255, 255))
    red, green, blue = lined[8, 12].tolist()
    assert red < 100 < min(green, blue)  # the line is smooth
    assert (lined[24, 24] == 100).all()
    assert (square == 100).all()


def test_settings_are_flattened() -> None:
    assert dict(flat({"a": {"b": 1, "c": ("x", "y")}, "d": None})) == {"a.b": "1", "a.c": "x, y", "d": "None"}


def test_a_class_without_a_row_is_listed_as_not_measured(copied: Trained) -> None:
    shutil.copy(copied.folder / CHECKPOINT.format("carpet"), copied.folder / CHECKPOINT.format("floor tile"))
    findings = summarize_run(Choice("demo", (copied.results,), BASELINE, OURS))
    assert [(found.name, found.line is None) for found in findings.classes] == [("carpet", False), ("floor tile", True)]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_the_report(browser: Any, written: Path, width: int, scheme: str) -> None:
    run = look(browser, written, width, scheme)
    assert run("return document.querySelector('h1').textContent") == "multi-prototype on demo"
    assert run("return document.querySelectorAll('svg, table, nav').length") >= 8


SHADE = "return [...document.querySelectorAll('.wide')].filter(wide => wide.scrollWidth > wide.clientWidth).length"


BACKGROUND = """
    const style = getComputedStyle(document.querySelector('.wide'))
    return [style.backgroundAttachment, style.backgroundPositionX, style.backgroundSize, style.backgroundImage]
"""


@pytest.mark.slow
def test_a_table_that_scrolls_has_a_shadow_until_its_end(browser: Any, tmp_path: Path) -> None:
    for name in ("carpet", "grid"):
        for seed in (0, 1):
            save_run(tmp_path, name, seed)
    output = tmp_path / "page.html"
    assert report(tmp_path, output).code == 0
    assert look(browser, output, 1300, "light")(SHADE) == 0  # all fit
    run = look(browser, output, 390, "light")
    assert run(SHADE) >= 2
    attachment, place, size, image = run(BACKGROUND)
    assert attachment == "local, scroll"  # a cover that moves with the table, above a shadow that stays
    assert (place, size) == ("100%, 100%", "48px 100%, 20px 100%")  # both at the right edge, the cover the wider one
    assert image.count("linear-gradient(to left, ") == 2
    assert image.index("rgb(255, 255, 255)") < image.index("rgba(")


def changed_names(folder: Path, names: object) -> None:
    (file,) = folder.rglob("carpet_k2_diagnostics.json")
    content = json.loads(file.read_text())
    del content["prototype_words"]
    file.write_text(json.dumps(content | ({} if names is None else {"prototype_words": names})))


def test_prototypes_have_their_nearest_words(page: Page, trained: Trained) -> None:
    (file,) = trained.results.rglob("carpet_k2_diagnostics.json")
    content = json.loads(file.read_text())
    for side in ("normal", "abnormal"):
        shares = content[f"{side}_prototype_frequencies"]
        for number, (name, share) in enumerate(zip(content["prototype_words"][side], shares, strict=True), 1):
            assert f"{side} {number} {', '.join(name['words'])}" in page.words
            assert f"{share:.0%}" in page.words
    first = content["prototype_words"]["abnormal"][0]["words"][0].split()[-1]
    assert re.search(rf"<text[^>]*>[^<]*{first} 1</text>", page.text)  # in the figures, too


def test_diagnostics_of_an_older_version_are_shown_without_words(copied: Trained, tmp_path: Path) -> None:
    changed_names(copied.results, None)
    page = page_of(copied.results, tmp_path)
    assert "balanced usage" in page.words
    assert "nearest to" not in page.words


@pytest.mark.parametrize(
    "names",
    [
        {"normal": [], "abnormal": []},
        {"normal": [{"words": ["a"], "cosine": "b"}] * 3},
        {"abnormal": [{"words": [1], "cosine": 0.5}] * 6},
        {"other": [{"words": ["a"], "cosine": 0.5}]},
        [1],
    ],
)
def test_damaged_words_of_prototypes_are_told(copied: Trained, tmp_path: Path, names: object) -> None:
    changed_names(copied.results, names)
    assert "carpet_k2_diagnostics.json cannot be read" in page_of(copied.results, tmp_path).words
