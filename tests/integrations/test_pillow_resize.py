"""The transform of the anomalib adapter resizes as Pillow does, itself and traced."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.tv_tensors import Mask

from promptad.data.squares import square_image
from promptad.integrations.pillow_resize import PillowResize, resize_in_torch

SIDE = 112
SIZES = [(200, 300), (300, 300), (64, 90), (112, 112), (112, 240)]  # heights and widths


def noise(height: int, width: int) -> Tensor:
    """An image [3, H, W] of whole grey levels."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, height, width), np.uint8)) / 255


def by_pillow(image: Tensor) -> Tensor:
    opened = Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy())
    return torch.from_numpy(np.array(square_image(opened, SIDE, SIDE))).permute(2, 0, 1) / 255


@pytest.mark.parametrize(("height", "width"), [*SIZES, (400, 60)])
def test_images_are_resized_by_pillow(height: int, width: int) -> None:
    image = noise(height, width)
    assert torch.equal(PillowResize(SIDE)(image), by_pillow(image))
    both = PillowResize(SIDE)(torch.stack([image, image.flip(-1)]))
    assert torch.equal(both, torch.stack([by_pillow(image), by_pillow(image.flip(-1))]))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_products_of_matrices_do_the_same(height: int, width: int) -> None:
    image = noise(height, width)
    levels = ((resize_in_torch(image, SIDE) - by_pillow(image)).abs() * 255).round()
    assert levels.max() <= 1  # where a value lies between two levels
    assert (levels > 0).float().mean() < 0.005


def test_a_traced_graph_takes_images_of_any_size() -> None:
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.resize = PillowResize(SIDE)

        def forward(self, images: Tensor) -> Tensor:
            resized: Tensor = self.resize(images)
            return resized

    sides = {2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    program = torch.export.export(Graph(), (torch.rand(1, 3, 150, 160),), dynamic_shapes=(sides,))
    image = noise(200, 300)
    levels = ((program.module()(image[None])[0] - by_pillow(image)).abs() * 255).round()
    assert levels.max() <= 1


def test_masks_keep_their_values() -> None:
    mask = Mask(torch.zeros(200, 300, dtype=torch.uint8))
    mask[50:150, 100:200] = 1
    resized = PillowResize(SIDE)(noise(200, 300), mask)[1]
    assert resized.shape == (SIDE, SIDE)
    assert set(resized.unique().tolist()) == {0, 1}
    assert resized.float().mean() == pytest.approx(100 * 100 / (200 * 300), rel=0.05)
