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
import uncued_captions
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP
from rich.console import Console
from tiny_captions import TEMPLATES, family_phrases, phrases
from tiny_images import DEMO, INVENTED, NAMES_OF, SHARD, Shard, draw_shards, read_shard
from tiny_losses import TRIOS, Batch, caption_loss, losses
from tiny_student import HOT, Student, write_weights
from torch import Tensor, nn

from promptad.backbones.tiny_clip import load_tiny_clip, tiny_config
from promptad.data.demo import DEMO_CLASSES
from promptad.prompts.states import class_words
from promptad.utils.files import whole_file
from promptad.utils.progress import add_task, progress_bar

MATRIX_LR, OTHER_LR = 1e-3, 5e-4  # peaks of the learning rates
WARM_UP, FLOOR = 100, 0.02  # steps of their rise, and the share that remains at the end
ALL_PATCHES_FROM = 0.93  # of the training
CAPTIONED = 64  # images of a batch of `uncued`
WORLDS = (DEMO, INVENTED)  # in turn, a step each
TEXTURES = ("carpet", "grid", "leather", "tile", "wood")


def main() -> None:
    """Draw, train, write."""
    options = _parse()
    console = Console(highlight=False)
    torch.manual_seed(options.seed)
    config = tiny_config()
    clip = load_tiny_clip(config["vision_cfg"]["image_size"])
    if options.start != "embedded":
        clip.load_state_dict(CLIP(**config).state_dict())  # open_clip's random ones
    texts = uncued_captions.caption_texts() if options.captions_only else caption_texts()
    if options.captions_only:
        nn.init.constant_(clip.logit_scale, HOT)  # where a real CLIP's ends: so its features crowd
    student = Student(clip.train(), getattr(torch, options.precision), texts)
    with progress_bar(console) as progress:
        worlds = WORLDS[:1] if options.captions_only else WORLDS
        task = add_task(progress, "draw training pictures", options.shards * len(worlds))
        for world in worlds:
            folder, photos = options.work / "pictures", options.photos
            draw_shards(folder, world, options.shards, photos, lambda: progress.advance(task))
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
        every_patch = share >= ALL_PATCHES_FROM
        for part, max_score in zip(optimizers, (MATRIX_LR, OTHER_LR), strict=True):
            for group in part.param_groups:
                group["lr"] = max_score * _rate(step, share)
        random = np.random.default_rng([options.seed, step])
        if options.captions_only:
            images, captions = next_captioned(options, step, random)
            terms = {"captions": caption_loss(student, images, captions, random, every_patch=every_patch)}
        else:
            terms = losses(student, next_batch(options, step, random), random, every_patch=every_patch)
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


