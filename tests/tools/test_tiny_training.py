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
from safetensors.torch import load_file
from tiny_student import Student, write_weights

from promptad.backbones import tiny_clip
from promptad.backbones.tiny_clip import load_tiny_clip
from promptad.features import ImageFeatures

pytestmark = pytest.mark.slow

TRIOS = 3
TINY_WEIGHTS = Path(tiny_clip.__file__).parent / "tiny" / "weights.safetensors"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one small shard of images of each world, for small batches."""
    for module in (tiny_images, train_tiny_clip):
        monkeypatch.setattr(module, "SHARD", TRIOS)
    for module in (tiny_losses, train_tiny_clip):
        monkeypatch.setattr(module, "TRIOS", TRIOS)
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


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_step_updates_encoders_and_words_and_the_weights_fit_the_package(work: Path, precision: torch.dtype) -> None:
    torch.manual_seed(0)
    student = Student(load_tiny_clip(112).train(), precision, train_tiny_clip.caption_texts())
    before = {name: value.clone() for name, value in student.named_parameters()}
    options = SimpleNamespace(work=work, steps=2, shards=1, seed=0, captions_only=False)
    *_, (step, report) = train_tiny_clip.train(student, options)  # type: ignore[arg-type]
    assert step == 2
    assert all(name in report for name in ("contrastive", "anomaly", "kind", "family", "dense", "memory"))
    frozen = {"clip.token_embedding.weight"}
    still = {name for name, value in student.named_parameters() if torch.equal(value, before[name])}
    assert still <= frozen | {"clip.logit_scale"}
    write_weights(student, work / "weights.safetensors")
    written, packaged = load_file(work / "weights.safetensors"), load_file(TINY_WEIGHTS)
    assert {name: value.shape for name, value in written.items()} == {n: v.shape for n, v in packaged.items()}
    assert (work / "state.pt").is_file()


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
