"""Likeness: is it the part at all? A picture of something else is no good part, however few defects it shows.

A part is made of certain things to see, and an image of it shows nearly all of them. What is measured is how much of
them an image lacks, not what it shows beside them, which may be a defect.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from promptad.features import SupportFeatures

SAMPLES = 32  # patches of the support images that stand for all
SLACK = 2.0  # times as much as views of the support images lack is still the part
SAME = 1e-5  # cosine distance below which patches are of the same picture
LEAST_LIMIT = 1e-3  # cosine distance; views without any texture lack nothing of each other


@dataclass(frozen=True)
class Likeness:
    """Patch tokens that an image of the part should show, and how much of them it may lack."""

    samples: Tensor  # [sample, D], unit: of patches of the support images, at even steps
    limit: Tensor  # [], the mean cosine distance to them

    @classmethod
    def fit(cls, support: SupportFeatures, views: int) -> "Likeness":
        """Take samples of the support images, `views` of each tile, and let new images lack more than is known of any.

        Known is what each image's views lack of the others', and what disturbed views lack; of one image alone, what
        far views lack of it. What tiles lack of the whole image is known, too.
        """
        tokens, tiles = support.views.patch_tokens, support.tiles
        firsts = tokens[::views]  # the images themselves
        samples = _samples(firsts)
        known = [_lacking(tokens, samples)]
        if support.disturbed is not None:
            known.append(_lacking(support.disturbed.images.patch_tokens, samples))
        if len(firsts) > tiles:
            for image, own in enumerate(torch.split(tokens, tiles * views)):
                others = torch.cat([firsts[: image * tiles], firsts[(image + 1) * tiles :]])
                known.append(_lacking(own, _samples(others)))
        elif support.far_views is not None:
            known.append(_lacking(support.far_views.patch_tokens, samples))
        return cls(samples, (SLACK * torch.cat(known).max()).clamp_min(LEAST_LIMIT))

    def including(self, patch_tokens: Tensor) -> "Likeness":
        """Return the likeness that images [N, patch, D] have, too, whatever they lack."""
        return Likeness(self.samples, torch.maximum(self.limit, _lacking(patch_tokens, self.samples).amax()))

    def is_support_image(self, patch_tokens: Tensor, images: int) -> Tensor:
        """Return which of N images with patch tokens [N, patch, D] are one of the `images` support images [N]."""
        image = _places(images * patch_tokens.shape[1], patch_tokens.device) // patch_tokens.shape[1]
        shown = (patch_tokens @ self.samples.T).amax(1) > 1 - SAME  # [N, sample]
        return torch.stack([shown[:, image == number].all(1) for number in sorted(set(image.tolist()))]).any(0)

    def lack(self, patch_tokens: Tensor) -> Tensor:
        """Return how much N images with patch tokens [N, patch, D] lack of the part [N]: above 1 they are unlike it."""
        return _lacking(patch_tokens, self.samples) / self.limit


def _lacking(patch_tokens: Tensor, samples: Tensor) -> Tensor:
    """Return the mean over samples [sample, D] of their cosine distance to the nearest of N images' patches [N]."""
    return 1 - (patch_tokens @ samples.T).amax(1).mean(1)


def _samples(patch_tokens: Tensor) -> Tensor:
    """Return patches [sample, D] at even steps through all of some images' [N, patch, D]."""
    tokens = patch_tokens.flatten(0, 1)
    return tokens[_places(len(tokens), tokens.device)].clone()


def _places(count: int, device: torch.device) -> Tensor:
    """Return which of `count` patches are samples [sample]."""
    return torch.linspace(0, count - 1, SAMPLES, device=device).round().long()
