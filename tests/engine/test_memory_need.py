"""What a training needs in a process of its own grows with its test images and its map, and holds their features."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from promptad.backbones.clip import Backbone
from promptad.data.datasets import read_class
from promptad.engine.context import Job
from promptad.engine.memory_need import bytes_of_window, needed_memory, of_test_split
from promptad.results.paths import ResultFolder
from promptad.settings import ScoringSettings, Settings


def test_a_window_takes_what_its_features_take(tiny: Backbone) -> None:
    side = tiny.image_encoder.image_size
    features = tiny.encode_squares(np.zeros((1, side, side, 3), np.uint8))
    patches = features.patch_tokens.shape[1]
    assert bytes_of_window(tiny, layers=False) == 4 * tiny.image_encoder.dimensions * (1 + patches)


def test_more_images_and_larger_maps_take_more(drawn: Path, tmp_path: Path, tiny: Backbone) -> None:
    dataset = read_class("demo", drawn / "demo", "carpet")
    job = Job(dataset, Settings(), dataset.normal[:2], ResultFolder(tmp_path, "demo", 2, 0))
    window = bytes_of_window(tiny, layers=False)
    whole = of_test_split(job, window)
    half = of_test_split(replace(job, dataset=replace(dataset, test=dataset.test[::2])), window)
    large = of_test_split(replace(job, settings=Settings(scoring=ScoringSettings(resolution=512))), window)
    assert half < whole < large
    assert large - whole == 4 * len(dataset.test) * 4 * (512**2 - 256**2)
    assert needed_memory([job], tiny) > whole
