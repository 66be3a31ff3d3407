"""Runs: one class, or a whole data set, trained, measured, diagnosed and drawn into a result folder."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from promptad.backbone.clip import Backbone
from promptad.data.geometry import square_picture
from promptad.data.pictures import ImageLike, read_picture
from promptad.data.views import make_views
from promptad.detector import BATCH_SIZE, Detector, read_checkpoint
from promptad.diagnostics import abnormal_cosines, diagnose, diagnostics_table, normal_usage
from promptad.drawing import draw_diagnostics, draw_prediction
from promptad.errors import InputError
from promptad.evaluation import TestSplit, evaluate, files_sha256, read_test_split
from promptad.files import whole_file
from promptad.metrics import image_auroc
from promptad.progress import TrainingLog, add_task, progress_bar
from promptad.prompts.states import class_words, state_groups
from promptad.prototypes import Prototypes
from promptad.records import ClassPictures, ImageFeatures, Prediction
from promptad.result_folder import ResultFolder
from promptad.results import METRIC_TITLES, metric_cells, read_results, results_table, write_result
from promptad.scoring import calibrate
from promptad.settings import Settings
from promptad.training import train

SYSTEM, LEVEL, MEMORY = "multi-prototype", "image", "no"
SELECT = "last"  # the epoch that is kept
HASH_DIGITS = 12  # of a SHA-256 that are shown


@dataclass(frozen=True)
class Run:
    """How a run works and what it leaves behind, besides checkpoints and rows."""

    backbone: Backbone
    settings: Settings
    results: ResultFolder
    console: Console
    batch_size: int = BATCH_SIZE
    save_diagnostics: bool = True
    draw_predictions: bool = False


def encode_support(
    backbone: Backbone, pictures: Sequence[ImageLike], settings: Settings, batch_size: int = BATCH_SIZE
) -> ImageFeatures:
    """Encode the views of the support images: features of k * views pictures."""
    views = []
    for picture in pictures:
        square = square_picture(read_picture(picture), backbone.resize, backbone.resize)
        views += make_views(square, settings.training.views, settings.training.seed)
    return backbone.encode_pictures(views, batch_size, read_picture)


def train_class(run: Run, pictures: ClassPictures, support_images: Sequence[Path]) -> None:
    """Train, save and measure the detector of one class.

    Test pictures are encoded before training only so that a log can follow it: `train` cannot see them.
    """
    started = time.monotonic()
    chosen = ", ".join(path.name for path in support_images)
    run.console.print(
        f"learning from {len(support_images)} of {len(pictures.normal)} pictures: {chosen}", soft_wrap=True
    )
    support = encode_support(run.backbone, support_images, run.settings, run.batch_size)
    split = _read_split(run, pictures)
    detector = _fit(run, pictures, support_images, support, split)
    checkpoint = run.results.checkpoint(pictures.class_name)
    detector.save(checkpoint)
    run.console.print(f"checkpoint: {checkpoint}", soft_wrap=True)
    if split is None:
        run.console.print("no test split with good and defective pictures: nothing to measure on")
        _save_diagnostics(run, detector, support)
    else:
        measure(run, detector, split, started)


def test_class(run: Run, detector: Detector, pictures: ClassPictures) -> None:
    """Measure the trained detector of one class again.

    Raises:
        InputError: the class has no test split with good and defective pictures.
    """
    started = time.monotonic()
    run.results.check_writable()
    split = _read_split(run, pictures)
    if split is None:
        raise InputError(f"class {pictures.class_name!r} has no test split with good and defective pictures to test on")
    measure(run, detector, split, started)


def measure(run: Run, detector: Detector, split: TestSplit, started: float) -> None:
    """Measure, diagnose and, if asked, draw a detector on a test split; the row of results is written last."""
    evaluation, prediction = evaluate(detector, split)
    _save_diagnostics(run, detector, split.features)
    if run.draw_predictions:
        _draw_predictions(run, detector, split, prediction)
    settings = detector.settings
    row = {
        "class": detector.class_name,
        "system": SYSTEM,
        "level": LEVEL,
        "memory": MEMORY,
        "select": SELECT,
        "dataset": detector.dataset,
        "data": split.sha256[:HASH_DIGITS],
        "k": settings.training.k_shot,
        "seed": settings.training.seed,
        "n_pro": settings.prompts.n_pro,
        "n_pro_ab": settings.prompts.n_pro_ab,
        "epochs": settings.training.epochs,
        "backbone": settings.backbone.name,
        "weights": detector.backbone.weights_sha256[:HASH_DIGITS],
        "run": run_id(settings, detector.support_sha256),
        "test_images": len(split.labels),
        "seconds": time.monotonic() - started,
        **metric_cells(evaluation),
    }
    write_result(run.results.csv, row)
    run.console.print(_in_words(detector.class_name, row), soft_wrap=True)


def is_finished(run: Run, pictures: ClassPictures, support_images: Sequence[Path]) -> bool:
    """Return whether a class has been trained and measured with just these settings, support and test pictures."""
    path = run.results.checkpoint(pictures.class_name)
    try:
        checkpoint = read_checkpoint(path)
    except InputError:
        return False
    trained = run_id(checkpoint["settings"], checkpoint["support_sha256"])
    wanted = run_id(run.settings, support_sha256(support_images))
    if trained != wanted or checkpoint["weights_sha256"] != run.backbone.weights_sha256:
        return False
    if not _is_measurable(pictures):
        return True
    rows = [row for row in read_results(run.results.csv) if (row["class"], row["run"]) == (pictures.class_name, wanted)]
    return bool(rows) and rows[0]["data"] == files_sha256(pictures.test)[:HASH_DIGITS]


def run_id(settings: Settings, support: str) -> str:
    """Return twelve digits that name a combination of settings and support images, these by their SHA-256."""
    plain = json.dumps([settings.to_dict(), support], sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:HASH_DIGITS]


def support_sha256(images: Sequence[ImageLike]) -> str:
    """Return the SHA-256 of the pixels of support images."""
    digest = hashlib.sha256()
    for image in images:
        picture = read_picture(image)
        digest.update(f"{picture.size}".encode() + picture.tobytes())
    return digest.hexdigest()


def train_all(run: Run, classes: Sequence[tuple[ClassPictures, Sequence[Path]]]) -> None:
    """Train and measure many classes, leaving out those that are finished, and print the table of all.

    A class that fails while it is trained or measured does not stop the others.

    Raises:
        InputError: what was wrong with such classes, after all others are done.
    """
    failures = []
    with progress_bar(run.console) as progress:
        task = add_task(progress, "all classes", len(classes))
        for number, (pictures, support_images) in enumerate(classes, start=1):
            progress.update(task, note=pictures.class_name)
            if is_finished(run, pictures, support_images):
                run.console.print(f"{pictures.class_name}: finished before, left as it is")
            else:
                run.console.rule(f"{pictures.class_name} ({number} of {len(classes)})")
                try:
                    train_class(run, pictures, support_images)
                except InputError as error:
                    failures.append(f"{pictures.class_name}: {error}")
                    run.console.print(f"{pictures.class_name} failed: {error}", style="red", soft_wrap=True)
            progress.advance(task)
    names = {pictures.class_name for pictures, _ in classes}
    rows = sorted((r for r in read_results(run.results.csv) if r["class"] in names), key=lambda row: row["class"])
    if rows:
        run.console.print(results_table(rows))
    if failures:
        raise InputError(f"{len(failures)} of {len(classes)} classes failed; " + "; ".join(failures))


def _fit(
    run: Run, pictures: ClassPictures, support_images: Sequence[Path], support: ImageFeatures, split: TestSplit | None
) -> Detector:
    """Train the detector of a class and report on every epoch; the last one is returned."""
    settings = run.settings
    words = class_words(pictures.class_name)
    groups = state_groups(pictures.class_name, settings.prompts.states)
    names, digest = tuple(path.name for path in support_images), support_sha256(support_images)
    log = TrainingLog(settings.training.epochs)

    def assemble(prototypes: Prototypes) -> Detector:
        calibration = calibrate(support, prototypes, settings.scoring)
        named = (pictures.dataset, pictures.class_name, names, digest)
        return Detector(run.backbone, prototypes, calibration, settings, *named)

    with progress_bar(run.console) as progress:
        task = add_task(progress, f"train {pictures.class_name}", settings.training.epochs)
        for epoch in train(run.backbone, words, groups, support, settings):
            detector = assemble(epoch.prototypes)
            features = split.features if split else support
            auroc = image_auroc(detector.score(features).image.cpu().numpy(), split.labels) if split else None
            log.add(epoch.loss, normal_usage(detector, features).mean(0).tolist(), auroc)
            progress.update(task, completed=epoch.number, note=log.line())
            if log.is_due():
                run.console.print(log.report())
    return detector


def _read_split(run: Run, pictures: ClassPictures) -> TestSplit | None:
    """Encode the test split with a progress bar, if there is one to measure on."""
    if not _is_measurable(pictures):
        return None
    with progress_bar(run.console) as progress:
        task = add_task(progress, f"read {pictures.class_name}", len(pictures.test))
        resolution = run.settings.scoring.resolution
        return read_test_split(
            run.backbone, pictures.test, resolution, run.batch_size, lambda count: progress.advance(task, count)
        )


def _is_measurable(pictures: ClassPictures) -> bool:
    return len({picture.is_anomalous for picture in pictures.test}) == 2


def _save_diagnostics(run: Run, detector: Detector, features: ImageFeatures) -> None:
    if not run.save_diagnostics:
        return
    diagnostics = diagnose(detector, features)
    file, figure = (run.results.diagnostics(detector.class_name, suffix) for suffix in ("json", "png"))
    with whole_file(file) as temporary:
        temporary.write_text(json.dumps(diagnostics, indent=2) + "\n")
    draw_diagnostics(diagnostics, abnormal_cosines(detector.prototypes.abnormal).cpu().numpy(), figure)
    run.console.print(diagnostics_table(diagnostics))
    run.console.print(f"diagnostics: {file} and {figure.name}", soft_wrap=True)


def _draw_predictions(run: Run, detector: Detector, split: TestSplit, prediction: Prediction) -> None:
    folder, backbone = run.results.pictures(detector.class_name), run.backbone
    with progress_bar(run.console) as progress:
        task = add_task(progress, f"draw {detector.class_name}", len(split.pictures))
        for number, picture in enumerate(split.pictures):
            seen = square_picture(read_picture(picture.path), *backbone.square_of(detector.settings.scoring.resolution))
            mask = None if split.masks is None else split.masks[number]
            file = folder / f"{picture.defect}_{picture.path.stem}.png"
            draw_prediction(seen, float(prediction.score[number]), prediction.map[number], mask, file)
            progress.advance(task)
    run.console.print(f"pictures: {folder}", soft_wrap=True)


def _in_words(class_name: str, row: dict[str, Any]) -> str:
    cells = (f"{title} {100 * row[metric]:.1f}" for metric, title in METRIC_TITLES.items() if row[metric] is not None)
    return f"{class_name}: {', '.join(cells)} % on {row['test_images']} pictures"
