"""Known defects: patches of pictures that people called defective. What looks like one of them is rejected.

Two signs are asked for, since neither is sure: a patch within a wide radius of a known defect, in a picture whose score
is suspicious, if not above the threshold. A patch that is nearly the same needs no score.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST, MOST = 3, 8  # patches that are taken from a picture
SHARE = 0.6  # of the distance to the nearest normal patch: within it, a patch is like the defect
SAME_SHARE = 0.2  # of it, within which a patch is nearly the same
NEARLY_SAME = 2 - SAME_SHARE / SHARE  # likeness of such a patch
OWN_NORMAL = 0.5  # share of a defective picture's patches that are normal: those with the lowest scores


@dataclass(frozen=True)
class KnownDefects:
    """Patch tokens of confirmed defects, and how near to each a patch is like it."""

    tokens: Tensor  # [token, D], unit
    radii: Tensor  # [token], cosine distances
    pictures: Tensor  # [token] int64, which defective picture each was taken from
    suspicious: Tensor  # [], the raw image score from which on wide radii count

    @classmethod
    def fit(cls, patch_tokens: Tensor, scores: Tensor, threshold: Tensor, normal: Tensor) -> "KnownDefects":
        """Take the most unusual patches of each defective picture: those above a threshold, from 3 to 8.

        Args:
            patch_tokens: [picture, patch, D] of the defective pictures.
            scores: [picture, patch], the detector's patch scores.
            threshold: [], of these scores.
            normal: [row, D], unit: patches that are known as normal.
        """
        tokens, radii, pictures = [], [], []
        for number, (own, of_patches) in enumerate(zip(patch_tokens, scores, strict=True)):
            order = of_patches.argsort(descending=True)
            count = min(max(int((of_patches > threshold).sum()), LEAST), MOST)
            taken, usual = own[order[:count]], own[order[round((1 - OWN_NORMAL) * len(order)) :]]
            nearest = (taken @ torch.cat([normal, usual]).T).amax(1)
            tokens.append(taken)
            radii.append(SHARE * (1 - nearest).clamp_min(0))
            pictures += [number] * len(taken)
        of = torch.tensor(pictures, device=patch_tokens.device)
        return cls(torch.cat(tokens), torch.cat(radii), of, torch.full_like(threshold, torch.inf))

    def likeness(self, patch_tokens: Tensor, image_scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return how like a known defect each patch of N images is [N, patch], and whose defect is likest [N].

        Patches [N, patch, D] are like one above 1, and the same patch has 2; of images whose raw scores [N] are not
        suspicious, only patches that are nearly the same are above 1.
        """
        distances = (1 - patch_tokens @ self.tokens.T).clamp_min(0)  # [N, patch, token]
        found = 2 - distances / self.radii.clamp_min(torch.finfo(self.radii.dtype).tiny)
        likeness = found.amax(2)
        counts = (image_scores > self.suspicious)[:, None] | (likeness > NEARLY_SAME)
        return torch.where(counts, likeness, likeness.clamp_max(1)), self.pictures[found.amax(1).argmax(1)]
