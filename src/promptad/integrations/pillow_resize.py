"""Pillow's bicubic resizing as a transform of torchvision: by Pillow itself, or in operations that can be exported."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, Resize
from torchvision.tv_tensors import Mask

from promptad.data.squares import square_image

REACH = 2.0  # of the cubic kernel, in pixels of the smaller side
SHARPNESS = -0.5  # the kernel's `a`: Pillow's


class PillowResize(Resize):
    """Resizes images [..., 3, H, W] of floats in [0, 1], of 8 bits, to squares as Pillow does; masks as torchvision.

    Pillow rounds to whole grey levels after each direction, which torchvision does not. While a graph is traced, rows
    are resized first, then columns; Pillow itself begins with the columns of images much higher than wide.
    """

    def __init__(self, side: int) -> None:
        super().__init__((side, side), interpolation=InterpolationMode.BICUBIC, antialias=True)
        self.side = side

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Return images, or masks, resized; images that have the size stay as they are."""
        if isinstance(inpt, Mask):
            return super().transform(inpt, params)
        if torch.compiler.is_compiling():
            return resize_in_torch(inpt, self.side)
        return inpt if inpt.shape[-2:] == (self.side, self.side) else resize_by_pillow(inpt, self.side)


def resize_by_pillow(images: Tensor, side: int) -> Tensor:
    """Resize images [..., 3, H, W] to [..., 3, side, side] by Pillow itself."""
    plain = images.as_subclass(Tensor)
    levels = (plain * 255).round().to("cpu", torch.uint8).reshape(-1, *plain.shape[-3:]).permute(0, 2, 3, 1).numpy()
    squares = np.stack([np.asarray(square_image(Image.fromarray(one), side, side)) for one in levels])
    resized = torch.from_numpy(squares).permute(0, 3, 1, 2).reshape(*plain.shape[:-2], side, side)
    return resized.to(plain.device) / 255


def resize_in_torch(images: Tensor, side: int) -> Tensor:
    """Resize images [..., H, W] to [..., side, side] as Pillow does, by products of matrices."""
    levels = (images * 255).round()
    across = _whole_levels(levels @ _weights(levels[..., 0, :], side).transpose(0, 1))
    return _whole_levels(_weights(levels[..., 0], side) @ across) / 255


def _whole_levels(levels: Tensor) -> Tensor:
    return (levels + 0.5).floor().clamp(0, 255)


def _weights(line: Tensor, side: int) -> Tensor:
    """Return what each pixel of a line [..., N] counts in each of its resized pixels [side, N]."""
    places = torch.ones_like(line.reshape(-1, line.shape[-1])[0]).cumsum(0) - 0.5  # [N], the pixels' centres
    scale = (places[-1:] + 0.5) / side  # a tensor: N is not known while a graph is traced
    centres = (torch.arange(side, device=line.device, dtype=line.dtype) + 0.5) * scale  # [side]
    weights = _cubic((places - centres[:, None]) / scale.clamp(min=1))
    return weights / weights.sum(1, keepdim=True)


def _cubic(distance: Tensor) -> Tensor:
    """Return the cubic convolution kernel (Keys, 1981) at distances; it is 0 from `REACH` on."""
    x, a = distance.abs().clamp(max=REACH), SHARPNESS
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, far)
