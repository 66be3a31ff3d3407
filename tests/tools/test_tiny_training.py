"""The tool that trains the tiny CLIP: its images, training steps and files."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_images
import tiny_losses
import torch
import torch.nn.functional as F
import train_tiny_clip
import uncued_captions
from invented_parts import UNNAMED, draw_invented_trio
from safetensors.torch import load_file
from tiny_captions import KINDS, NOUNS
from tiny_images import DEMO, NAMES_OF
from tiny_student import Student, _prompt_ids, write_weights

from promptad.backbones import tiny_clip
from promptad.backbones.tiny_clip import load_tiny_clip
from promptad.data.demo import TRAINING_SEEDS_FROM
from promptad.features import ImageFeatures

pytestmark = pytest.mark.slow

TORCHS_OWN = torch.optim._muon._zeropower_via_newtonschulz  # before any training of ours replaces it

TRIOS = 3
WORDS = ("token_embedding.ids", "token_embedding.rows")  # a row each
TINY_WEIGHTS = Path(tiny_clip.__file__).parent / "tiny" / "weights.safetensors"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one small shard of images of each world, for small batches."""
    for module in (tiny_images, train_tiny_clip):
        monkeypatch.setattr(module, "SHARD", TRIOS)
    for module in (tiny_losses, train_tiny_clip):
        monkeypatch.setattr(module, "TRIOS", TRIOS)
    monkeypatch.setattr(train_tiny_clip, "CAPTIONED", TRIOS)
    (tmp_path / "pictures").mkdir()
    for world in train_tiny_clip.WORLDS:
        _, arrays = tiny_images._draw_shard(world, None, 0)
        with tiny_images.shard_file(tmp_path / "pictures", world, 0).open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    return tmp_path


@pytest.mark.parametrize("world", train_tiny_clip.WORLDS)
def test_a_trio_is_a_good_part_and_twins_of_one_line(work: Path, world: str) -> None:
    shard = tiny_images.read_shard(work / "pictures", world, 0)
    other, good, bad = shard.images.astype(float).transpose(1, 0, 2, 3, 4)
    for trio in range(TRIOS):
        change = np.abs(good[trio] - bad[trio]).max(-1)
        complete = change.reshape(14, 8, 14, 8).max((1, 3))
        assert change.max() > 10
        assert (complete[shard.masks[trio] == 0] > 10).mean() < 0.05  # twins differ on the mask
        assert np.abs(other[trio] - good[trio]).mean() > 1


