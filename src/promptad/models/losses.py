"""Training losses: one function each, all on unit vectors or on similarities, which are cosines of two.

Names of shapes: F features of normal images (class tokens and patch tokens), K normal and M abnormal prototypes, S
manual states, D dimensions. There are thousands of features, so their similarities are computed once for all losses.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from promptad.errors import InputError


def contrastive_loss(normal: Tensor, negatives: Tensor, shares: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of each normal feature against its normal prototype and every abnormal direction.

    Follows PromptAD (Li et al., CVPR 2024), with the prototype that a feature is assigned to, `shares` [F, K],
    instead of the one normal anchor. `normal` [F, K] and `negatives` [F, M + S] are the features' similarities,
    which are multiplied by `temperature` before the softmax.
    """
    positive = (shares * normal).sum(1, keepdim=True)  # [feature, 1]
    logits = temperature * torch.cat([positive, negatives], 1)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def margin_loss(normal: Tensor, abnormal: Tensor, shares: Tensor) -> Tensor:
    """Hinge on how much nearer a normal feature is to an abnormal prototype than to its own normal one.

    PromptAD's explicit anomaly margin (Li et al., CVPR 2024) against the nearest abnormal prototype. For unit
    vectors the difference of squared distances is twice the difference of the similarities `normal` [F, K] and
    `abnormal` [F, M]; `shares` [F, K] assign the features.
    """
    own = (shares * normal).sum(1)
    return F.relu(2 * (abnormal.amax(1) - own)).mean()


def matching_loss(abnormal: Tensor, states: Tensor) -> Tensor:
    """Squared distance between the means of `abnormal` prototypes [M, D] and of manual `states` [S, D].

    PromptAD's alignment of both (Li et al., CVPR 2024).
    """
    return (abnormal.mean(0) - states.mean(0)).square().sum()


def grouping_loss(abnormal: Tensor, group_means: Tensor) -> Tensor:
    """Mean distance, 1 - cosine, of `abnormal` prototypes [M, D] to the means of the states they stand for.

    These are `group_means` [M, D].
    """
    return (1 - F.cosine_similarity(abnormal, group_means, dim=1)).mean()


def balance_loss(similarities: Tensor, shares: Tensor, softness: Tensor) -> Tensor:
    """Cross-entropy between the balanced `shares` [F, K] and the plain assignment of the similarities [F, K].

    The latter is a softmax of similarities in units of `softness` []. This is the self-labelling loss of Asano et al.
    (2020): each prototype moves towards its features in the balanced shares.
    """
    return -(shares * torch.log_softmax(similarities / softness, 1)).sum(1).mean()


def repulsion_loss(abnormal: Tensor, limit: float) -> Tensor:
    """Mean excess of the cosine between two abnormal prototypes [M, D] over `limit`, over all pairs; 0 for M = 1."""
    first, second = torch.triu_indices(len(abnormal), len(abnormal), offset=1)
    if len(first) == 0:
        return abnormal.new_zeros(())
    return F.relu((abnormal[first] * abnormal[second]).sum(1) - limit).mean()


def closeness_loss(prototypes: Tensor, starts: Tensor) -> Tensor:
    """Mean distance, 1 - cosine, of `prototypes` [N, D] to `starts` [N, D], as of KgCoOp (Yao et al., 2023)."""
    return (1 - F.cosine_similarity(prototypes, starts, dim=1)).mean()


def reaction_loss(scores: Tensor, disturbed: Tensor) -> Tensor:
    """Soft hinge on how little the scores [N] of disturbed tokens exceed those of the same tokens before.

    Pairwise ranking, as RankNet does (Burges et al., 2005).
    """
    return F.softplus(scores - disturbed).mean()


def triplet_loss(features: Tensor, anchors: Tensor) -> Tensor:
    """Hinge on how much nearer normal features are to the abnormal anchor than to the normal one, of `anchors` [2, D].

    Squared differences are summed over axis 1. For class tokens [N, D] that gives distances; for patch tokens
    [N, patch, D] it sums over patches instead of D, as PromptAD's code does (Li et al., CVPR 2024), kept for the
    baseline.
    """
    to_normal, to_abnormal = ((features - anchor).square().sum(1) for anchor in anchors)
    return F.relu(to_normal - to_abnormal).mean()


def check_finite(loss: Tensor, epoch: int, lr: float) -> None:
    """Check that the loss is finite; `epoch` and `lr` are for the message.

    Raises:
        InputError: the loss is NaN or infinite.
    """
    if not torch.isfinite(loss):
        raise InputError(f"`lr` {lr}: loss is NaN or infinite at epoch {epoch}; lower the learning rate")
