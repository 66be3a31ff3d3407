"""The tiny CLIP's training losses on one batch."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from invented_parts import UNNAMED
from tiny_captions import ANY_DEFECT, KINDS, NORMAL, STATES, caption, family_phrases, phrases
from tiny_student import Student
from torch import Tensor

from promptad.features import ImageFeatures
from promptad.prompts.states import class_words

TRIOS = 24  # a batch
KEPT = 80  # patches per image that are used in the first part of the training, its defect among them
ANOMALOUS, CLEAN = 0.2, 0.02  # defective share of a patch: above, it is anomalous; below, clean; between, ignored
STATE_COUNT = len(STATES)


@dataclass(frozen=True)
class Batch:
    """TRIOS good images, as many other good parts of the same production lines, and the latter's defective twins."""

    pixels: Tensor  # [image, 3, side, side], normalised
    masks: Tensor  # [image, patch], share of a patch that is defective
    classes: Tensor  # [image], index into the names
    kinds: Tensor  # [trio], of the defective ones, or UNNAMED
    names: tuple[str, ...]  # of all parts of this world


def losses(student: Student, batch: Batch, random: np.random.Generator, *, every_patch: bool) -> dict[str, Tensor]:
    """Return the losses of one batch.

    contrastive: images against one caption of each class in each state (Radford et al., CLIP, 2021), with several
    that are true of a defective image. anomaly: good against faulty words of the image's class. kind: its kind
    among the kinds of its class. family: words that are true of some kinds only. dense and dense_kind: the same of
    patch tokens on the local path, labelled by the mask. memory: see `_memory_loss`.
    """
    captions = _captions(batch.names, random)
    texts = student.encode_texts(captions).view(len(batch.names), STATE_COUNT, -1)  # [class, state, D]
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
    named, kinds = batch.kinds != UNNAMED, batch.kinds.clamp_min(0)
    true[bad[named], batch.classes[bad[named]], 2 + kinds[named]] = 1
    patches = scale * torch.einsum("npd,nsd->nps", features.patch_tokens, texts[batch.classes])  # [image, patch, state]
    on_defect = masks[bad] * (masks[bad] > ANOMALOUS) * named[:, None]
    kind_of_patch = kinds[:, None, None].expand(-1, masks.shape[1], 1)
    patch_kinds = patches[bad, :, 2:].log_softmax(-1).gather(2, kind_of_patch)[..., 0]  # [trio, patch]
    return {
        "contrastive": _multi_positive(logits.flatten(1), true.flatten(1)),
        "anomaly": 1.5 * F.binary_cross_entropy_with_logits(own[:, 1] - own[:, 0], (images >= 2 * TRIOS).float()),
        "kind": 0.5 * F.cross_entropy(own[bad, 2:], batch.kinds, ignore_index=UNNAMED),
        "family": 0.3 * _family_loss(student, features.class_token[bad], batch, own[bad, 0], random),
        "dense": _anomaly_of_patches(patches[..., 1] - patches[..., 0], masks),
        "dense_kind": -0.3 * (patch_kinds * on_defect).sum() / on_defect.sum().clamp_min(1),
        "memory": _memory_loss(student, features, masks),
    }


def caption_loss(
    student: Student, pixels: Tensor, captions: list[str], random: np.random.Generator, *, every_patch: bool
) -> Tensor:
    """Return CLIP's loss alone: each image [image, 3, side, side] against its caption among all of the batch, and back.

    Unless `every_patch`, a random third of the patches is seen, three times as fast (Li et al., FLIP, CVPR 2023).
    """
    tokens = student.images.embed(pixels)
    if not every_patch:
        patches = tokens.shape[1] - 1
        rank = torch.from_numpy(random.random((len(tokens), patches), dtype=np.float32))
        tokens = _with_patches(tokens, rank.topk(patches // 3, 1).indices)
    features = student.encode_class_tokens(tokens)
    logits = student.scale() * features @ student.encode_texts(captions).T
    own = torch.arange(len(tokens))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def _keep_some_patches(tokens: Tensor, masks: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Keep KEPT patches of each image, the same of a trio's three: those with the defect first, others by chance."""
    rank = torch.from_numpy(random.random((TRIOS, masks.shape[1]), dtype=np.float32))
    kept = (rank + 1.5 * (masks[2 * TRIOS :] > CLEAN)).topk(KEPT, 1).indices.repeat(3, 1)  # [image, kept]
    return _with_patches(tokens, kept), masks.gather(1, kept)


def _with_patches(tokens: Tensor, kept: Tensor) -> Tensor:
    """Keep the class token and the patches numbered `kept` [image, kept] of embeddings [image, 1 + patch, width]."""
    patches = tokens[:, 1:].gather(1, kept[..., None].expand(-1, -1, tokens.shape[-1]))
    return torch.cat([tokens[:, :1], patches], 1)


def _anomaly_of_patches(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the cross-entropy of patches [image, patch] being anomalous, labelled by their defective shares."""
    weight = ((masks < CLEAN) | (masks > ANOMALOUS)).float()
    return F.binary_cross_entropy_with_logits(logits, (masks > ANOMALOUS).float(), weight, pos_weight=torch.tensor(6.0))


def _memory_loss(student: Student, features: ImageFeatures, masks: Tensor) -> Tensor:
    """Classify defects by the distance of a patch to the nearest one of another good part of the line, at three layers.

    This makes the layers useful for a patch memory (Roth et al., PatchCore, 2022): features of the same material should
    be alike under another light, pose and focus, and those of a defect unlike all of them. The loss is over all patches
    of an image, and over its patch that is farthest from all known ones, which determines the image score.
    """
    assert features.layers is not None
    terms = []
    for layer, (steepness, middle) in zip((features.patch_tokens, *features.layers), student.nearness, strict=True):
        known, *queried = layer.chunk(3)  # [trio, patch, width] each
        nearest = torch.cat([(patches @ known.transpose(1, 2)).amax(2) for patches in queried])  # [good and bad, patch]
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
    """Classify whether one family word per image is true of its kind, against the good words of its class."""
    said, told = [], []
    for number, kind in zip(batch.classes[:TRIOS].tolist(), batch.kinds.tolist(), strict=True):
        choices = _families(batch.names[number])
        phrase, kinds = choices[random.integers(len(choices))]
        said.append(caption(phrase, random))
        told.append(float(KINDS[kind] in kinds))
    logits = student.scale() * (bad * student.encode_texts(said)).sum(1) - normal_logits.detach()
    return F.binary_cross_entropy_with_logits(logits, torch.tensor(told), (batch.kinds != UNNAMED).float())


def _captions(names: tuple[str, ...], random: np.random.Generator) -> list[str]:
    """Draw one caption of each name in each state."""
    said = _phrases(names)
    chosen = []
    for name in names:
        for state in STATES:
            choices = said[name, state]
            chosen.append(caption(choices[random.integers(len(choices))], random))
    return chosen


@cache
def _phrases(names: tuple[str, ...]) -> dict[tuple[str, str], list[str]]:
    return phrases(names)


@cache
def _families(class_name: str) -> list[tuple[str, tuple[str, ...]]]:
    return family_phrases(class_words(class_name))
