"""The memory bank: patches of the support images, and the distances of other images' patches to them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from promptad.features import ImageFeatures, SupportFeatures
from promptad.models.normal_stats import mean_and_std, position_mean_and_std
from promptad.settings import ScoringSettings

MAX_COSINES = 2**25  # in memory at a time


@dataclass(frozen=True, eq=False)
class MemoryBank:
    """The support images' patches at some layers (PromptAD, Li et al., CVPR 2024, section 3.4, after WinCLIP)."""

    layers: tuple[Tensor, ...]  # [row, width] each, unit

    @classmethod
    def from_support(cls, support: ImageFeatures) -> "MemoryBank":
        """Keep every patch of the support features."""
        assert support.layers, "the features were encoded without intermediate layers"
        return cls(tuple(layer.flatten(0, 1).clone() for layer in support.layers))  # clones of inference tensors

    def add_distances(self, features: ImageFeatures) -> ImageFeatures:
        """Return N images' features with their distances to this bank; the large intermediate features are dropped.

        A patch's distance is half the cosine distance to the nearest row, averaged over the layers: 0 to 1. Features
        that already have distances are returned as they are.
        """
        if features.distances is not None:
            return features
        assert features.layers, "the features were encoded without intermediate layers"
        distances = [nearest_distances(*both) for both in zip(features.layers, self.layers, strict=True)]
        return replace(features, layers=(), distances=sum(distances[1:], distances[0]) / len(distances))


@dataclass(frozen=True, eq=False)
class CalibratedMemory:
    """A memory bank, with mean and std of the distances of normal patches to it: new distances become z-scores.

    Beside it, what words say may count for less; its own z-scores count for 1.
    """

    bank: MemoryBank
    patch_mean: Tensor  # [side * side or 1], of the distances, for the image score
    patch_std: Tensor  # [side * side or 1]
    map_mean: Tensor  # [], the same over all positions, for the anomaly map
    map_std: Tensor  # []
    class_token_weight: Tensor  # [], 0 to 1, of the class token's z-scores
    patches_weight: Tensor  # [], 0 to 1, of the patches'

    @classmethod
    def calibrated(cls, bank: MemoryBank, distances: Tensor, settings: ScoringSettings) -> "CalibratedMemory":
        """Calibrate a bank on the distances [view, patch] of normal images to it; words have their full weight.

        With the calibration "position" that is done at each position, with "prototype" over all positions; with "none"
        distances stay as they are. With "prototype", the image score still allows for positions where normal parts
        differ from each other: a share of how much larger distances are there is taken off.
        """
        everywhere = mean_and_std(distances.flatten())
        here = everywhere[0] + settings.position_share * (distances.mean(0) - everywhere[0]), everywhere[1]
        if settings.calibration == "position":
            here = position_mean_and_std(distances)
        if settings.calibration == "none":
            here = everywhere = torch.zeros_like(everywhere[0]), torch.ones_like(everywhere[1])
        patch_mean, patch_std = (number.view(-1) for number in here)
        whole = torch.ones_like(everywhere[0])
        return cls(bank, patch_mean, patch_std, *everywhere, whole, whole)

    def image_score(self, distances: Tensor) -> Tensor:
        """Return the largest z-score [N] of N images' patch distances [N, patch]."""
        return ((distances - self.patch_mean) / self.patch_std).amax(1)

    def patch_scores(self, distances: Tensor) -> Tensor:
        """Return the z-scores [N, patch] of patch distances [N, patch]."""
        return (distances - self.map_mean) / self.map_std


def add_leave_one_out_distances(support: SupportFeatures, views: int) -> SupportFeatures:
    """Return the support features, `views` of each image, with distances to a bank without their own image.

    The layers are dropped.
    """
    distances, disturbed = leave_one_out_distances(support, views), support.disturbed
    if disturbed is not None:
        of_disturbed = leave_one_out_distances(support, views, disturbed.images.layers)
        disturbed = replace(disturbed, images=replace(disturbed.images, layers=(), distances=of_disturbed))
    return SupportFeatures(replace(support.views, layers=(), distances=distances), None, disturbed)


def leave_one_out_distances(support: SupportFeatures, views: int, disturbed: Sequence[Tensor] = ()) -> Tensor:
    """Return the distances [N, patch] of the support images' views to a bank without them.

    Each view is compared with those of its row in `leave_one_out_mask` alone. With layers [N, patch, width] of
    `disturbed` views, which are the same ones in turn, once or more often, these are compared in their place.
    """
    seen, mask, distances = disturbed or support.views.layers, leave_one_out_mask(support, views), []
    banked = support.banked
    for number in range(len(seen[0])):
        others = mask[number % len(mask)]
        bank = MemoryBank(tuple(layer[others].flatten(0, 1) for layer in banked.layers))
        compared = bank.add_distances(replace(banked, layers=tuple(layer[number][None] for layer in seen)))
        assert compared.distances is not None
        distances.append(compared.distances)
    return torch.cat(distances)


def leave_one_out_mask(support: SupportFeatures, views: int) -> Tensor:
    """Return which banked views (columns) each view (row) is compared with: [k * views, banked].

    These are all of the other support images, so a view's distance to them is that of a new normal part. If there is
    one image only, they are the half of the others that is least similar to it: the most similar ones are
    near-duplicates, nearer than a new normal part would be. The similarity of views is that of their patches at the
    same positions.
    """
    banked, count = support.banked, len(support.views.class_token)
    assert banked.layers, "the features were encoded without intermediate layers"
    image = torch.arange(len(banked.class_token), device=banked.class_token.device) % count // views
    others = image[:count, None] != image
    if count > views:
        return others
    flat = [layer.flatten(1) for layer in banked.layers]  # [view, patch * width]
    products = [layer[:count] @ layer.T for layer in flat]  # [view, banked]
    similarity = sum(products[1:], products[0]).clone().fill_diagonal_(torch.inf)
    return others.scatter(1, similarity.argsort(1)[:, : len(image) // 2], value=True)


def nearest_distances(patches: Tensor, rows: Tensor) -> Tensor:
    """Return half the cosine distance [N, patch] of unit patches [N, patch, width] to the nearest of unit rows."""
    step = max(1, MAX_COSINES // (patches.shape[1] * len(rows)))
    nearest = [(chunk @ rows.T).amax(2) for chunk in torch.split(patches, step)]
    return ((1 - torch.cat(nearest)) / 2).clamp_min(0)
