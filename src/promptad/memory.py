"""The memory bank: patches of the support images, that patches of a new picture are compared with."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from promptad.moments import moments, position_moments
from promptad.records import ImageFeatures

MOST_COSINES = 2**25  # that are in memory together


@dataclass(frozen=True, eq=False)
class MemoryBank:
    """The support images' patches at the two taps (PromptAD, Li et al., CVPR 2024, section 3.4, after WinCLIP)."""

    first: Tensor  # [row, width], unit
    second: Tensor  # [row, width], unit

    @classmethod
    def of(cls, support: ImageFeatures) -> "MemoryBank":
        """Keep every patch of the support features."""
        assert support.taps is not None, "the features were encoded without taps"
        first, second = (tap.flatten(0, 1).clone() for tap in support.taps)  # no longer of inference mode
        return cls(first, second)

    def ask(self, features: ImageFeatures) -> ImageFeatures:
        """Return N pictures' features with their distances to this bank; their taps, which are large, are let go.

        A patch's distance is half the cosine distance to the nearest row, averaged over the two taps: 0 to 1.
        Features that have been asked about before are returned as they are.
        """
        if features.distances is not None:
            return features
        assert features.taps is not None, "the features were encoded without taps"
        first, second = (
            nearest_distances(t, rows) for t, rows in zip(features.taps, (self.first, self.second), strict=True)
        )
        return replace(features, taps=None, distances=(first + second) / 2)


@dataclass(frozen=True, eq=False)
class CalibratedMemory:
    """A memory bank, and how far patches of normal pictures are from it: distances count in deviations from that."""

    bank: MemoryBank
    patch_mean: Tensor  # [side * side or 1], of the distances, for the image score
    patch_std: Tensor  # [side * side or 1]
    map_mean: Tensor  # [], the same over all positions, for the map
    map_std: Tensor  # []

    @classmethod
    def of(cls, support: ImageFeatures, views: int, calibration: str) -> tuple["CalibratedMemory", ImageFeatures]:
        """Keep the patches of all views of the support images, `views` of each, and calibrate the distances to them.

        Returns also the support features with the distances of `left_out_distances`, which are calibrated on: at each
        position with `calibration` "position", over all with "prototype"; with "none" distances stay as they are.
        """
        distances = left_out_distances(support, views)
        calibrated = cls.calibrated(MemoryBank.of(support), distances, calibration)
        return calibrated, replace(support, taps=None, distances=distances)

    @classmethod
    def calibrated(cls, bank: MemoryBank, distances: Tensor, calibration: str) -> "CalibratedMemory":
        """Calibrate a bank on the distances [view, patch] of normal pictures to it."""
        everywhere = moments(distances.flatten())
        if calibration == "none":
            everywhere = torch.zeros_like(everywhere[0]), torch.ones_like(everywhere[1])
        here = position_moments(distances) if calibration == "position" else everywhere
        patch_mean, patch_std = (moment.view(-1) for moment in here)
        return cls(bank, patch_mean, patch_std, *everywhere)

    def image_term(self, distances: Tensor) -> Tensor:
        """Return the largest deviation [N] of N pictures' patch distances [N, patch]."""
        return ((distances - self.patch_mean) / self.patch_std).amax(1)

    def map_term(self, distances: Tensor) -> Tensor:
        """Return the deviations [N, patch] of patch distances [N, patch]."""
        return (distances - self.map_mean) / self.map_std


def left_out_distances(support: ImageFeatures, views: int) -> Tensor:
    """Return the distances [k * views, patch] of the support images' views to a bank that has not seen them.

    Each view is compared with those of its row in `strangers` alone.
    """
    assert support.taps is not None, "the features were encoded without taps"
    first, second = support.taps
    distances = []
    for number, others in enumerate(strangers(support, views)):
        bank = MemoryBank(first[others].flatten(0, 1), second[others].flatten(0, 1))
        own = slice(number, number + 1)
        asked = bank.ask(replace(support, taps=(first[own], second[own])))
        assert asked.distances is not None
        distances.append(asked.distances)
    return torch.cat(distances)


def strangers(support: ImageFeatures, views: int) -> Tensor:
    """Return which views (columns) a view (row) of the support images is strange to: [k * views, k * views].

    These are all views of the other support images, so a view's distance to them is that of a new good part. Where
    there is one image only, they are the half of its other views that is least like it: the likest are its
    near-duplicates, nearer than a new good part would be. Views are alike that look the same at the same places.
    """
    assert support.taps is not None, "the features were encoded without taps"
    count = len(support.class_token)
    image = torch.arange(count, device=support.class_token.device) // views
    others = image[:, None] != image
    if count > views:
        return others
    layers = [tap.flatten(1) for tap in support.taps]  # [view, patch * width]
    likeness = layers[0] @ layers[0].T + layers[1] @ layers[1].T  # [view, view]
    likeness = likeness.clone().fill_diagonal_(torch.inf)
    return others.scatter(1, likeness.argsort(1)[:, : count // 2], value=True)


def nearest_distances(patches: Tensor, rows: Tensor) -> Tensor:
    """Return half the cosine distance [N, patch] of unit patches [N, patch, width] to the nearest of unit rows."""
    step = max(1, MOST_COSINES // (patches.shape[1] * len(rows)))
    nearest = [(chunk @ rows.T).amax(2) for chunk in torch.split(patches, step)]
    return ((1 - torch.cat(nearest)) / 2).clamp_min(0)
