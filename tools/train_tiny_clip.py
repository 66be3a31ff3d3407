"""Train the tiny CLIP of the package on drawn images.

`python tools/train_tiny_clip.py --work DIR` draws the training images into DIR, trains, and writes
DIR/weights.safetensors in the package's format. If it is stopped and started again with the same options, it resumes
from its last hundredth step. Seeded: the same options give the same weights on the same machine. Images are of lines
that the demo never shows (`tiny_images.seeds_of`).
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP
from rich.console import Console
from tiny_images import SHARD, Shard, draw_shards, read_shard
from tiny_losses import TRIOS, Batch, losses
from tiny_student import Student, write_weights
from torch import nn

from promptad.backbones.tiny_clip import load_tiny_clip, tiny_config
from promptad.data.demo import DEMO_CLASSES
from promptad.utils.files import whole_file
from promptad.utils.progress import add_task, progress_bar

MATRIX_LR, OTHER_LR = 1e-3, 5e-4  # peaks of the learning rates
WARM_UP, FLOOR = 100, 0.02  # steps of their rise, and the share that remains at the end
ALL_PATCHES_FROM = 0.93  # of the training
TEXTURES = ("carpet", "grid", "leather", "tile", "wood")


def main() -> None:
    """Draw, train, write."""
    options = _parse()
    console = Console(highlight=False)
    torch.manual_seed(options.seed)
    config = tiny_config()
    clip = load_tiny_clip(config["vision_cfg"]["image_size"]) if options.start == "embedded" else CLIP(**config)
    student = Student(clip.train(), getattr(torch, options.precision))
    with progress_bar(console) as progress:
        task = add_task(progress, "draw training pictures", options.shards)
        draw_shards(options.work / "pictures", options.shards, lambda: progress.advance(task))
    with progress_bar(console) as progress:
        task = add_task(progress, "train", options.steps)
        for step, report in train(student, options):
            progress.update(task, completed=step)
            if report:
                progress.console.print(report, soft_wrap=True)
    write_weights(student, options.work / "weights.safetensors")
    console.print(f"weights: {options.work / 'weights.safetensors'}")


def train(student: Student, options: argparse.Namespace) -> Iterator[tuple[int, str]]:
    """Train the student in place; yield the number of each step and, every hundredth, its losses."""
    optimizers = _make_optimizers(student)
    parameters = [p for part in optimizers for group in part.param_groups for p in group["params"]]
    state_file = options.work / "state.pt"
    first = _restore(student, optimizers, state_file)
    seen: dict[str, list[float]] = {}
    for step in range(first, options.steps):
        share = step / options.steps
        for part, max_score in zip(optimizers, (MATRIX_LR, OTHER_LR), strict=True):
            for group in part.param_groups:
                group["lr"] = max_score * _rate(step, share)
        random = np.random.default_rng([options.seed, step])
        batch = make_batch(_shard_of(options, step), step, options.shards, random)
        terms = losses(student, batch, random, every_patch=share >= ALL_PATCHES_FROM)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for part in optimizers:
            part.step()
            part.zero_grad()
        for name, term in terms.items():
            seen.setdefault(name, []).append(float(term.detach()))
        if (step + 1) % 100 == 0 or step + 1 == options.steps:
            _keep(student, optimizers, state_file, step + 1)
            yield step + 1, f"step {step + 1}: " + ", ".join(f"{name} {np.mean(v):.3f}" for name, v in seen.items())
            seen.clear()
        else:
            yield step + 1, ""


def make_batch(shard: Shard, step: int, shards: int, random: np.random.Generator) -> Batch:
    """Take the step's trios from its shard, mirrored at random and with random small changes of light."""
    steps_a_shard = SHARD // TRIOS
    visit, place = divmod(step // shards, steps_a_shard)
    order = np.random.default_rng([step % shards, visit]).permutation(SHARD)
    chosen = order[place * TRIOS : (place + 1) * TRIOS]
    images, masks = shard.images[chosen].copy(), shard.masks[chosen].copy()
    for row, number in enumerate(shard.classes[chosen]):
        flips = (slice(None, None, 1 - 2 * random.integers(2)), slice(None, None, 1 - 2 * random.integers(2)))
        if DEMO_CLASSES[number] in TEXTURES:
            images[row], masks[row] = images[row][:, flips[0], flips[1]], masks[row][flips]
    pixels = torch.from_numpy(images).transpose(0, 1).flatten(0, 1).permute(0, 3, 1, 2).float() / 255
    light = torch.from_numpy(random.uniform(0.85, 1.15, (3 * TRIOS, 3, 1, 1)).astype(np.float32))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
    defects = torch.from_numpy(masks).flatten(1).float() / 255
    classes = torch.from_numpy(shard.classes[chosen])
    return Batch(
        (pixels * light - mean) / std,
        torch.cat([torch.zeros_like(defects), torch.zeros_like(defects), defects]),
        classes.repeat(3),
        torch.from_numpy(shard.kinds[chosen]),
    )


def _make_optimizers(student: Student) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Return Muon (Jordan et al., 2024) for the matrices of the blocks, and AdamW for all else."""
    named = [(name, p) for name, p in student.named_parameters() if p.requires_grad]
    matrices = [p for name, p in named if p.ndim == 2 and "resblocks" in name]
    others = [p for name, p in named if not (p.ndim == 2 and "resblocks" in name)]
    return (
        torch.optim.Muon(matrices, MATRIX_LR, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, OTHER_LR, (0.9, 0.98), eps=1e-6, weight_decay=0.0),
    )


def _rate(step: int, share: float) -> float:
    """Return a learning rate as a share of its peak: a short rise, then half a cosine."""
    return min(1, (step + 1) / WARM_UP) * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * share)) / 2)


def _shard_of(options: argparse.Namespace, step: int) -> Shard:
    return _read_kept(options.work / "pictures", step % options.shards)


@cache
def _read_kept(folder: Path, number: int) -> Shard:
    return read_shard(folder, number)


def _keep(student: Student, optimizers: Sequence[torch.optim.Optimizer], file: Path, step: int) -> None:
    state = {"student": student.state_dict(), "optimizers": [part.state_dict() for part in optimizers], "step": step}
    with whole_file(file) as temporary:
        torch.save(state, temporary)


def _restore(student: Student, optimizers: Sequence[torch.optim.Optimizer], file: Path) -> int:
    """Load what `_keep` wrote, if there is any; return the number of the next step."""
    if not file.exists():
        return 0
    state = torch.load(file, weights_only=True)
    student.load_state_dict(state["student"])
    for part, kept in zip(optimizers, state["optimizers"], strict=True):
        part.load_state_dict(kept)
    return int(state["step"])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures, state and weights")
    parser.add_argument("--shards", type=int, default=36, help=f"of {SHARD} trios of pictures each")
    parser.add_argument("--steps", type=int, default=5000, help=f"of {3 * TRIOS} pictures each")
    parser.add_argument("--start", choices=("embedded", "nothing"), default="embedded", help="weights to go on from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the towers while they learn: bfloat16 takes two thirds of the time where the processor has it",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