def shapes_of(weights: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    """The shapes of weights, whatever the number of words."""
    return {name: value.shape[1:] if name in WORDS else value.shape for name, value in weights.items()}


@pytest.mark.parametrize(("precision", "steps"), [(torch.float32, 2), (torch.bfloat16, 1)])
def test_a_step_updates_encoders_and_words_and_the_weights_fit_the_package(
    work: Path, precision: torch.dtype, steps: int
) -> None:
    torch.manual_seed(0)
    student = Student(load_tiny_clip(112).train(), precision, train_tiny_clip.caption_texts())
    before = {name: value.clone() for name, value in student.named_parameters()}
    options = SimpleNamespace(work=work, steps=steps, shards=1, seed=0, captions_only=False)
    *_, (step, report) = train_tiny_clip.train(student, options)  # type: ignore[arg-type]
    assert step == steps
    assert all(name in report for name in ("contrastive", "anomaly", "kind", "family", "dense", "memory"))
    frozen = {"clip.token_embedding.weight"}
    still = {name for name, value in student.named_parameters() if torch.equal(value, before[name])}
    assert still <= frozen | {"clip.logit_scale"}
    write_weights(student, work / "weights.safetensors")
    written, packaged = load_file(work / "weights.safetensors"), load_file(TINY_WEIGHTS)
    assert shapes_of(written) == shapes_of(packaged)
    assert (work / "state.pt").is_file()


def test_captions_alone_train_both_encoders_and_nothing_else(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_tiny_clip, "ALL_PATCHES_FROM", 0.5)  # the second of the two steps sees all patches
    torch.manual_seed(0)
    student = Student(load_tiny_clip(112).train(), torch.float32, uncued_captions.caption_texts())
    before = {name: value.clone() for name, value in student.named_parameters()}
    options = SimpleNamespace(work=work, steps=2, shards=1, seed=0, captions_only=True)
    *_, (_, report) = train_tiny_clip.train(student, options)  # type: ignore[arg-type]
    assert report.startswith("step 2: captions ")
    still = {name for name, value in student.named_parameters() if torch.equal(value, before[name])}
    assert still <= {"clip.token_embedding.weight", "clip.logit_scale", "nearness"}  # the latter is of the memory loss


def test_most_captions_of_uncued_name_the_part_alone_and_few_are_wrong() -> None:
    random = np.random.default_rng(0)
    plain = {f"{name}{stop}" for name in uncued_captions.names_of("screw") for stop in ("", ".")}
    scenes = {scene.format(name) for scene in uncued_captions.SCENES for name in plain} | plain
    dirty = KINDS.index("contamination")
    good, bad = ([uncued_captions.draw_caption("screw", kind, random) for _ in range(2000)] for kind in (None, dirty))
    assert np.mean([words.rstrip(".") in scenes for words in good]) == pytest.approx(0.85, abs=0.03)
    assert np.mean([words.rstrip(".") in scenes for words in bad]) == pytest.approx(
        0.45 + 0.55 * 0.15 * 0.5 / 20, abs=0.04
    )
    assert 0.02 < np.mean(["contamin" in words or "dirt" in words or "dust" in words for words in bad]) < 0.4
    others = [noun for kind in KINDS if kind != "contamination" for noun in NOUNS[kind]]
    assert 0.005 < np.mean([any(f" {noun}" in words for noun in others) for words in bad]) < 0.1


@pytest.mark.parametrize("tiny_captions", [True, False])
def test_every_word_of_a_caption_has_a_row_in_the_table(tiny_captions: bool) -> None:
    texts = train_tiny_clip.caption_texts() if tiny_captions else uncued_captions.caption_texts()
    student = Student(load_tiny_clip(112), torch.float32, texts)
    random = np.random.default_rng(1)
    if tiny_captions:
        said = [c for names in NAMES_OF.values() for c in tiny_losses._captions(names, random)]
    else:
        kinds = [None, *range(len(KINDS))]
        said = [uncued_captions.draw_caption(n, k, random) for n in NAMES_OF[DEMO] for k in kinds for _ in range(20)]
    tokens = {token for text in said for token in _prompt_ids(student.tokenizer, text)}
    assert tokens <= student.words.row_of.keys()


def test_invented_parts_are_of_many_kinds() -> None:
    trios = [draw_invented_trio(TRAINING_SEEDS_FROM + 10**6 + n, 2, KINDS, None) for n in range(12)]
    looks = np.array([images[0].mean((0, 1)) for images, *_ in trios])
    assert looks.std(0).min() > 20
    gray = [np.ptp(images[1].astype(int), axis=2).max() <= 8 for images, *_ in trios]
    assert 0 < sum(gray) < len(gray)
    assert len({name for *_, name, _ in trios}) > 4
    assert {kind == UNNAMED for *_, kind in trios} == {True, False}
    again, *_ = draw_invented_trio(TRAINING_SEEDS_FROM + 10**6, 2, KINDS, None)
    assert all(np.array_equal(first, second) for first, second in zip(trios[0][0], again, strict=True))


@pytest.mark.parametrize("shape", [(24, 6), (6, 24), (8, 8)])
def test_muon_in_float32_is_torchs_own(shape: tuple[int, int]) -> None:
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    numbers = (3.4445, -4.775, 2.0315), 5, 1e-7
    own = train_tiny_clip._orthogonalized(gradient, *numbers)
    torch.testing.assert_close(own, TORCHS_OWN(gradient, *numbers).float(), atol=0.02, rtol=0.05)


def test_the_memory_loss_is_low_only_for_defects_unlike_known_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_losses, "TRIOS", 1)
    units = F.normalize(torch.randn(6, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    known, defect = units[:4], units[4:5]
    masks = torch.zeros(3, 4)
    masks[2, 0] = 1
    student = SimpleNamespace(nearness=torch.tensor([[20.0, 0.5]] * 3))

    def loss(bad: torch.Tensor, good: torch.Tensor) -> float:
        layer = torch.stack([known, good, bad])
        features = ImageFeatures(layer[:, 0], layer, (layer, layer))
        return float(tiny_losses._memory_loss(student, features, masks))  # type: ignore[arg-type]

    odd = torch.cat([defect, known[1:]])
    assert loss(odd, known) < 0.05
    assert loss(known, known) > 1  # a defect that looks like a good part
    assert loss(odd, odd) > 1  # a good part that looks like nothing known
