"""The training objective: the weighted sum of the losses, each by its name in `LossWeights`."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from promptad.features import DisturbedFeatures, SupportFeatures
from promptad.models import losses
from promptad.models.multi_prototype.assignment import balanced_assignment, centred_per_image, similarity_std
from promptad.models.multi_prototype.prototypes import Prototypes, project_out
from promptad.models.multi_prototype.similarities import margins, margins_of
from promptad.models.normal_stats import mean_and_std
from promptad.settings import LossWeights

REPULSION_LIMIT = 0.3  # cosine above which two abnormal prototypes repel each other
CLASS_SHARE = 0.25  # of the class tokens' reaction beside the patches': there are a hundredth as many
SHARPNESS = 2.0  # of the largest z-score: those that are lower by far less than 1 / 2 count nearly as much


@dataclass(frozen=True)
class TrainInputs:
    """The training data of the context vectors, the same in all epochs."""

    features: Tensor  # [F, D], of the views of the support images: class tokens (level "image" only), patch tokens
    patch_tokens: Tensor  # [P, D], the patch tokens among them, view by view
    views: int  # of all support images together
    state_groups: tuple[Tensor, ...]  # [phrase, D] each, raw text features
    start: Prototypes  # of the initial context vectors
    temperature: float
    disturbed: DisturbedFeatures | None = None

    @classmethod
    def from_support(
        cls,
        support: SupportFeatures,
        state_groups: tuple[Tensor, ...],
        start: Prototypes,
        temperature: float,
        level: str,
    ) -> "TrainInputs":
        """Use patch tokens and, at level "image", class tokens too."""
        # Features made in inference mode cannot take part in a backward pass; their copies can.
        views, disturbed = support.learned, support.disturbed
        patch_tokens = views.patch_tokens.flatten(0, 1).clone()
        features = patch_tokens if level == "pixel" else torch.cat([views.class_token, patch_tokens])
        if disturbed is not None:
            disturbed = replace(disturbed, images=disturbed.images.map(torch.clone))
        return cls(features, patch_tokens, len(views.class_token), state_groups, start, temperature, disturbed)

    def centred_per_image(self, similarities: Tensor) -> Tensor:
        """Return similarities [P, K] of the patch tokens as in scoring: centred view by view."""
        return centred_per_image(similarities.view(self.views, -1, similarities.shape[1])).flatten(0, 1)


@dataclass(frozen=True)
class LossInputs:
    """What the losses of one epoch are computed from."""

    prototypes: Prototypes  # of this epoch, K normal and M abnormal ones
    start: Prototypes  # of the initial context vectors
    states: tuple[Tensor, ...]  # [phrase, D] of each group, the mean direction projected out
    to_normal: Tensor  # [F, K], similarities; those of patches are centred per image
    to_abnormal: Tensor  # [F, M]
    to_states: Tensor  # [F, S]
    shares: Tensor  # [F, K], of the normal prototypes in each feature, without gradient
    std: Tensor  # [], of the patches' normal similarities
    bias: Tensor  # [K], of the normal prototypes
    class_tokens: slice  # which of the F features these are, perhaps none
    patches: slice  # which of them these are
    views: int  # of all support images together
    disturbed: DisturbedFeatures | None  # of views with a local disturbance each
    temperature: float  # the factor of cosines before a softmax


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


def _reaction(inputs: LossInputs) -> Tensor:
    seen, now, bias = inputs.disturbed, inputs.prototypes, inputs.bias
    assert seen is not None, "there are no disturbed views to learn from"
    known = margins_of(inputs.to_normal, inputs.to_abnormal, bias)  # [F, M]
    views, places = seen.views_of(inputs.views), seen.places
    if not places.any():  # all disturbances are outside what a small crop shows
        return now.normal.sum() * 0
    of_patches = known[inputs.patches]
    before, after = soft_scores(of_patches, margins(seen.images.patch_tokens, now, bias))
    loss = losses.reaction_loss(before.view(inputs.views, -1)[views][places], after[places])
    if not inputs.class_tokens.stop:
        return loss
    before, after = soft_scores(known[inputs.class_tokens], margins(seen.images.class_token, now, bias))
    return loss + CLASS_SHARE * losses.reaction_loss(before[views], after)


def soft_scores(known: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smooth largest z-score of margins [N, M] that calibrate them, and of others [..., M]."""
    mean, std = mean_and_std(known)
    first, second = (torch.logsumexp(SHARPNESS * (own - mean) / std, -1) / SHARPNESS for own in (known, seen))
    return first, second


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
    "reaction": _reaction,
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
        bias=bias,
        class_tokens=class_tokens,
        patches=patches,
        views=inputs.views,
        disturbed=inputs.disturbed,
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
