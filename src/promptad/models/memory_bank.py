"""The memory bank: patches of the support images, and the distances of other images' patches to them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from promptad.features import ImageFeatures, SupportFeatures
from promptad.models.distances import distances_to
from promptad.models.normal_stats import mean_and_std, mean_of_largest, position_mean_and_std
from promptad.settings import ScoringSettings

NEAREST = ("nearest",)  # of PromptAD
WORDS_WEIGHTS = ("class_token_weight", "patches_weight", "map_weight")  # of a `CalibratedMemory`


@dataclass(frozen=True, eq=False)
class MemoryBank:
    """The support images' patches at some layers (PromptAD, Li et al., CVPR 2024, section 3.4, after WinCLIP)."""

    layers: tuple[Tensor, ...]  # [row, width] each, unit
    weights: Tensor  # [distance * layer], of each distance at each layer; they sum to 1
    distances: tuple[str, ...] = NEAREST  # names in `DISTANCES`

    @classmethod
    def from_support(
        cls, support: ImageFeatures, weights: Tensor | None = None, distances: tuple[str, ...] = NEAREST
    ) -> "MemoryBank":
        """Keep every patch of the support features; distances and layers count alike unless weights are given."""
        assert support.layers, "the features were encoded without intermediate layers"
        layers = tuple(layer.flatten(0, 1).clone() for layer in support.layers)  # clones of inference tensors
        return cls(layers, equal_weights(layers, distances) if weights is None else weights, distances)

    def add_distances(self, features: ImageFeatures) -> ImageFeatures:
        """Return N images' features with their distances to this bank; the large intermediate features are dropped.

        A patch's distance is the weighted mean over all distances and layers: 0 to 1. Features that already have
        distances are returned as they are.
        """
        if features.distances is not None:
            return features
        distances = weighted_sum(self.all_distances(features.layers), self.weights)
        return replace(features, layers=(), distances=distances)

    def all_distances(self, layers: Sequence[Tensor]) -> Tensor:
        """Return all distances [distance * layer, N, patch] of layers [N, patch, width] to this bank's."""
        assert layers, "the features were encoded without intermediate layers"
        of_layers = [distances_to(rows, own, self.distances) for rows, own in zip(self.layers, layers, strict=True)]
        return torch.stack(of_layers, 1).flatten(0, 1)

    def with_images(self, features: ImageFeatures) -> "MemoryBank":
        """Return a bank that also holds every patch of N images' features with layers."""
        pairs = zip(self.layers, features.layers, strict=True)
        return replace(self, layers=tuple(torch.cat([rows, own.flatten(0, 1)]) for rows, own in pairs))

    def add_left_out_distances(self, features: ImageFeatures, tiles: int = 1) -> ImageFeatures:
        """Return features of N images' tiles with the distances of each image to a bank with the others, too."""
        number, found = torch.arange(len(features.class_token), device=features.class_token.device) // tiles, []
        for own in range(len(number) // tiles):
            bank = self.with_images(features.rows(number != own))
            found.append(bank.add_distances(features.rows(number == own)))
        return ImageFeatures.joined(found)


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
    class_token_weight: Tensor  # [], 0 to 1, of the class token's z-scores in the image score
    patches_weight: Tensor  # [], 0 to 1, of the patches' there
    map_weight: Tensor  # [], 0 to 1, of the patches' in the anomaly map

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
        return cls(bank, patch_mean, patch_std, *everywhere, whole, whole, whole)

    def image_score(self, distances: Tensor, top_share: float) -> Tensor:
        """Return the mean [N] of the share of largest z-scores of N images' patch distances [N, patch]."""
        return mean_of_largest((distances - self.patch_mean) / self.patch_std, top_share)

    def patch_scores(self, distances: Tensor) -> Tensor:
        """Return the z-scores [N, patch] of patch distances [N, patch]."""
        return (distances - self.map_mean) / self.map_std


class LeftOut(NamedTuple):
    """All distances of the support images' views to banks without their own image, at each layer."""

    views: Tensor  # [distance * layer, view, patch]
    probes: Tensor | None  # [distance * layer, probe, patch], compared with what their views are compared with
    far_views: Tensor | None  # [distance * layer, far view, patch] of an only image, compared with its views

    @classmethod
    def measured(cls, support: SupportFeatures, views: int, distances: tuple[str, ...] = NEAREST) -> "LeftOut":
        """Compare each view, `views` of each tile, with those of its row in `leave_one_out_mask` alone."""
        mask, banked, probes = leave_one_out_mask(support, views), support.banked.layers, support.probes
        of_probes = (
            None
            if probes is None
            else _distances_by_mask(probes.images.layers, banked, mask[:: support.step], distances)
        )
        of_far = None
        if support.far_views is not None and support.is_only_image:
            bank = MemoryBank.from_support(support.views, distances=distances)
            of_far = bank.all_distances(support.far_views.layers)
        of_views = _distances_by_mask(support.views.layers, banked, mask, distances)
        return cls(of_views, of_probes, of_far)

    def added_to(self, support: SupportFeatures, weights: Tensor) -> SupportFeatures:
        """Return the support features with the weighted means of these distances; their layers are dropped."""
        views = replace(support.views, layers=(), distances=weighted_sum(self.views, weights))
        probes = support.probes
        if probes is not None and self.probes is not None:
            distances = weighted_sum(self.probes, weights)
            probes = replace(probes, images=replace(probes.images, layers=(), distances=distances))
        far_views = support.far_views
        if far_views is not None:
            of_far = None if self.far_views is None else weighted_sum(self.far_views, weights)
            far_views = replace(far_views, layers=(), distances=of_far)
        return replace(support, views=views, far_views=far_views, probes=probes)


def _distances_by_mask(
    layers: Sequence[Tensor], banked: Sequence[Tensor], mask: Tensor, distances: tuple[str, ...]
) -> Tensor:
    """Return all distances [distance * layer, N, patch] of layers [N, patch, width] to the banked views of a mask.

    The rows [row, banked] are those of the N in turn, once or more often.
    """
    kinds, kind_of = torch.unique(mask, dim=0, return_inverse=True)
    kind_of = kind_of.repeat(-(-len(layers[0]) // len(mask)))[: len(layers[0])]
    found = torch.empty(len(distances) * len(layers), *layers[0].shape[:2], device=mask.device)
    for number, others in enumerate(kinds):
        rows, own = tuple(layer[others].flatten(0, 1) for layer in banked), kind_of == number
        bank = MemoryBank(rows, equal_weights(rows, distances), distances)
        found[:, own] = bank.all_distances([layer[own] for layer in layers])
    return found


def leave_one_out_mask(support: SupportFeatures, views: int) -> Tensor:
    """Return which banked views (columns) each view (row) is compared with: [k * tiles * views, banked].

    These are all of the other support images, so a view's distance to them is that of a new normal part. If there is
    one image only, they are those of its other tiles, and of its own tile the half of the others that is least similar
    to it: the most similar ones are near-duplicates, nearer than a new normal part would be. The similarity of views
    is that of their patches at the same positions.
    """
    banked, count = support.banked, len(support.views.class_token)
    assert banked.layers, "the features were encoded without intermediate layers"
    tile = torch.arange(len(banked.class_token), device=banked.class_token.device) % count // views
    if count > support.tiles * views:
        return tile[:count, None] // support.tiles != tile // support.tiles
    others = tile[:count, None] != tile
    flat = [layer.flatten(1) for layer in banked.layers]  # [view, patch * width]
    products = [layer[:count] @ layer.T for layer in flat]  # [view, banked]
    similarity = sum(products[1:], products[0]).clone().fill_diagonal_(torch.inf)
    similarity[others] = torch.inf
    of_tile = len(tile) // support.tiles
    return others.scatter(1, similarity.argsort(1)[:, : of_tile // 2], value=True)


def equal_weights(layers: Sequence[Tensor], distances: tuple[str, ...] = NEAREST) -> Tensor:
    """Return the same weight [distance * layer] for each distance at each of some layers; they sum to 1."""
    count = len(distances) * len(layers)
    return torch.full((count,), 1 / count, device=layers[0].device)


def weighted_sum(terms: Tensor, weights: Tensor) -> Tensor:
    """Return the sum over terms [term, ...] by their weights [term]."""
    return (weights.view(-1, *[1] * (terms.ndim - 1)) * terms).sum(0)
