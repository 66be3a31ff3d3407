"""Prototypes: text features as directions, without the mean direction that all prompts of a class share."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Prototypes:
    """K normal and M abnormal unit directions, orthogonal to the mean direction of all."""

    normal: Tensor  # [K, D]
    abnormal: Tensor  # [M, D]
    mean_direction: Tensor  # [D], unit
    normal_share: Tensor  # [K], cosine of each raw text feature to the mean direction
    abnormal_share: Tensor  # [M]

    @classmethod
    def from_features(cls, normal: Tensor, pairs: Tensor) -> "Prototypes":
        """Build prototypes from the unit text features of normal prompts [K, D] and of abnormal ones [K, M, D].

        Abnormal prototype j is the mean direction of (i, j) over all i. The mean direction of the class is the unit
        mean of the mean normal and the mean abnormal feature: what is left without it separates normal from abnormal.
        """
        abnormal = F.normalize(pairs.mean(0), dim=-1)
        mean = F.normalize(normal.mean(0) + abnormal.mean(0), dim=-1)
        return cls(project_out(normal, mean), project_out(abnormal, mean), mean, normal @ mean, abnormal @ mean)

    def raw_normal(self) -> Tensor:
        """Return the normal text features [K, D] before the mean direction was projected out."""
        return _add_back(self.normal, self.normal_share, self.mean_direction)

    def raw_abnormal(self) -> Tensor:
        """Return the abnormal text features [M, D] before the mean direction was projected out."""
        return _add_back(self.abnormal, self.abnormal_share, self.mean_direction)

    def detach(self) -> "Prototypes":
        """Return the same prototypes, detached from the graph they were computed in."""
        return Prototypes(*(getattr(self, name).detach().clone() for name in self.__dataclass_fields__))


def project_out(features: Tensor, direction: Tensor) -> Tensor:
    """Return unit features [..., D] with their share of the unit `direction` [D] projected out, as unit directions."""
    return F.normalize(features - (features @ direction)[..., None] * direction, dim=-1)


def _add_back(directions: Tensor, share: Tensor, mean: Tensor) -> Tensor:
    return share[:, None] * mean + torch.sqrt((1 - share.square()).clamp_min(0))[:, None] * directions
