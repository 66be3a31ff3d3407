"""The map over the picture, drawn without matplotlib."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from helpers import call, draw, read_lines
from PIL import Image
from served import export_whole, picture

from promptad.runtime.__main__ import main
from promptad.runtime.overlay import HEATMAP_ALPHA, draw_overlay, inferno, overlay_png
from promptad.structures import WHOLE, Frame

GREY = Image.new("RGB", (300, 300), (90, 90, 90))
CENTRE = Frame(0.1, 0.1, 0.9, 0.9)


def test_the_colours_are_those_of_inferno() -> None:
    values = np.linspace(0, 1, 256)[None]
    expected = mpl.colormaps["inferno"](values[0])[:, :3] * 255
    assert np.abs(inferno(values)[0] - expected).max() < 4
    assert (inferno(np.array([[-1.0, 2.0]])) == [[[0, 0, 4], [252, 255, 164]]]).all()


def test_a_value_has_its_colour_whatever_else_is_in_the_map() -> None:
    low, high = np.full((16, 16), 0.2, np.float32), np.full((16, 16), 0.2, np.float32)
    high[4:8, 4:8] = 1
    one, other = (np.asarray(draw_overlay(GREY, own, WHOLE)) for own in (low, high))
    expected = 90 * (1 - HEATMAP_ALPHA) + inferno(np.array([[0.2]]))[0, 0] * HEATMAP_ALPHA
    np.testing.assert_allclose(one[280, 280], expected, atol=1.5)
    assert (one[280, 280] == other[280, 280]).all()


@pytest.mark.parametrize("grey", [0, 255])
def test_a_line_with_dark_edges_goes_round_what_is_above_the_threshold(grey: int) -> None:
    anomaly_map = np.zeros((20, 20), np.float32)
    anomaly_map[5:10, 10:15] = 1  # from 75 to 150 down, from 150 to 225 across, where it is 0.5
    drawn = np.asarray(draw_overlay(Image.new("RGB", (300, 300), (grey,) * 3), anomaly_map, WHOLE)).astype(int)
    white, black = ((drawn == own).all(axis=2) for own in (255, 0))
    rows, columns = np.nonzero(white)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((73, 151, 148, 226), abs=1)
    middle = 112
    across = [int(x) for x in np.nonzero(white[middle])[0]]
    assert len(across) == 2  # the line itself is not filled
    assert all(black[middle, x - 1] and black[middle, x + 1] for x in across)


def test_a_ring_goes_round_the_highest_place_of_a_low_map() -> None:
    anomaly_map = np.zeros((30, 30), np.float32)
    anomaly_map[9, 21] = 0.3  # at 95 down and 215 across
    plain, ringed = (np.asarray(draw_overlay(GREY, anomaly_map, WHOLE, marks_highest=own)) for own in (False, True))
    rows, columns = np.nonzero((plain != ringed).any(2))
    middle = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
    assert middle == pytest.approx((95, 215), abs=3)
    assert (plain[95, 215] == ringed[95, 215]).all()  # the place itself stays as it is
    assert ((ringed == 255).all(2).sum(), (plain == 255).all(2).sum()) == (pytest.approx(120, abs=60), 0)


def test_the_map_of_a_cropped_square_lies_in_the_middle() -> None:
    assert CENTRE.on(300, 200) == pytest.approx((30, 20, 270, 180))
    drawn = np.asarray(draw_overlay(GREY, np.zeros((16, 16), np.float32), CENTRE))
    assert (drawn[10, 10] == 90).all()
    assert (drawn[150, 150] < 60).all()


@pytest.mark.parametrize(
    ("size", "expected"),
    [((40, 20), (256, 128)), ((300, 200), (300, 200)), ((3000, 1500), (1024, 512)), ((1, 4000), (1, 1024))],
)
def test_an_overlay_is_neither_tiny_nor_huge(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert draw_overlay(Image.new("RGB", size), np.zeros((8, 8), np.float32), WHOLE).size == expected


def test_an_overlay_is_a_png_file() -> None:
    assert overlay_png(GREY, np.zeros((8, 8), np.float32), WHOLE).startswith(b"\x89PNG")


def test_overlays_are_written_and_named_in_the_lines_as_predict_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file, new = export_whole(tmp_path / "part.onnx"), tmp_path / "new"
    new.mkdir()
    for seed, name in enumerate(("left", "right")):
        (new / f"{name}.png").write_bytes(picture(seed))
    (new / "broken.png").write_bytes(b"no picture")
    assert main(["predict", str(file), "new", "--output", "own", "--overlays"]) == 0
    assert call("predict", file, "new", "--output", "usual", "--overlays").code == 0
    own, usual = (read_lines(tmp_path / output) for output in ("own", "usual"))
    assert [line.get("overlay") for line in own] == [None, "own/overlays/0002_left.png", "own/overlays/0003_right.png"]
    assert [Path(line.get("overlay", "")).name for line in usual] == [
        Path(line.get("overlay", "")).name for line in own
    ]
    with Image.open(tmp_path / "own/overlays/0002_left.png") as drawn:
        assert drawn.size == (256, 213)


def test_without_the_switch_nothing_is_drawn(tmp_path: Path) -> None:
    file, output = export_whole(tmp_path / "part.onnx"), tmp_path / "out"
    assert main(["predict", str(file), str(draw(tmp_path / "one.png")), "--output", str(output)]) == 0
    assert not (output / "overlays").exists()


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, output = export_whole(tmp_path / "part.onnx"), tmp_path / "out"
    output.mkdir()
    (output / "overlays").write_text("in the way")
    arguments = ["predict", str(file), str(draw(tmp_path / "one.png")), "--output", str(output), "--overlays"]
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("promptad: cannot write to")
