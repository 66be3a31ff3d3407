"""Train the tiny CLIP of the package on drawn pictures.

`python tools/train_tiny_clip.py --work DIR` draws the training pictures into DIR, trains, and writes
DIR/weights.safetensors in the package's format. Stopped at any moment and started again with the same options, it goes
on from its last hundredth step. Seeded: the same options give the same weights on the same machine. Pictures are of
lines that the demo never shows (`tiny_pictures.seeds_of`).
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from rich.console import Console
from safetensors.torch import save_file
from tiny_captions import ANY_DEFECT, KINDS, NORMAL, STATES, TEMPLATES, caption, family_phrases, phrases
from tiny_pictures import SHARD, Shard, draw_shards, read_shard
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from promptad.backbone.embedded import embedded_config, load_embedded
from promptad.backbone.image_tower import ImageTower
from promptad.backbone.prompt_tree import PromptTree
from promptad.backbone.text_tower import TextTower
from promptad.data.demo import DEMO_CLASSES
from promptad.files import whole_file
from promptad.progress import add_task, progress_bar
from promptad.prompts.contexts import A_TREE, END_OF_TEXT, START_OF_TEXT
from promptad.prompts.states import class_words
from promptad.records import ImageFeatures

TRIOS = 24  # a batch
MATRIX_LR, OTHER_LR = 1e-3, 5e-4  # peaks of the learning rates
WARM_UP, FLOOR = 100, 0.02  # steps that they rise for, share of them that remains at the end
KEPT = 80  # patches of a picture that are looked at in the first part of the training, its defect among them
ALL_PATCHES_FROM = 0.93  # of the training
ANOMALOUS, CLEAN = 0.2, 0.02  # share of a patch that is defective: above is, below is not, between does not count
HOT = 4.6052  # largest logarithm of the temperature
STATE_COUNT, TEXTURES = len(STATES), ("carpet", "grid", "leather", "tile", "wood")


@dataclass(frozen=True)
class Batch:
    """TRIOS good pictures, as many other good parts of the same production lines, and the latter's defective twins."""

    pixels: Tensor  # [image, 3, side, side], normalised
    masks: Tensor  # [image, patch], share of a patch that is defective
    classes: Tensor  # [image]
    kinds: Tensor  # [trio], of the defective ones


class Words(nn.Module):
    """The trained rows of the token table; all other tokens share the mean of them."""

    def __init__(self, clip: CLIP, tokenizer: SimpleTokenizer) -> None:
        super().__init__()
        ids = sorted(_vocabulary(tokenizer))
        self.register_buffer("ids", torch.tensor(ids))
        self.row_of = {token: row for row, token in enumerate(ids)}
        table = clip.token_embedding.weight.detach()
        spread = torch.randn(len(ids), table.shape[1]) * table[ids].std() * 0.3  # words that are new must not be equal
        counts = torch.tensor([float((table == row).all(1).sum() > 1) for row in table[ids]])[:, None]
        self.rows = nn.Parameter(table[ids] + spread * counts)


class Student(nn.Module):
    """A CLIP that learns: its towers as the package runs them, and its words."""

    def __init__(self, clip: CLIP, precision: torch.dtype) -> None:
        super().__init__()
        self.clip, self.tokenizer, self.precision = clip, SimpleTokenizer(), precision
        self.words = Words(clip, self.tokenizer)
        clip.token_embedding.requires_grad_(requires_grad=False)
        self.images, self.texts = ImageTower(clip.visual), TextTower(clip)
        self.nearness = nn.Parameter(torch.tensor([[20.0, 0.8]]).repeat(3, 1))  # [layer, steepness and middle]

    def encode_texts(self, texts: list[str]) -> Tensor:
        """Encode captions into unit features [text, D]."""
        vectors = self.words.rows
        prompts = [
            [self.words.row_of[token] for token in (START_OF_TEXT, *_token_ids(self.tokenizer, text), END_OF_TEXT)]
            for text in texts
        ]
        parts = [prompts[start : start + A_TREE] for start in range(0, len(prompts), A_TREE)]
        with self._towers(A_TREE):
            features = [self.texts.encode(vectors, PromptTree.of(part, vectors.device)) for part in parts]
        return torch.cat(features).float()

    def encode_images(self, tokens: Tensor) -> ImageFeatures:
        """Encode embeddings [image, 1 + patch, width] as the package does, with taps."""
        with self._towers(tokens.shape[1]):
            features = self.images.read(tokens, taps=True)
        assert features.taps is not None
        first, second = features.taps
        return ImageFeatures(
            features.class_token.float(), features.patch_tokens.float(), (first.float(), second.float())
        )

    @contextmanager
    def _towers(self, length: int) -> Iterator[None]:
        """Run what is inside in the student's precision, with the attention that is fastest then for so many tokens."""
        halved = self.precision != torch.float32
        plain = sdpa_kernel(SDPBackend.MATH) if halved and length <= 1 + KEPT else nullcontext()
        with torch.autocast("cpu", self.precision, enabled=halved), plain:
            yield

    def scale(self) -> Tensor:
        """What cosines are multiplied by."""
        return self.clip.logit_scale.clamp(max=HOT).exp()


