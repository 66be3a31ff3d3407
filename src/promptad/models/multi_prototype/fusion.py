"""Fusion: what words count for beside a memory bank, and each distance in it, by how they react to probes.

A sum of z-scores weighs a term that says nothing of defects as much as one that says all. What a term can tell is found
without labels: the views of the support images have their scores, and probes, which are such views with a local
disturbance (see `promptad.data.disturbances`), should have higher ones. Nothing is learned from probes.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from promptad.features import ImageFeatures, SupportFeatures
from promptad.models.anomaly_map import resampled
from promptad.models.memory_bank import CalibratedMemory, LeftOut
from promptad.models.multi_prototype.calibration import Calibration
from promptad.models.multi_prototype.prototypes import Prototypes
from promptad.models.multi_prototype.scoring import score_class_tokens, score_patches
from promptad.models.multi_prototype.similarities import margins
from promptad.models.normal_stats import mean_and_std

DOUBT = 1.0  # standard errors that are taken off the reaction of words: they must earn their weight
MOST = 0.5  # weight of words: what learned from disturbances reacts to others like them more than to defects
REACTING = 0.3  # reaction of starting words from which they keep their say
LEAST_REACTION = 0.05  # of a memory: what reacts less is as good as silent


class Terms(NamedTuple):
    """The z-scores of N images by the three terms."""

    class_token: Tensor  # [N]
    patches: Tensor  # [N, patch]
    memory: Tensor  # [N, patch], at the same patches, whatever the memory's own are


def weigh_words(
    memory: CalibratedMemory,
    support: SupportFeatures,
    prototypes: Prototypes,
    calibration: Calibration,
    starting_words: float = 1.0,
) -> CalibratedMemory:
    """Return the memory with the weights of the words' terms beside it.

    In the map the weight of the patches' term is half its reaction as a share of the memory's, at most 1; that of the
    class token's is half the geometric mean of this and its own such share. A reaction is 0 where probes rank among the
    views as by chance, and 1 where they are above all of them. Image scores trust words less where the starting ones
    hardly react: what learned from disturbances alone draws maps well, and ranks images worse than it reacts.

    Args:
        memory: its weights are ignored.
        support: with probes; views and probes have their distances to the bank, without their own image.
        prototypes: those that the words' terms are made of.
        calibration: their calibration.
        starting_words: the reaction of the words that they started from, 0 to 1.
    """
    views, probes = support.views, support.probes
    assert probes is not None, "there are no probes"
    places, pairs = probes.places, probes.views_of(len(support.learned.class_token)) * support.step
    of_views, of_seen = (_terms(of, memory, prototypes, calibration) for of in (views, probes.images))
    by_class = image_ranks(of_views.class_token, of_seen.class_token, pairs)
    by_patches = patch_ranks(of_views.patches, of_seen.patches, places)
    by_memory = patch_ranks(of_views.memory, of_seen.memory, places)
    known = reaction(by_memory, doubt=0).clamp_min(LEAST_REACTION)
    patches = (reaction(by_patches, DOUBT) / known).clamp(max=1)
    class_token = (reaction(by_class, DOUBT) / known).clamp(max=1)
    earned = MOST * min(1.0, starting_words / REACTING)
    return replace(
        memory,
        class_token_weight=earned * (patches * class_token).sqrt(),
        patches_weight=earned * patches,
        map_weight=MOST * patches,
    )


def weigh_distances(left_out: LeftOut, places: Tensor) -> Tensor:
    """Return the weights [distance * layer] of a bank's distances: their squared reaction, in units of their deviation.

    Where to look and what to compare with is a matter of the part: published layers and distances are fixed, and none
    is best for every part.

    Args:
        left_out: distances of views and probes.
        places: [probe, patch] bool, which patches are disturbed.
    """
    assert left_out.probes is not None, "there are no probes"
    views, probes = (resampled(distances, places.shape[1]) for distances in (left_out.views, left_out.probes))
    reactions = torch.stack([reaction(patch_ranks(*pair, places), 0) for pair in zip(views, probes, strict=True)])
    weights = reactions.clamp_min(LEAST_REACTION).square() / mean_and_std(left_out.views.flatten(1).T)[1]
    return weights / weights.sum()


def reaction(ranks: Tensor, doubt: float) -> Tensor:
    """Return how far above chance the mean of ranks [N] is, from 0 to 1, less `doubt` standard errors of it."""
    if len(ranks) < 2:
        return torch.zeros((), device=ranks.device)
    error = ranks.std() / math.sqrt(len(ranks))
    return (2 * (ranks.mean() - doubt * error) - 1).clamp(0, 1)


def patch_ranks(scores: Tensor, disturbed: Tensor, places: Tensor) -> Tensor:
    """Return for each disturbed view the mean rank of its disturbed patches among all patches of the others, 0 to 1.

    Args:
        scores: [view, patch].
        disturbed: [disturbed view, patch].
        places: [disturbed view, patch] bool, which are disturbed; views without any are left out.
    """
    ranks = _ranks(disturbed, scores) * places
    counts = places.sum(1)
    return ranks.sum(1)[counts > 0] / counts[counts > 0]


def image_ranks(scores: Tensor, disturbed: Tensor, pairs: Tensor) -> Tensor:
    """Return the rank of each disturbed view [N] among the others [view], averaged with whether it exceeds its own.

    `pairs` [N] are the numbers of the views that were disturbed.
    """
    return (_ranks(disturbed, scores) + (disturbed > scores[pairs])) / 2


def _ranks(values: Tensor, among: Tensor) -> Tensor:
    """Return the share of the numbers `among` that each value exceeds."""
    return torch.searchsorted(among.flatten().sort().values, values.contiguous()) / among.numel()


def _terms(
    features: ImageFeatures, memory: CalibratedMemory, prototypes: Prototypes, calibration: Calibration
) -> Terms:
    assert features.distances is not None, "the features have no memory-bank distances"
    patch_margins = margins(features.patch_tokens, prototypes, calibration.normal_bias)
    return Terms(
        score_class_tokens(features.class_token, prototypes, calibration),
        score_patches(patch_margins, calibration),
        resampled(memory.patch_scores(features.distances), features.patch_tokens.shape[1]),
    )
