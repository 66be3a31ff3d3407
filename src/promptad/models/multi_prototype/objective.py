"""The training objective: the weighted sum of the losses, each by its name in `LossWeights`."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from promptad.features import ImageFeatures
from promptad.models import losses
from promptad.models.multi_prototype.assignment import balanced_assignment, centred_per_image, similarity_std
from promptad.models.multi_prototype.prototypes import Prototypes, project_out
from promptad.settings import LossWeights

REPULSION_LIMIT = 0.3  # cosine above which two abnormal prototypes repel each other


@dataclass(frozen=True)
class TrainInputs:
    """The training data of the context vectors, the same in all epochs."""

    features: Tensor  # [F, D], of the views of the support images: class tokens (level "image" only), patch tokens
    patch_tokens: Tensor  # [P, D], the patch tokens among them, view by view
    views: int  # of all support images together
    state_groups: tuple[Tensor, ...]  # [phrase, D] each, raw text features
    start: Prototypes  # of the initial context vectors
    temperature: float

    @classmethod
    def from_support(
        cls,
        support: ImageFeatures,
        state_groups: tuple[Tensor, ...],
        start: Prototypes,
        temperature: float,
        level: str,
    ) -> "TrainInputs":
        """Use patch tokens and, at level "image", class tokens too."""
        # Features made in inference mode cannot take part in a backward pass; their copies can.
        patch_tokens = support.patch_tokens.flatten(0, 1).clone()
        features = patch_tokens if level == "pixel" else torch.cat([support.class_token, patch_tokens])
        return cls(features, patch_tokens, len(support.class_token), state_groups, start, temperature)

    def centred_per_image(self, similarities: Tensor) -> Tensor:
        """Return similarities [P, K] of the patch tokens as in scoring: centred view by view."""
        return centred_per_image(similarities.view(self.views, -1, similarities.shape[1])).flatten(0, 1)


@dataclass(frozen=True)
class LossInputs:
    """What the losses of one epoch are computed from."""

    prototypes: Prototypes
    start: Prototypes  # of the initial context vectors
    states: tuple[Tensor, ...]  # [phrase, D] of each group, the mean direction projected out
    to_normal: Tensor  # [F, K], similarities; those of patches are centred per image
    to_abnormal: Tensor  # [F, M]
    to_states: Tensor  # [F, S]
    shares: Tensor  # [F, K], of the normal prototypes in each feature, without gradient
    std: Tensor  # [], of the patches' normal similarities
    class_tokens: slice  # which of the F features these are, perhaps none
    patches: slice
    temperature: float


def _contrastive(inputs: LossInputs) -> Tensor:
    # One of a view's 197 features is the class token, but it makes half of the score: each kind has its own mean.
    kinds = [inputs.class_tokens, inputs.patches] if inputs.class_tokens.stop else [inputs.patches]
    negatives = torch.cat([inputs.to_abnormal, inputs.to_states], 1)
    terms = [
        losses.contrastive_loss(inputs.to_normal[kind], negatives[kind], inputs.shares[kind], inputs.temperature)
        for kind in kinds
    ]
    return torch.stack(terms).sum()


def _balance(inputs: LossInputs) -> Tensor:
    return losses.balance_loss(inputs.to_normal[inputs.patches], inputs.shares[inputs.patches], inputs.std)


def _closeness(inputs: LossInputs) -> Tensor:
    now, start = inputs.prototypes, inputs.start
    return losses.closeness_loss(torch.cat([now.normal, now.abnormal]), torch.cat([start.normal, start.abnormal]))


# To add a loss, add a line here and one to `LossWeights` with its default weight: that also makes its `--weight-` flag.
LOSSES: dict[str, Callable[[LossInputs], Tensor]] = {
    "contrastive": _contrastive,
    "margin": lambda i: losses.margin_loss(i.to_normal, i.to_abnormal, i.shares),
    "matching": lambda i: losses.matching_loss(i.prototypes.abnormal, torch.cat(i.states)),
    "grouping": lambda i: losses.grouping_loss(
        i.prototypes.abnormal, group_means(i.states, len(i.prototypes.abnormal))
    ),
    "balance": _balance,
    "repulsion": lambda i: losses.repulsion_loss(i.prototypes.abnormal, REPULSION_LIMIT),
    "closeness": _closeness,
}


def total_loss(prototypes: Prototypes, inputs: TrainInputs, weights: LossWeights, bias: Tensor) -> Tensor:
    """Return the weighted sum of the losses whose weight is not 0; `bias` [K] balances the normal prototypes."""
    computed = loss_inputs(prototypes, inputs, bias)
    zero = prototypes.normal.sum() * 0  # keeps the sum a function of the context vectors when every loss is off
    return sum((weight * LOSSES[name](computed) for name, weight in asdict(weights).items() if weight), start=zero)


def loss_inputs(prototypes: Prototypes, inputs: TrainInputs, bias: Tensor) -> LossInputs:
    """Return the similarities of all features to all directions, and the balanced assignment."""
    normal, abnormal = prototypes.normal, prototypes.abnormal
    states = tuple(project_out(group, prototypes.mean_direction) for group in inputs.state_groups)
    # All directions in one product: separate products would each read the features again.
    directions = torch.cat([normal, abnormal, *states])
    counts = [len(normal), len(abnormal), sum(map(len, states))]
    to_normal, to_abnormal, to_states = torch.split(inputs.features @ directions.T, counts, 1)
    first_patch = len(inputs.features) - len(inputs.patch_tokens)
    class_tokens, patches = slice(first_patch), slice(first_patch, None)
    to_normal = torch.cat([to_normal[class_tokens], inputs.centred_per_image(to_normal[patches])])
    std = similarity_std(to_normal[patches])
    shares = balanced_assignment(to_normal, bias, std).detach()
    return LossInputs(
        prototypes=prototypes,
        start=inputs.start,
        states=states,
        to_normal=to_normal,
        to_abnormal=to_abnormal,
        to_states=to_states,
        shares=shares,
        std=std,
        class_tokens=class_tokens,
        patches=patches,
        temperature=inputs.temperature,
    )


def group_means(states: Sequence[Tensor], count: int) -> Tensor:
    """Return for each of `count` abnormal prototypes the mean [count, D] of the states that it represents.

    The G groups of states [phrase, D] are dealt out in turn: prototype j has groups j, j + M, and so on; where there
    are more prototypes than groups, they share.
    """
    means = [
        torch.cat([group for g, group in enumerate(states) if g % count == j % len(states)]).mean(0)
        for j in range(count)
    ]
    return torch.stack(means)
