"""How the measures of a trained detector move when its test images are disturbed. Nothing is learned anew."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from promptad.data.corruptions import Corruption
from promptad.engine.context import RunContext
from promptad.engine.evaluate import RunRecord, evaluate_detector
from promptad.results.disturbances import cells_of, curves, disturbances_table, write_disturbances
from promptad.results.paths import ResultFolder
from promptad.structures import ANOMALY, Prediction
from promptad.utils.progress import add_task, progress_bar
from promptad.visualization.disturbances import draw_disturbances


def measure_disturbed(
    clean: RunRecord, corruptions: Sequence[Corruption], results: ResultFolder, context: RunContext
) -> None:
    """Evaluate a detector on its test images under each disturbance; save, draw and print the results."""
    class_name, images = clean.detector.class_name, clean.split.images
    rows = [row_of(clean, None)]
    with progress_bar(context.console) as progress:
        bar = add_task(progress, f"disturb {class_name}", len(corruptions) * len(images))
        for corruption in corruptions:
            progress.update(bar, note=f"{corruption.name} {corruption.strength}")
            started = time.monotonic()
            record = evaluate_disturbed(clean, corruption, context, lambda count: progress.advance(bar, count))
            rows.append(row_of(record, time.monotonic() - started))
    write_disturbances(results.disturbances, rows)
    figure = results.disturbances_figure(class_name)
    draw_disturbances(f"{class_name}: disturbed pictures", curves(rows), figure)
    context.console.print(disturbances_table(rows))
    context.console.print(f"disturbances: {results.disturbances} and {figure}", soft_wrap=True)


def evaluate_disturbed(
    clean: RunRecord,
    corruption: Corruption,
    context: RunContext,
    advance: Callable[[int], None] = lambda _: None,
) -> RunRecord:
    """Evaluate a detector on the same test images, disturbed; `advance` takes how many are encoded."""
    reading = replace(clean.split.reading, corruption=corruption)
    split = context.encode_split(clean.split.images, clean.detector.settings, reading, advance)
    known = replace(split, features=clean.detector.add_memory_distances(split.features))
    return evaluate_detector(clean.detector, known)


def row_of(record: RunRecord, seconds: float | None) -> dict[str, Any]:
    """Return the row of a record in the table of disturbed pictures."""
    disturbed = cells_of(record.split.reading.corruption)
    return {**record.row(seconds), **disturbed, **error_rates(record.prediction, record.split.labels)}


def error_rates(prediction: Prediction, labels: np.ndarray) -> dict[str, float | None]:
    """Return the shares of normal images that are rejected and of anomalous ones that are not; None without threshold.

    `labels` [N] bool, True is anomalous.
    """
    if prediction.threshold is None:
        return {"false_alarms": None, "misses": None}
    rejected = np.array([label == ANOMALY for label in prediction.label])
    return {"false_alarms": float(rejected[~labels].mean()), "misses": float((~rejected[labels]).mean())}
