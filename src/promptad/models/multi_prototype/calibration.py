"""Calibration: mean and std of the margins of normal images, which turn margins of new images into z-scores."""

from dataclasses import dataclass

import torch
from torch import Tensor

from promptad.features import ImageFeatures
from promptad.models.multi_prototype.assignment import balancing_bias
from promptad.models.multi_prototype.prototypes import Prototypes
from promptad.models.multi_prototype.similarities import margins, normal_similarities
from promptad.models.normal_stats import mean_and_std, position_mean_and_std


@dataclass(frozen=True)
class Calibration:
    """Mean and std of the margins of normal images, from label-free views of the support images only."""

    normal_bias: Tensor  # [K], subtracted from normal similarities so that each prototype gets its share of the patches
    class_mean: Tensor  # [M], of the class token's margins
    class_std: Tensor  # [M]
    patch_mean: Tensor  # [side * side or 1, M], of the patch tokens' margins, for the image score
    patch_std: Tensor  # [side * side or 1, M]
    map_mean: Tensor  # [M], the same over all positions, for the anomaly map
    map_std: Tensor  # [M]


def calibrate(
    support: ImageFeatures, prototypes: Prototypes, calibration: str, bias: Tensor | None = None
) -> Calibration:
    """Calibrate the margins on the features of the support images' views.

    Args:
        support: features of the views.
        prototypes: the prototypes of the margins.
        calibration: with "position", patch margins are calibrated at each patch position, as PaDiM (Defard et al.,
            2021) models features, but on M numbers a position; with "prototype", over all positions; with "none",
            cosines are taken as they are.
        bias: [K], balances the normal prototypes on these patches; None computes it.
    """
    if bias is None:
        bias = balancing_bias(normal_similarities(support.patch_tokens, prototypes).flatten(0, 1))
    class_margins = margins(support.class_token, prototypes, bias)  # [view, M]
    patch_margins = margins(support.patch_tokens, prototypes, bias)  # [view, patch, M]
    everywhere = mean_and_std(patch_margins.flatten(0, 1))
    if calibration == "none":
        unchanged = torch.zeros_like(everywhere[0]), torch.ones_like(everywhere[1])
        return Calibration(bias, *unchanged, unchanged[0][None], unchanged[1][None], *unchanged)
    here = position_mean_and_std(patch_margins) if calibration == "position" else everywhere
    patch_mean, patch_std = (number.view(-1, len(prototypes.abnormal)) for number in here)
    return Calibration(bias, *mean_and_std(class_margins), patch_mean, patch_std, *everywhere)
