"""The benchmark of disturbed pictures: its level comes from clean good pictures, its changes are from clean ones."""

from pathlib import Path

import demo_bed
import disturbances
import numpy as np
import pytest
from rich.console import Console

from promptad.data.corruptions import corruptions_of
from promptad.structures import Prediction
from promptad.utils.numbers import MINUS

pytestmark = pytest.mark.slow


def prediction_of(raw: list[float]) -> Prediction:
    scores = np.array(raw)
    return Prediction(scores, np.zeros((len(raw), 1, 1), np.float32), scores, threshold=2.5)


def test_good_pictures_are_counted_above_the_level_and_above_the_own_threshold() -> None:
    labels = np.array([False] * 4 + [True] * 2)
    found = disturbances.figures_of(prediction_of([0.0, 1.0, 2.0, 3.0, 2.4, 4.0]), labels, level=1.5)
    assert found == {"image_auroc": 7 / 8, "above_clean": 0.5, "false_alarms": 0.25, "misses": 0.5}


def test_changes_are_from_clean_pictures_of_the_same_system() -> None:
    means = {demo_bed.TEXT: 0.9, demo_bed.BOTH: 0.8, demo_bed.BASELINE: 0.7}
    rows = [
        {"system": system, "disturbance": name, "strength": strength, "image_auroc": mean - 0.1 * strength + apart}
        for system, mean in means.items()
        for name, strength in (("none", 0), ("blur", 1), ("blur", 2), ("blur", 3))
        for apart in (-0.02, 0.02)
    ]
    console = Console(width=100)
    with console.capture() as capture:
        console.print(disturbances.movement_table(rows, "image_auroc"))
    words = [line.replace("│", " ").split() for line in capture.get().splitlines() if "│" in line]
    assert words[0] == ["none", "90.0", "80.0", "70.0"]
    fallen = f"({MINUS}20.0)"
    assert words[2] == ["blur", "2", "70.0", fallen, "60.0", fallen, "50.0", fallen]


def test_all_systems_are_measured_on_the_same_disturbed_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_of = demo_bed.settings_of
    monkeypatch.setattr(demo_bed, "settings_of", lambda system, seed, _: settings_of(system, seed, 1))
    job = (demo_bed.Place(200, "bottle"), tmp_path, (0,), tuple(corruptions_of(["light"])))
    rows = disturbances.run(job)
    for system in disturbances.SYSTEMS:
        own = [row for row in rows if row["system"] == system]
        assert [(row["disturbance"], row["strength"]) for row in own] == [
            ("none", 0),
            *[("light", n) for n in (1, 2, 3)],
        ]
        assert own[0]["above_clean"] == 0.05  # 1 of 20
        assert len({row["image_auroc"] for row in own}) > 1
        assert (own[0]["misses"] is None) == (system == demo_bed.BASELINE)
