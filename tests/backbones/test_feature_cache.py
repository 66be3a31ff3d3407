"""The feature cache: it returns what it stores, tolerates damaged files, and changes no result."""

import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from helpers import LIGHTEST, assert_refused, call, contents, draw
from PIL import Image

from promptad.backbones.clip import Backbone
from promptad.backbones.factory import load_backbone
from promptad.backbones.feature_cache import CacheKey, FeatureCache, default_cache_folder
from promptad.errors import InputError
from promptad.features import ImageFeatures
from promptad.models.support import LEAST_DISTURBED
from promptad.settings import BackboneSettings

LARGE = 2.0**30
Count = Callable[[], int]


@pytest.fixture
def read_count(read_counts: list[int]) -> Count:
    """The number of images that have gone through the image encoder."""
    return lambda: sum(read_counts)


@pytest.fixture
def cached(tiny: Backbone, tmp_path: Path) -> Backbone:
    return replace(tiny, cache=FeatureCache(tmp_path / "cache", LARGE))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    colors = ((250, 0, 0), (0, 250, 0), (0, 0, 250))
    return [draw(tmp_path / "pictures" / f"{i}.png", color, size=(40, 30)) for i, color in enumerate(colors)]


def encode(backbone: Backbone, images: list[Path], layers: bool = False) -> ImageFeatures:
    return backbone.encode_images(images, 2, layers=layers)


def assert_same(one: ImageFeatures, other: ImageFeatures) -> None:
    assert torch.equal(one.class_token, other.class_token)
    assert torch.equal(one.patch_tokens, other.patch_tokens)
    assert (one.layers == ()) == (other.layers == ())
    if one.layers and other.layers:
        assert all(torch.equal(a, b) for a, b in zip(one.layers, other.layers, strict=True))


@pytest.mark.parametrize("layers", [False, True])
def test_known_images_do_not_go_through_the_image_encoder(
    tiny: Backbone, cached: Backbone, files: list[Path], read_count: Count, layers: bool
) -> None:
    plain = encode(tiny, files, layers)
    first, before = encode(cached, files, layers), read_count()
    again = encode(cached, files[::-1], layers)
    assert read_count() == before == 6
    assert_same(first, plain)
    assert torch.equal(again.patch_tokens, plain.patch_tokens.flip(0))


def test_progress_counts_each_image_once(cached: Backbone, files: list[Path]) -> None:
    for counts in ([2, 1], [3]):
        done: list[int] = []
        cached.encode_images(files, 2, advance=done.append)
        assert done == counts


def test_layers_are_cached_beside_the_tokens(cached: Backbone, files: list[Path], read_count: Count) -> None:
    encode(cached, files)
    layered = encode(cached, files, layers=True)
    assert read_count() == 6
    assert_same(encode(cached, files, layers=True), layered)
    assert encode(cached, files).layers == ()
    assert read_count() == 6


def test_the_key_is_the_content_not_the_name(
    cached: Backbone, files: list[Path], read_count: Count, tmp_path: Path
) -> None:
    encode(cached, files)
    moved = draw(tmp_path / "other.png", (250, 0, 0), size=(40, 30))
    encode(cached, [moved])
    assert read_count() == 3
    draw(files[0], (1, 2, 3), size=(40, 30))
    encode(cached, files)
    assert read_count() == 4


def test_images_in_memory_are_cached_by_their_pixels(cached: Backbone, read_count: Count) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    first = cached.encode_images([pixels], 2)
    again = cached.encode_images([Image.fromarray(pixels)], 2)
    assert read_count() == 1
    assert_same(first, again)
    cached.encode_images([pixels.reshape(30, 20, 3)], 2)
    assert read_count() == 2


def test_other_weights_sizes_and_precisions_have_separate_entries(
    cached: Backbone, files: list[Path], read_count: Count
) -> None:
    encode(cached, files)
    for count, settings in enumerate(({"resize": 120, "crop": 112}, {"precision": "bfloat16"}), start=2):
        other = load_backbone(BackboneSettings(name="tiny", **settings), torch.device("cpu"))  # type: ignore[arg-type]
        encode(replace(other, cache=cached.cache), files)
        assert read_count() == 3 * count
    encode(replace(cached, weights_sha256="other"), files)
    assert read_count() == 12


@pytest.mark.parametrize("harm", ["flip", "shorten", "empty", "foreign"])
def test_a_damaged_file_is_computed_anew(cached: Backbone, files: list[Path], read_count: Count, harm: str) -> None:
    assert cached.cache
    first = encode(cached, files)
    kept = sorted(cached.cache.folder.glob("*/*.tokens"))
    content = kept[0].read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    kept[0].write_bytes({"flip": flipped, "shorten": content[:middle], "empty": b"", "foreign": b"\0" * 9}[harm])
    torch.testing.assert_close(encode(cached, files).patch_tokens, first.patch_tokens, rtol=0, atol=1e-5)
    assert read_count() == 4
    assert encode(cached, files).class_token.shape == first.class_token.shape
    assert read_count() == 4


def test_the_least_recently_used_files_are_deleted_first(
    cached: Backbone, files: list[Path], read_count: Count
) -> None:
    assert cached.cache
    encode(cached, files)
    kept = list(cached.cache.folder.glob("*/*"))
    for file in kept:
        os.utime(file, (1, 1))
    encode(cached, files[:1])  # updates the time of last use
    FeatureCache(cached.cache.folder, 1.5 * kept[0].stat().st_size).prune()
    assert len(list(cached.cache.folder.glob("*/*"))) == 1
    encode(cached, files[:1])
    assert read_count() == 3


