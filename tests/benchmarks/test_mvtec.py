"""The benchmark of a whole data set: its table, what it quotes, and how it goes on."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mvtec as benchmark
import paper_table
import pytest
from paper_table import MEAN, MEASURED, METRICS, PUBLISHED, QUOTED, Figure, Published, Results, Training

from promptad.data.datasets import DATASETS, class_names
from promptad.engine import runs

OURS, BASELINE = benchmark.SYSTEMS
METHODS = ("WinCLIP+", "PromptAD", "AnomalyDINO-S (672)", "SubspaceAD")


def row(name: str, system: str, seed: int, image: float, pixel: str = "90.00") -> dict[str, str]:
    memory = system.endswith("+memory")
    found = {"class": name, "system": system.removesuffix("+memory"), "memory": "yes" if memory else "no"}
    return found | {"k": "1", "seed": str(seed), "i_roc": f"{image:.2f}", "p_roc": pixel, "p_pro": pixel}


def results_with(
    rows: Sequence[dict[str, str]], dataset: str = "mvtec", names: Sequence[str] = ("cog", "cam")
) -> Results:
    asked = [Training(name, system, 1, seed) for name in names for system in benchmark.SYSTEMS for seed in (0, 1)]
    return Results(dataset, tuple(asked), tuple(rows))


@pytest.fixture
def complete() -> list[dict[str, str]]:
    """Rows of two classes, two systems and two seeds."""
    image = {(OURS, 0): (60, 80), (OURS, 1): (70, 94), (BASELINE, 0): (50, 50), (BASELINE, 1): (60, 60)}
    return [
        row(name, system, seed, value)
        for (system, seed), values in image.items()
        for name, value in zip(("cog", "cam"), values, strict=True)
    ]


def saved() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    return found


def line_of(results: Results, method: str, name: str) -> dict[str, Figure | None]:
    (found,) = (line for line in results.lines() if (line.method, line.class_name) == (method, name))
    return dict(found.figures)


def call(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    code = benchmark.main([str(word) for word in words])
    return code, *capsys.readouterr()


def test_a_mean_is_over_classes_and_its_deviation_over_seeds(complete: list[dict[str, str]]) -> None:
    results = results_with(complete)
    mean = line_of(results, OURS, MEAN)["i_roc"]
    assert mean is not None
    assert mean.mean == pytest.approx((70 + 82) / 2)
    assert mean.deviation == pytest.approx((82 - 70) / 2**0.5)
    assert str(line_of(results, BASELINE, "cog")["i_roc"]) == "55.0 ± 7.1"
    assert str(mean) == "76.0 ± 8.5"
    assert str(paper_table.figure_of([70.04])) == "70.0"


def test_a_class_that_lacks_a_training_is_named_and_in_no_mean(complete: list[dict[str, str]]) -> None:
    lacking = [own for own in complete if (own["class"], own["system"], own["seed"]) != ("cam", "single-anchor", "1")]
    results = results_with(lacking)
    assert results.missing == (Training("cam", BASELINE, 1, 1),)
    assert results.classes == ("cog",)
    for system in benchmark.SYSTEMS:
        assert line_of(results, system, MEAN) == line_of(results, system, "cog")
    told = "\n".join(paper_table.remarks(results, Published((), {}, {})))
    assert "NOT COUNTED" in told
    assert "cam" in told.split("NOT COUNTED")[1].splitlines()[0]
    assert "by class: cam (1)" in told


def test_classes_of_the_data_set_that_were_not_asked_for_are_named() -> None:
    names = paper_table.ALL_CLASSES["visa"][:-1]
    rows = [row(name, system, seed, 90) for name in names for system in benchmark.SYSTEMS for seed in (0, 1)]
    assert results_with(rows, "visa", names).left_out == ("pipe_fryum",)
    assert results_with([], "visa", ("pcb1",)).left_out == (*names, "pipe_fryum")[:12]


def test_without_any_row_the_table_is_empty_and_says_so() -> None:
    results = results_with([])
    rows = paper_table.means_rows(results, paper_table.read_published("visa", ()))
    partly = f"{MEASURED}, 0 of {len(results.left_out)} CLASSES"
    assert rows[1:] == [("1", system, "-", "-", "-", partly) for system in benchmark.SYSTEMS]
    assert "Means are over 0 classes" in paper_table.remarks(results, Published((), {}, {}))[0]


def test_a_class_without_masks_is_in_the_mean_of_image_auroc_alone(complete: list[dict[str, str]]) -> None:
    rows = [own | ({"p_roc": "", "p_pro": ""} if own["class"] == "cam" else {}) for own in complete]
    results = results_with(rows)
    assert line_of(results, OURS, MEAN)["p_roc"] == line_of(results, OURS, "cog")["p_roc"]
    assert line_of(results, OURS, "cam")["p_roc"] is None
    assert line_of(results, OURS, MEAN)["i_roc"] == line_of(results_with(complete), OURS, MEAN)["i_roc"]
    assert any("do not count them: cam" in told for told in paper_table.remarks(results, Published((), {}, {})))


def test_quoted_rows_change_no_mean_and_are_marked(complete: list[dict[str, str]], tmp_path: Path) -> None:
    results, published = results_with(complete), paper_table.read_published("mvtec", (1, 2))
    alone = paper_table.means_rows(results, Published((), {}, {}))
    together = paper_table.means_rows(results, published)
    assert [own for own in together if own[-1].startswith(MEASURED)] == alone[1:]
    assert alone[1][-1] == "measured, 2 of 17 CLASSES"
    quoted = [own for own in together[1:] if not own[-1].startswith(MEASURED)]
    assert [own[1] for own in quoted] == list(METHODS)
    assert all(own[-1].startswith(f"{QUOTED} [") for own in quoted)
    told = paper_table.remarks(results, published)
    assert all(any(line.startswith(own[-1].removeprefix(f"{QUOTED} ")) for line in told) for own in quoted)
    paper_table.write_csv(tmp_path / "table.csv", results, published)
    with (tmp_path / "table.csv").open(encoding="utf-8") as opened:
        written = list(csv.DictReader(opened))
    assert {own["method"] for own in written if own["kind"] == MEASURED} == set(benchmark.SYSTEMS)
    assert {own["method"] for own in written if own["kind"] == QUOTED} == set(METHODS)
    assert all(bool(own["source"]) == (own["kind"] == QUOTED) for own in written)
    assert paper_table.as_json(list(results.lines())).keys() == {"k1"}


def test_nothing_is_quoted_beside_data_that_nothing_was_published_of() -> None:
    for dataset in ("demo", "mvtec2", "loco", "folder"):
        assert paper_table.read_published(dataset, (1, 2, 4)).lines == ()


def test_every_published_number_is_there_once_with_source_and_place() -> None:
    document = saved()
    found = [(own["method"], own["dataset"], own["k"], own["metric"]) for own in document["rows"]]
    wanted = [(m, d, k, metric) for d in ("mvtec", "visa") for m in METHODS for k in (1, 2, 4) for metric in METRICS]
    assert sorted(found) == sorted(wanted)
    for own in document["rows"]:
        assert set(own) - {"deviation"} == {"method", "dataset", "k", "metric", "value", "source", "read_in"}
        assert "arXiv:" in document["sources"][own["source"]]
        assert own["read_in"]
        assert set(own["read_in"]) <= document["places"].keys()
        assert 50 < own["value"] < 100
        assert round(own["value"], 1) == own["value"]
        assert 0 <= own.get("deviation", 0) < 5
    assert document["notes"].keys() <= document["sources"].keys()
    assert {place for own in document["rows"] for place in own["read_in"]} == document["places"].keys()


@pytest.mark.parametrize(
    ("method", "dataset", "k", "numbers"),
    [
        ("WinCLIP+", "mvtec", 1, (93.1, 95.2, 87.1)),
        ("WinCLIP+", "visa", 1, (83.8, 96.4, 85.1)),
        ("PromptAD", "mvtec", 2, (95.7, 96.2, 88.5)),
        ("AnomalyDINO-S (672)", "mvtec", 1, (96.6, 96.8, 92.7)),
        ("SubspaceAD", "mvtec", 1, (97.1, 97.5, 94.5)),
    ],
)
def test_published_numbers_are_those_of_the_papers(
    method: str, dataset: str, k: int, numbers: tuple[float, ...]
) -> None:
    (line,) = (own for own in paper_table.read_published(dataset, (k,)).lines if own.method == method)
    assert tuple(figure.mean for figure in line.figures.values() if figure) == numbers
    (ours,) = (
        own
        for own in saved()["rows"]
        if (own["method"], own["dataset"], own["k"], own["metric"]) == (method, dataset, k, "i_roc")
    )
    assert line.source == ours["source"]


def test_the_classes_of_a_known_data_set_are_those_of_its_reader(drawn: Path) -> None:
    assert set(class_names("demo", drawn / "demo")) <= set(paper_table.ALL_CLASSES["demo"])
    assert {name: len(own) for name, own in paper_table.ALL_CLASSES.items()} == {
        "mvtec": 15,
        "demo": 15,
        "visa": 12,
        "mvtec2": 8,
        "loco": 5,
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--k-shot", "few"), "--k-shot"),
        (("--systems", "ours"), 'unknown system: "ours"'),
        (("--systems", "multi-prototype,multi-prototype+memory"), "each with its own --root-dir"),
        (("--system", "single-anchor"), "give --systems instead"),
        (("--seed", "3"), "give --seeds instead"),
        (("--seeds", "x"), "--seeds"),
        (("--support-list", "list.txt"), "seeds draw the support images"),
        (("--dataset", "mvtek"), "did you mean mvtec?"),
        (("--data-root", "/no/such/place"), "no MVTec AD at /no/such/place"),
        (("--nonsense", "1"), "unknown option"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_2(
    words: tuple[str, ...], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = call(capsys, "--root-dir", tmp_path, *words)
    assert code == 2
    assert errors.count("\n") == 1
    assert told in errors


@pytest.mark.slow
def test_what_is_finished_is_left_and_the_rest_goes_on(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words: list[str | Path] = ["--dataset", "demo", "--data-root", drawn, "--root-dir", tmp_path / "result"]
    words += ["--classes", "carpet,grid", "--seeds", "0,1", "--k-shot", "1", "--epochs", "1", "--resolution", "32"]
    words += ["--use-cpu", "True", "--views", "2", "--output", tmp_path / "table", "--json", tmp_path / "found.json"]
    trained: list[str] = []
    train_class = runs.train_class

    def stop_after_three(job: Any, context: Any) -> None:
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(f"{job.class_name} {job.settings.system} {job.settings.training.seed}")
        train_class(job, context)

    monkeypatch.setattr(runs, "train_class", stop_after_three)
    code, _, errors = call(capsys, *words)
    assert (code, len(trained)) == (130, 3)
    assert "what was finished is kept" in errors
    assert not (tmp_path / "table").exists()

    def count(job: Any, context: Any) -> None:
        trained.append(job.class_name)
        train_class(job, context)

    monkeypatch.setattr(runs, "train_class", count)
    code, output, errors = call(capsys, *words)
    assert (code, errors) == (0, "")
    assert "3 of 8 trainings were finished before" in output
    assert len(trained) == 8
    assert "NOT COUNTED" in output
    written = json.loads((tmp_path / "found.json").read_text())
    assert written["missing"] == []
    assert written["quoted"] == {}
    assert written["measured"]["k1"].keys() == set(benchmark.SYSTEMS)
    assert written["measured"]["k1"][OURS].keys() == {MEAN, "carpet", "grid"}
    table = (tmp_path / "table" / "table.md").read_text()
    assert f"| 1 | {OURS} |" in table
    assert "weights: SHA-256" in table

    code, output, _ = call(capsys, *words)
    assert code == 0
    assert "8 of 8 trainings were finished before" in output
    assert len(trained) == 8

    monkeypatch.setattr(runs, "train_class", failing)
    code, output, errors = call(capsys, *words, "--lr", "0.003")
    assert code == 2
    assert errors.count("\n") == 1
    assert "8 trainings failed" in errors
    assert "Means are over 0 classes" in output


def failing(*_: object) -> None:
    raise OSError(28, "No space left on device", "result")


def test_every_data_set_that_has_published_numbers_can_be_read() -> None:
    assert {own["dataset"] for own in saved()["rows"]} <= DATASETS.keys()


@pytest.mark.slow
def test_side_by_side_as_on_a_gpu_the_numbers_are_the_same(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words: list[str | Path] = ["--dataset", "demo", "--data-root", drawn, "--classes", "carpet", "--seeds", "0,1"]
    words += ["--k-shot", "1,2", "--epochs", "2", "--resolution", "32", "--use-cpu", "True", "--views", "2"]
    found = []
    for together in (False, True):
        monkeypatch.setattr(benchmark, "_on_gpu", lambda _, together=together: together)
        file, results = tmp_path / f"{together}.json", tmp_path / f"result_{together}"
        code, output, errors = call(capsys, *words, "--root-dir", results, "--json", file)
        assert (code, errors) == (0, "")
        assert ("and 3 more" in output) == together
        found.append(json.loads(file.read_text())["measured"])
    for k in ("k1", "k2"):
        for system in benchmark.SYSTEMS:
            for metric in METRICS:
                alone, beside = (own[k][system]["carpet"][metric] for own in found)
                assert beside == pytest.approx(alone, abs=0.05)