def main() -> None:
    """Draw, train, write."""
    options = _parse()
    console = Console(highlight=False)
    torch.manual_seed(options.seed)
    config = embedded_config()
    clip = load_embedded(config["vision_cfg"]["image_size"]) if options.start == "embedded" else CLIP(**config)
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
    """Train the student in place; yield the number of each step and, every hundredth, what the losses were."""
    optimizers = _make_optimizers(student)
    parameters = [p for part in optimizers for group in part.param_groups for p in group["params"]]
    state_file = options.work / "state.pt"
    first = _restore(student, optimizers, state_file)
    seen: dict[str, list[float]] = {}
    for step in range(first, options.steps):
        share = step / options.steps
        for part, peak in zip(optimizers, (MATRIX_LR, OTHER_LR), strict=True):
            for group in part.param_groups:
                group["lr"] = peak * _rate(step, share)
        random = np.random.default_rng([options.seed, step])
        batch = make_batch(_shard_of(options, step), step, options.shards, random)
        terms = losses(student, batch, random, every_patch=share >= ALL_PATCHES_FROM)
        torch.stack(list(terms.values())).sum().backward()
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
    """Take the step's trios from its shard, mirrored at random and lit a little differently."""
    steps_a_shard = SHARD // TRIOS
    visit, place = divmod(step // shards, steps_a_shard)
    order = np.random.default_rng([step % shards, visit]).permutation(SHARD)
    chosen = order[place * TRIOS : (place + 1) * TRIOS]
    pictures, masks = shard.pictures[chosen].copy(), shard.masks[chosen].copy()
    for row, number in enumerate(shard.classes[chosen]):
        flips = (slice(None, None, 1 - 2 * random.integers(2)), slice(None, None, 1 - 2 * random.integers(2)))
        if DEMO_CLASSES[number] in TEXTURES:
            pictures[row], masks[row] = pictures[row][:, flips[0], flips[1]], masks[row][flips]
    pixels = torch.from_numpy(pictures).transpose(0, 1).flatten(0, 1).permute(0, 3, 1, 2).float() / 255
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


def losses(student: Student, batch: Batch, random: np.random.Generator, *, every_patch: bool) -> dict[str, Tensor]:
    """Return the losses of one batch.

    contrastive: pictures against one caption of each class in each state (Radford et al., CLIP, 2021), with several
    that are true of a defective picture. anomaly: good against faulty words of the picture's class. kind: its kind
    among the kinds of its class. family: words that are true of some kinds only. dense and dense_kind: the same of
    patch tokens on the local path, told by the mask. memory: see `_memory_loss`.
    """
    texts = student.encode_texts(_captions(random)).view(len(DEMO_CLASSES), STATE_COUNT, -1)  # [class, state, D]
    tokens, masks = student.images.embed(batch.pixels), batch.masks
    if not every_patch:
        tokens, masks = _keep_some_patches(tokens, masks, random)
    features = student.encode_images(tokens)
    scale, images, bad = student.scale(), torch.arange(3 * TRIOS), torch.arange(2 * TRIOS, 3 * TRIOS)
    logits = scale * torch.einsum("nd,csd->ncs", features.class_token, texts)  # [image, class, state]
    own = logits[images, batch.classes]  # [image, state]
    true = torch.zeros_like(logits)
    true[images[: 2 * TRIOS], batch.classes[: 2 * TRIOS], STATES.index(NORMAL)] = 1
    true[bad, batch.classes[bad], STATES.index(ANY_DEFECT)] = 1
    true[bad, batch.classes[bad], 2 + batch.kinds] = 1
    patches = scale * torch.einsum("npd,nsd->nps", features.patch_tokens, texts[batch.classes])  # [image, patch, state]
    on_defect = masks[bad] * (masks[bad] > ANOMALOUS)
    kind_of_patch = batch.kinds[:, None, None].expand(-1, masks.shape[1], 1)
    patch_kinds = patches[bad, :, 2:].log_softmax(-1).gather(2, kind_of_patch)[..., 0]  # [trio, patch]
    return {
        "contrastive": _multi_positive(logits.flatten(1), true.flatten(1)),
        "anomaly": 1.5 * F.binary_cross_entropy_with_logits(own[:, 1] - own[:, 0], (images >= 2 * TRIOS).float()),
        "kind": 0.5 * F.cross_entropy(own[bad, 2:], batch.kinds),
        "family": 0.3 * _family_loss(student, features.class_token[bad], batch, own[bad, 0], random),
        "dense": _anomaly_of_patches(patches[..., 1] - patches[..., 0], masks),
        "dense_kind": -0.3 * (patch_kinds * on_defect).sum() / on_defect.sum().clamp_min(1),
        "memory": _memory_loss(student, features, masks),
    }


def _keep_some_patches(tokens: Tensor, masks: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Keep KEPT patches of each picture, the same of a trio's three: those with the defect first, others by chance."""
    rank = torch.from_numpy(random.random((TRIOS, masks.shape[1]), dtype=np.float32))
    kept = (rank + 1.5 * (masks[2 * TRIOS :] > CLEAN)).topk(KEPT, 1).indices.repeat(3, 1)  # [image, kept]
    patches = tokens[:, 1:].gather(1, kept[..., None].expand(-1, -1, tokens.shape[-1]))
    return torch.cat([tokens[:, :1], patches], 1), masks.gather(1, kept)


def _anomaly_of_patches(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the cross-entropy of patches [image, patch] being anomalous, told by their shares of defect."""
    weight = ((masks < CLEAN) | (masks > ANOMALOUS)).float()
    return F.binary_cross_entropy_with_logits(logits, (masks > ANOMALOUS).float(), weight, pos_weight=torch.tensor(6.0))


def _memory_loss(student: Student, features: ImageFeatures, masks: Tensor) -> Tensor:
    """Tell defects by how far a patch is from the nearest one of another good part of the line, at three layers.

    So a patch memory (Roth et al., PatchCore, 2022) has something to remember: the same material is to look the same
    under another light, pose and focus, and a defect is to look like nothing of it. Of each picture the patches count,
    and the one that is farthest from all that is known, which is what a picture is judged by.
    """
    assert features.taps is not None
    terms = []
    for layer, (steepness, middle) in zip((features.patch_tokens, *features.taps), student.nearness, strict=True):
        known, *asked = layer.chunk(3)  # [trio, patch, width] each
        nearest = torch.cat([(patches @ known.transpose(1, 2)).amax(2) for patches in asked])  # [good and bad, patch]
        logits = steepness * (middle - nearest)
        is_bad = (torch.arange(2 * TRIOS) >= TRIOS).float()
        terms.append(_anomaly_of_patches(logits, masks[TRIOS:]))
        terms.append(0.3 * F.binary_cross_entropy_with_logits(logits.amax(1), is_bad))
    return torch.stack(terms).sum() / 3


def _multi_positive(logits: Tensor, true: Tensor) -> Tensor:
    """Return the mean of both directions' cross-entropy, with several targets a row and a column."""
    rows = -((true / true.sum(1, keepdim=True)) * logits.log_softmax(1)).sum(1).mean()
    told = true.sum(0) > 0
    columns = -((true / true.sum(0).clamp_min(1)) * logits.log_softmax(0)).sum(0)[told].mean()
    return (rows + columns) / 2


def _family_loss(
    student: Student, bad: Tensor, batch: Batch, normal_logits: Tensor, random: np.random.Generator
) -> Tensor:
    """Tell for one family word a picture whether it is true of its kind, against good words of its class."""
    said, told = [], []
    for number, kind in zip(batch.classes[:TRIOS].tolist(), batch.kinds.tolist(), strict=True):
        choices = _families(DEMO_CLASSES[number])
        phrase, kinds = choices[random.integers(len(choices))]
        said.append(caption(phrase, random))
        told.append(float(KINDS[kind] in kinds))
    logits = student.scale() * (bad * student.encode_texts(said)).sum(1)
    return F.binary_cross_entropy_with_logits(logits - normal_logits.detach(), torch.tensor(told))


def write_weights(student: Student, file: Path) -> None:
    """Write the weights in float16, of the token table only the rows that were trained and one for all others."""
    state = {k: v.detach() for k, v in student.clip.state_dict().items() if not k.startswith("token_embedding.")}
    rows = student.words.rows.detach()
    packed = {name: value.half() for name, value in state.items() if name != "attn_mask"} | {
        "token_embedding.ids": student.words.ids.int(),
        "token_embedding.rows": rows.half(),
        "token_embedding.other_row": rows.mean(0).half(),
    }
    with whole_file(file) as temporary:
        save_file({name: value.contiguous() for name, value in packed.items()}, temporary)


def _captions(random: np.random.Generator) -> list[str]:
    """Draw one caption of each class in each state."""
    said = _phrases()
    chosen = []
    for name in DEMO_CLASSES:
        for state in STATES:
            choices = said[name, state]
            chosen.append(caption(choices[random.integers(len(choices))], random))
    return chosen


@cache
def _phrases() -> dict[tuple[str, str], list[str]]:
    return phrases()


@cache
def _families(class_name: str) -> list[tuple[str, tuple[str, ...]]]:
    return family_phrases(class_words(class_name))


@cache
def _token_ids(tokenizer: SimpleTokenizer, text: str) -> tuple[int, ...]:
    return tuple(tokenizer.encode(text))


def _vocabulary(tokenizer: SimpleTokenizer) -> set[int]:
    """Return the tokens of all captions, of start and of end."""
    texts = {phrase for choices in phrases().values() for phrase in choices}
    texts |= {phrase for name in DEMO_CLASSES for phrase, _ in _families(name)} | {f"{name}." for name in TEMPLATES}
    return {START_OF_TEXT, END_OF_TEXT} | {token for text in texts for token in tokenizer.encode(text)}


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
    """Return the share of its peak that a learning rate has: a short rise, then half a cosine."""
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
    """Load what `_keep` wrote, if it did; return the number of the next step."""
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
