"""A prediction as a sequence of images, as plain data and as a table."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import refusal
from matplotlib.figure import Figure
from PIL import Image

from promptad.structures import ANOMALY, GOOD, Explanation, Prediction
from promptad.visualization.prediction import ImagePrediction

COUNT = 4
SIDE = 20  # pixels of images and maps


@pytest.fixture
def prediction(tmp_path: Path) -> ImagePrediction:
    """Four images, the second one with a defect in its upper left corner; the first two are files."""
    images: list[Path | Image.Image] = [Image.new("RGB", (SIDE, SIDE), (50 * n, 0, 0)) for n in range(COUNT)]
    for number in range(2):
        path = tmp_path / f"{number}.png"
        images[number].save(path)  # type: ignore[union-attr]
        images[number] = path
    maps = np.full((COUNT, SIDE, SIDE), 0.1, np.float32)
    maps[1, 2:6, 2:6] = 0.9
    raw = np.array([0.0, 5.0, 1.0, 2.0])
    explained = tuple(Explanation(1, (f"state {n}",), None, float(raw[n]), None) for n in range(COUNT))
    return ImagePrediction(1 / (1 + np.exp(3 - raw)), maps, raw, 3.0, explanations=explained, images=images)


def test_each_image_has_single_values(prediction: ImagePrediction, tmp_path: Path) -> None:
    assert len(list(prediction)) == len(prediction) == COUNT
    for number, one in enumerate(prediction):
        assert one.label == prediction.label[number]
        assert one.score == prediction.score[number]
        assert isinstance(one.score, float)
        assert one.raw_score == prediction.raw_score[number]
        assert one.regions == prediction.regions(number)
        assert one.reason == f"most like: state {number}"
        assert one.image is prediction.images[number]
        np.testing.assert_array_equal(one.anomaly_map, prediction.anomaly_map[number])
        assert isinstance(one.plot(), Figure)
    assert [one.label for one in prediction] == [GOOD, ANOMALY, GOOD, GOOD]
    assert [one.path for one in prediction] == [str(tmp_path / "0.png"), str(tmp_path / "1.png"), None, None]
    (region,) = prediction[1].regions
    assert (region.left, region.top) == (2, 2)
    assert repr(prediction[1]) == f"PredictedImage(anomaly, score 0.88, {tmp_path / '1.png'})"


@pytest.mark.parametrize("number", [-1, 3, np.int64(3), np.uint8(3)])
def test_a_number_of_any_kind_names_one_image(prediction: ImagePrediction, number: int) -> None:
    assert prediction[number].raw_score == 2


@pytest.mark.parametrize("number", [4, -5, np.int64(4)])
def test_a_number_out_of_range_is_an_index_error(prediction: ImagePrediction, number: int) -> None:
    with pytest.raises(IndexError, match="out of bounds"):
        prediction[number]


@pytest.mark.parametrize("key", ["label", 1.0, None, True, [[0]]])
def test_what_names_no_image_is_refused(prediction: ImagePrediction, key: object) -> None:
    with pytest.raises((TypeError, IndexError)):
        prediction[key]  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        (slice(1, 3), [1, 2]),
        (slice(None, None, -1), [3, 2, 1, 0]),
        (slice(0, 0), []),
        ([2, 0], [2, 0]),
        ([], []),
        (np.array([1, 1]), [1, 1]),
        ([False, True, False, True], [1, 3]),
        (np.array([True, False, False, False]), [0]),
    ],
)
def test_a_part_is_a_prediction(prediction: ImagePrediction, key: slice, rows: list[int]) -> None:
    part = prediction[key]
    assert isinstance(part, ImagePrediction)
    assert part.raw_score.tolist() == prediction.raw_score[rows].tolist()
    assert part.anomaly_map.shape == (len(rows), SIDE, SIDE)
    assert part.label == tuple(prediction.label[row] for row in rows)
    assert part.explanations == tuple(prediction.explanations[row] for row in rows)
    assert list(part.images) == [prediction.images[row] for row in rows]
    assert (part._repr_jpeg_() is None) == (not rows)


def test_a_mask_of_another_length_is_refused(prediction: ImagePrediction) -> None:
    with pytest.raises(IndexError):
        prediction[[True, False]]


def test_plain_data_is_json_of_every_image(prediction: ImagePrediction) -> None:
    columns = json.loads(json.dumps(prediction.to_dict()))
    assert columns["label"] == list(prediction.label)
    assert columns["raw_score"] == prediction.raw_score.tolist()
    assert [len(regions) for regions in columns["regions"]] == [0, 1, 0, 0]
    assert [one.to_dict() for one in prediction] == [
        {name: column[number] for name, column in prediction.to_dict().items()} for number in range(COUNT)
    ]
    assert prediction[:0].to_dict() == {name: [] for name in columns}


def test_a_method_without_threshold_has_no_label_in_plain_data(prediction: ImagePrediction) -> None:
    plain = Prediction(prediction.score, prediction.anomaly_map, prediction.raw_score)
    (only,) = ImagePrediction(**vars(plain), images=prediction.images)[:1]
    assert (only.to_dict()["label"], only.reason, only.threshold) == (None, None, None)
    assert "no threshold" in repr(only)
    assert "decides nothing" in refusal(lambda: only.label)


def test_a_table_has_a_row_for_each_image(prediction: ImagePrediction) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = prediction.to_dataframe()
    assert isinstance(table, pandas.DataFrame)
    assert len(table) == COUNT
    assert table.columns.tolist() == list(prediction.to_dict())
    assert table["score"].tolist() == prediction.score.tolist()
    assert table[table.label == ANOMALY].path.tolist() == [prediction[1].path]


def test_a_table_needs_pandas(prediction: ImagePrediction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert refusal(prediction.to_dataframe) == "pandas is not installed: pip install pandas"
