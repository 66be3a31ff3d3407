"""How far an image as a whole is from the support images."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from promptad.features import SupportFeatures

LEAST_LIMIT = 1e-4  # cosine distance; views of an image of one colour have none


@dataclass(frozen=True)
class SupportDistance:
    """The mean class token of the support images' views, and how far from it a new good image may be."""

    mean: Tensor  # [D], unit
    limit: Tensor  # [], cosine distance

    @classmethod
    def fit(cls, support: SupportFeatures, views: int) -> "SupportDistance":
        """Take the mean of all views, `views` of each tile, and let new images be as far as is known of any.

        Known is how far each image's views are from the others' mean, and all views from that of all; of one image
        alone, how far its far views are.
        """
        tokens = support.views.class_token
        mean = _mean_of(tokens)
        known = [_distance(tokens, mean)]
        images = torch.split(tokens, support.tiles * views)
        if len(images) > 1:
            for image, own in enumerate(images):
                known.append(_distance(own, _mean_of(torch.cat([*images[:image], *images[image + 1 :]]))))
        elif support.far_views is not None:
            known.append(_distance(support.far_views.class_token, mean))
        return cls(mean, torch.cat(known).max().clamp_min(LEAST_LIMIT))

    def of(self, class_token: Tensor) -> Tensor:
        """Return how far class tokens [N, D] are [N]: above 1 farther than a new good image may be."""
        return _distance(class_token, self.mean) / self.limit


def _distance(class_token: Tensor, mean: Tensor) -> Tensor:
    """Return the cosine distance of class tokens [N, D] to a mean [D]."""
    return 1 - class_token @ mean


def _mean_of(class_token: Tensor) -> Tensor:
    return F.normalize(class_token.mean(0), dim=0)
