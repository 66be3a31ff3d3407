"""Features of images, as an image encoder returns them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from promptad.structures import Look

DISTURBED_SHARE = 0.25  # of a patch, above which it should react
MOST_ROWS = 2**15  # of a memory bank of tiles, or of finer patches than the tokens: more would make it slower
FIRST = 7  # patches that the first one kept moves by from tile to tile


@dataclass(frozen=True)
class ImageFeatures:
    """Features of N images: unit vectors in the space that images and texts share."""

    class_token: Tensor  # [N, D]
    patch_tokens: Tensor  # [N, side * side, D], row by row
    layers: tuple[Tensor, ...] = ()  # [N, patch, width] each, unit, for a memory bank: of these or other patches
    distances: Tensor | None = None  # [N, patch], of the layers' patches to the nearest ones of a memory bank

    def map(self, change: Callable[[Tensor], Tensor]) -> "ImageFeatures":
        """Return the features with the same change made to every tensor."""
        return ImageFeatures(
            change(self.class_token),
            change(self.patch_tokens),
            tuple(change(layer) for layer in self.layers),
            None if self.distances is None else change(self.distances),
        )

    @classmethod
    def joined(cls, parts: Sequence["ImageFeatures"]) -> "ImageFeatures":
        """Return the features of all images of some parts; all or none of these hold memory-bank distances."""
        if len(parts) == 1:
            return parts[0]
        distances = [part.distances for part in parts if part.distances is not None]
        return cls(
            torch.cat([part.class_token for part in parts]),
            torch.cat([part.patch_tokens for part in parts]),
            tuple(torch.cat(same_layer) for same_layer in zip(*(part.layers for part in parts), strict=True)),
            torch.cat(distances) if distances else None,
        )

    def rows(self, chosen: Tensor | slice) -> "ImageFeatures":
        """Return the features of some of the images."""
        return self.map(lambda tensor: tensor[chosen])


@dataclass(frozen=True)
class DisturbedFeatures:
    """Features of views of the support images with a local disturbance each: all views in turn, once or more often."""

    images: ImageFeatures
    share: Tensor  # [N, side * side], of each patch that is disturbed

    @property
    def places(self) -> Tensor:
        """Which patches are disturbed [N, side * side]: more than a quarter of each."""
        return self.share > DISTURBED_SHARE

    def views_of(self, count: int) -> Tensor:
        """Return which of `count` views each of the N was made from [N]."""
        return torch.arange(len(self.share), device=self.share.device) % count


@dataclass(frozen=True)
class SupportFeatures:
    """All that is known of the support images: features of their views, and of others if these are needed."""

    views: ImageFeatures  # those of the first support image, then those of the second one …; of an image tile by tile
    far_views: ImageFeatures | None = None  # as many that differ more; nothing is learned from them
    disturbed: DisturbedFeatures | None = None  # to learn from
    probes: DisturbedFeatures | None = None  # nothing is learned from them: they tell what a term can tell
    far_views_banked: bool = True  # whether a memory bank holds the far views, too
    is_only_image: bool = False  # whether there is one support image alone
    looks: tuple[Look, ...] = ()  # of the images themselves
    tiles: int = 1  # that each image is cut into
    step: int = 1  # prompts are learned from every so many of the views, and these are disturbed

    @property
    def learned(self) -> ImageFeatures:
        """The features of the views that prompts are learned from, which are disturbed in turn."""
        return self.views if self.step == 1 else self.views.rows(slice(None, None, self.step))

    @property
    def normal(self) -> ImageFeatures:
        """The features that normal scores are calibrated on: the views, and those far ones of an only image.

        Its views are all alike, and one image cannot show how much others differ from it.
        """
        if not self.is_only_image or self.far_views is None:
            return self.views
        return ImageFeatures.joined([self.views, self.far_views])

    @property
    def banked(self) -> ImageFeatures:
        """The features for a memory bank: the views, then the far views if it holds them.

        Of many tiles, or of a second encoder's finer patches, some are left out: the same in all views of a tile.
        """
        banked = self.views
        if self.far_views is not None and self.far_views_banked:
            banked = ImageFeatures.joined([self.views, self.far_views])
        kept, tokens = MOST_ROWS // len(banked.class_token), banked.patch_tokens.shape[1]
        patches = max((layer.shape[1] for layer in banked.layers), default=tokens)
        if kept >= patches or (self.tiles == 1 and patches <= tokens):
            return banked
        return replace(banked, layers=tuple(self._thinned(layer, max(kept, 1)) for layer in banked.layers))

    def _thinned(self, layer: Tensor, kept: int) -> Tensor:
        """Keep some patches of each row of a layer [N, patch, width], at even steps; the tile says where they begin."""
        count, patches, width = layer.shape
        views = len(self.views.class_token)
        tile = torch.arange(count, device=layer.device) % views * self.tiles // views
        even = torch.linspace(0, patches - 1, kept, device=layer.device).round().long()
        chosen = (even + FIRST * tile[:, None]) % patches
        return layer.gather(1, chosen[..., None].expand(-1, -1, width))
