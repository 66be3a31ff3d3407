"""Prototypes: text features as directions, without the part that all prompts of a class share."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Prototypes:
    """K normal and M abnormal unit directions, orthogonal to the class centre."""

    normal: Tensor  # [K, D]
    abnormal: Tensor  # [M, D]
    centre: Tensor  # [D], unit
    normal_share: Tensor  # [K], cosine of each raw text feature to the centre
    abnormal_share: Tensor  # [M]

    @classmethod
    def from_features(cls, normal: Tensor, pairs: Tensor) -> "Prototypes":
        """Build prototypes from the unit text features of normal prompts [K, D] and of abnormal ones [K, M, D].

        Abnormal prototype j is the mean direction of (i, j) over all i. The centre is the unit mean of the mean
        normal and the mean abnormal feature: what is left without it tells normal from abnormal.
        """
        abnormal = F.normalize(pairs.mean(0), dim=-1)
        centre = F.normalize(normal.mean(0) + abnormal.mean(0), dim=-1)
        return cls(
            without_centre(normal, centre), without_centre(abnormal, centre), centre, normal @ centre, abnormal @ centre
        )

    def raw_normal(self) -> Tensor:
        """Return the normal text features [K, D] before the centre was removed."""
        return _with_centre(self.normal, self.normal_share, self.centre)

    def raw_abnormal(self) -> Tensor:
        """Return the abnormal text features [M, D] before the centre was removed."""
        return _with_centre(self.abnormal, self.abnormal_share, self.centre)

    def detach(self) -> "Prototypes":
        """Return the same prototypes, cut from the graph they were computed in."""
        return Prototypes(*(getattr(self, name).detach().clone() for name in self.__dataclass_fields__))


def without_centre(features: Tensor, centre: Tensor) -> Tensor:
    """Return unit features [..., D] with their share of the unit `centre` [D] projected out, as unit directions."""
    return F.normalize(features - (features @ centre)[..., None] * centre, dim=-1)


def _with_centre(directions: Tensor, share: Tensor, centre: Tensor) -> Tensor:
    return share[:, None] * centre + torch.sqrt((1 - share.square()).clamp_min(0))[:, None] * directions
