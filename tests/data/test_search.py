"""What is found in folders: links, deep sub-folders, many suffixes; and what is left out is named."""

import os
import shutil
from pathlib import Path

import pytest
from helpers import Own, call, draw, refusal
from PIL import Image

from promptad.data.images import FORMATS, IMAGE_SUFFIXES, read_image
from promptad.data.search import find_images, images_below

KINDS = {".png", ".jpg", ".jpeg", ".jfif", ".gif", ".jp2", ".ppm", ".pgm", ".bmp", ".tif", ".webp"}


@pytest.mark.parametrize("suffix", sorted(KINDS))
def test_every_kind_is_found_and_read(suffix: str, tmp_path: Path) -> None:
    draw(tmp_path / "a.png", size=(16, 12))
    kind = {".jfif": "JPEG", ".pgm": "PPM"}.get(suffix)
    with Image.open(tmp_path / "a.png") as image:
        (tmp_path / "new").mkdir()
        image.save(tmp_path / "new" / f"b{suffix}", kind)
    found = find_images([str(tmp_path / "new")])
    assert [path.name for path in found.images] == [f"b{suffix}"]
    assert read_image(found.images[0]).size == (16, 12)
    assert suffix in IMAGE_SUFFIXES


def test_linked_folders_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    outside = draw(tmp_path / "outside" / "deep" / "1.png").parent.parent
    folder = draw(tmp_path / "in" / "0.png").parent
    (folder / "link").symlink_to(outside, target_is_directory=True)
    (folder / "again").symlink_to(outside, target_is_directory=True)
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "self").symlink_to(folder / "self")
    found = find_images([str(folder)])
    assert [path.name for path in found.images] == ["0.png", "1.png"]
    assert [path.name for path in found.unread] == ["self"]


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    for name in ("b.heic", "c.CR2", "notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"?")
    found = find_images([str(tmp_path)])
    assert [path.name for path in found.images] == ["a.png"]
    assert {path.name for path in found.unread} == {"b.heic", "c.CR2"} - {f"b{s}" for s in IMAGE_SUFFIXES}
    assert [path.name for path in found.others] == ["notes.txt"]
    assert any("left out" in note and "notes.txt" in note for note in found.notes())
    assert "c.CR2" in refusal(images_below, tmp_path) or "b.heic" in refusal(images_below, tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may read every folder")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    assert find_images([str(tmp_path)]).unread == (closed,)


def test_no_decoder_is_used_that_starts_a_program(tmp_path: Path) -> None:
    assert {"EPS", "WMF", "FITS"}.isdisjoint(FORMATS)
    script = tmp_path / "a.png"
    script.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n")
    assert refusal(read_image, script).startswith("not a picture")


@pytest.mark.slow
def test_a_folder_of_which_a_part_was_not_looked_at_does_not_pass(own: Own, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(own.new / "good.png", new)
    detector = own.part / "detector.pt"
    whole = call("predict", detector, new, "--output", tmp_path / "out", "--fail-on-anomaly")
    (new / "raw.cr2").write_bytes(b"raw")
    (new / "readme.txt").write_text("no picture")
    part = call("predict", detector, new, "--output", tmp_path / "out", "--fail-on-anomaly")
    assert part.code == 3
    assert "1 NOT LOOKED AT" in part.output
    assert "1 left out" in part.output
    assert "NOT LOOKED AT" not in whole.output