def next_batch(options: argparse.Namespace, step: int, random: np.random.Generator) -> Batch:
    """Make the batch of a step, whose world alternates."""
    turn, world = step // len(WORLDS), WORLDS[step % len(WORLDS)]
    shard = _read_kept(options.work / "pictures", world, turn % options.shards)
    visit, place = divmod(turn // options.shards, SHARD // TRIOS)
    order = np.random.default_rng([turn % options.shards, visit]).permutation(SHARD)
    return make_batch(shard, world, order[place * TRIOS : (place + 1) * TRIOS], random)


def next_captioned(options: argparse.Namespace, step: int, random: np.random.Generator) -> tuple[Tensor, list[str]]:
    """Make the batch of a step for `uncued`: images of the demo's classes, half of them defective, and captions."""
    shard = _read_kept(options.work / "pictures", DEMO, step % options.shards)
    trios = random.integers(SHARD, size=CAPTIONED)
    places = random.choice(3, size=CAPTIONED, p=(0.25, 0.25, 0.5))  # in the trio, whose last is defective
    kinds = [int(kind) if place == 2 else None for kind, place in zip(shard.kinds[trios], places, strict=True)]
    names = [DEMO_CLASSES[number] for number in shard.classes[trios]]
    captions = [uncued_captions.draw_caption(*of_one, random) for of_one in zip(names, kinds, strict=True)]
    return _normalised(shard.images[trios, places], random), captions


def make_batch(shard: Shard, world: str, chosen: np.ndarray, random: np.random.Generator) -> Batch:
    """Take trios from a shard, mirrored at random where any way up will do, with random small changes of light."""
    images, masks = shard.images[chosen].copy(), shard.masks[chosen].copy()
    for row, number in enumerate(shard.classes[chosen]):
        flips = (slice(None, None, 1 - 2 * random.integers(2)), slice(None, None, 1 - 2 * random.integers(2)))
        if world == INVENTED or DEMO_CLASSES[number] in TEXTURES:
            images[row], masks[row] = images[row][:, flips[0], flips[1]], masks[row][flips]
    pixels = _normalised(np.concatenate(images.swapaxes(0, 1)), random)
    defects = torch.from_numpy(masks).flatten(1).float() / 255
    classes = torch.from_numpy(shard.classes[chosen])
    return Batch(
        pixels,
        torch.cat([torch.zeros_like(defects), torch.zeros_like(defects), defects]),
        classes.repeat(3),
        torch.from_numpy(shard.kinds[chosen]),
        NAMES_OF[world],
    )


def _normalised(images: np.ndarray, random: np.random.Generator) -> Tensor:
    """Return images [image, side, side, 3] uint8 as normalised pixels, with random small changes of light."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    light = torch.from_numpy(random.uniform(0.85, 1.15, (len(images), 3, 1, 1)).astype(np.float32))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
    return (pixels * light - mean) / std


def caption_texts() -> set[str]:
    """Return texts that hold every word of all captions of `tiny`."""
    names = [name for world in WORLDS for name in NAMES_OF[world]]
    texts = {phrase for choices in phrases(names).values() for phrase in choices}
    texts |= {phrase for name in names for phrase, _ in family_phrases(class_words(name))}
    return texts | {f"{template}." for template in TEMPLATES}


def _make_optimizers(student: Student) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Return Muon (Jordan et al., 2024) for the matrices of the blocks, and AdamW for all else."""
    torch.optim._muon._zeropower_via_newtonschulz = _orthogonalized
    named = [(name, p) for name, p in student.named_parameters() if p.requires_grad]
    matrices = [p for name, p in named if p.ndim == 2 and "resblocks" in name]
    others = [p for name, p in named if not (p.ndim == 2 and "resblocks" in name)]
    return (
        torch.optim.Muon(matrices, MATRIX_LR, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, OTHER_LR, (0.9, 0.98), eps=1e-6, weight_decay=0.0),
    )


def _orthogonalized(grad: Tensor, ns_coefficients: tuple[float, float, float], ns_steps: int, eps: float) -> Tensor:
    """Return a matrix with the singular vectors of a gradient and singular values near 1, by Newton-Schulz steps.

    torch's own does the same in bfloat16, which takes a hundred times as long on a processor without it.
    """
    first, second, third = ns_coefficients
    matrix: Tensor = grad.float() / grad.float().norm().clamp(min=eps)
    if is_tall := grad.shape[0] > grad.shape[1]:
        matrix = matrix.T
    for _ in range(ns_steps):
        gram = matrix @ matrix.T
        matrix = first * matrix + (second * gram + third * gram @ gram) @ matrix
    return matrix.T if is_tall else matrix


def _rate(step: int, share: float) -> float:
    """Return a learning rate as a share of its peak: a short rise, then half a cosine."""
    return min(1, (step + 1) / WARM_UP) * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * share)) / 2)


@cache
def _read_kept(folder: Path, world: str, number: int) -> Shard:
    return read_shard(folder, world, number)


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
    parser.add_argument("--shards", type=int, default=36, help=f"of each world, of {SHARD} trios of pictures each")
    parser.add_argument("--photos", type=Path, help="folder of photographs that invented parts may be made of")
    parser.add_argument("--steps", type=int, default=5000, help=f"of {3 * TRIOS} pictures each")
    parser.add_argument("--start", choices=("embedded", "nothing"), default="embedded", help="weights to go on from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--captions-only",
        action="store_true",
        help="train `uncued`, which learns from captions alone, as a real CLIP does (with --start nothing)",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the towers while they learn: bfloat16 takes two thirds of the time where the processor has it",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