def test_a_folder_that_cannot_be_written_to_changes_no_result(
    tiny: Backbone, files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    walled = replace(tiny, cache=FeatureCache(tmp_path / "file", LARGE))
    assert_same(encode(walled, files), encode(tiny, files))


def test_a_folder_of_another_user_is_read_and_left_as_it_is(
    cached: Backbone, files: list[Path], read_count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cached.cache
    first, kept = encode(cached, files), contents(cached.cache.folder)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    for name in ("utime", "unlink"):
        monkeypatch.setattr(os, name, refuse)
    assert_same(encode(cached, files), first)
    FeatureCache(cached.cache.folder, 0).prune()
    assert read_count() == 3
    assert contents(cached.cache.folder) == kept


def test_another_release_of_a_library_has_separate_entries(
    cached: Backbone, files: list[Path], read_count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(cached, files)
    monkeypatch.setattr("promptad.backbones.clip.LIBRARIES", ("another", "release"))
    encode(cached, files)
    assert read_count() == 6


def test_two_writers_do_not_disturb_each_other(cached: Backbone, files: list[Path]) -> None:
    assert cached.cache
    features, cache = encode(cached, files[:1]), cached.cache

    def write_and_read(_: int) -> bool:
        cache.write(CacheKey("ab", "ab"), features)
        known = cache.read(CacheKey("ab", "ab"), layers=False)
        return known is not None and torch.equal(known.patch_tokens, features.patch_tokens)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write_and_read, range(200)))
    assert not list(cache.folder.glob("*/.*"))


def test_an_unreadable_image_is_refused_as_without_a_cache(cached: Backbone, files: list[Path]) -> None:
    with pytest.raises(InputError, match=r"no picture at .*absent\.png"):
        encode(cached, [files[0], files[0].with_name("absent.png")])
    files[1].write_bytes(files[1].read_bytes()[:40])
    with pytest.raises(InputError, match="not a picture"):
        encode(cached, files)


def test_the_users_own_cache_folder_comes_first() -> None:
    assert default_cache_folder() == Path(os.environ["PROMPTAD_CACHE"])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have other folders")
def test_the_default_cache_folder_is_that_of_earlier_versions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PROMPTAD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / "promptad"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache_folder() == tmp_path / "home" / ".cache" / "promptad"


def test_a_run_with_other_settings_encodes_no_image_again(
    drawn: Path, tmp_path: Path, read_count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPTAD_CACHE", str(tmp_path / "cache"))
    data = ("--dataset", "demo", "--data-root", drawn, "--class-name", "carpet", "--root-dir", tmp_path / "result")
    assert call("train", *data, *LIGHTEST, "--k-shot", "4").code == 0
    before = read_count()
    assert before == 8 + 4 * 2 + LEAST_DISTURBED
    for more in (("--n-pro", "1", "--n-pro-ab", "2"), ("--start", "random"), ("--resolution", "48")):
        assert call("train", *data, *LIGHTEST, *more, "--k-shot", "4").code == 0
    assert read_count() == before
    assert call("train", *data, *LIGHTEST, "--k-shot", "1").code == 0
    # Its two views were disturbed twice before, and are so as often as makes enough; it has far views, too.
    assert read_count() == before + LEAST_DISTURBED - 2 * 2 + 2


def test_it_can_be_switched_off(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTAD_CACHE", str(tmp_path / "cache"))
    data = ("--dataset", "demo", "--data-root", drawn, "--class-name", "carpet", "--root-dir", tmp_path / "result")
    assert call("train", *data, *LIGHTEST, "--feature-cache", "False").code == 0
    assert not (tmp_path / "cache").exists()
    assert call("train", *data, *LIGHTEST, "--cache-size", "0").code == 0
    assert not contents(tmp_path / "cache")
    assert_refused(call("train", *data, *LIGHTEST, "--cache-size", "-1"), "--cache-size -1.0: must be a number")


def test_content_of_something_else_with_a_right_checksum_is_not_used(
    cached: Backbone, files: list[Path], read_count: Count
) -> None:
    plain = encode(cached, files, layers=True)
    assert cached.cache is not None
    first, second = sorted(cached.cache.folder.glob("*/*.tokens"))[:2]
    before = read_count()
    first.write_bytes(second.read_bytes())  # of another image
    found = encode(cached, files, layers=True)
    torch.testing.assert_close(found.patch_tokens, plain.patch_tokens, rtol=0, atol=1e-5)
    assert read_count() == before + 1
    keys = [file.stem for file in cached.cache.folder.glob("*/*.layers")]
    tokens, layer = torch.ones(1, 4, 3), torch.ones(1, 4, 5)
    for wrong in (
        ImageFeatures(torch.ones(2, 3), tokens, ()),
        ImageFeatures(torch.ones(1, 4), tokens, ()),
        ImageFeatures(torch.ones(1, 3), torch.ones(1, 3), ()),
        ImageFeatures(torch.ones(1, 3), tokens, (layer[:, :2],)),
        ImageFeatures(torch.ones(1, 3), tokens * torch.nan, ()),
    ):
        key = CacheKey(keys[0], keys[0])
        cached.cache.write(key, wrong)
        assert cached.cache.read(key, layers=bool(wrong.layers)) is None


@pytest.mark.skipif(os.name == "nt", reason="a user of Windows has a name")
def test_a_user_without_home_and_name_has_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROMPTAD_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(_: int) -> NoReturn:
        raise KeyError("no such user")

    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert default_cache_folder().parent == Path(tempfile.gettempdir())


def test_partial_files_in_the_cache_are_swept(cached: Backbone, files: list[Path]) -> None:
    assert cached.cache is not None
    partial = cached.cache.folder / "ab" / f".{'ab' * 32}.tokens.{'0' * 32}"
    partial.parent.mkdir(parents=True)
    partial.touch()
    os.utime(partial, (0, 0))
    encode(cached, files)
    assert not partial.exists()
