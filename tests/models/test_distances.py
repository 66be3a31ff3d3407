"""The distances of patches to the rows of a memory bank, against references written with loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from promptad.models import distances
from promptad.models.distances import DISTANCES, RIDGE, VARIANCE, distances_to
from promptad.settings import MEMORY_DISTANCES

PATCHES, WIDTH = 4, 6


def random_units(*shape: int, seed: int, width: int = WIDTH) -> Tensor:
    return F.normalize(torch.randn(*shape, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


def measured(name: str, patches: Tensor, rows: Tensor) -> Tensor:
    return distances_to(rows, patches, (name,)).squeeze(0)


def test_the_settings_know_all_distances() -> None:
    assert tuple(DISTANCES) == MEMORY_DISTANCES


@pytest.mark.parametrize("name", DISTANCES)
def test_images_are_measured_each_by_itself_whatever_is_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patches, rows = random_units(5, PATCHES, seed=1), random_units(9, seed=2)
    at_once = measured(name, patches, rows)
    assert at_once.shape == (5, PATCHES)
    assert (at_once >= 0).all()
    assert (at_once <= 1).all()
    monkeypatch.setattr(distances, "MAX_COSINES", 2 * PATCHES * len(rows))
    torch.testing.assert_close(measured(name, patches, rows), at_once)
    torch.testing.assert_close(measured(name, patches[3:4], rows), at_once[3:4])


def test_nearest_distances_equal_their_reference() -> None:
    patches, rows = random_units(2, PATCHES, seed=1), random_units(9, seed=2)
    expected = [[min((1 - float(patch @ row)) / 2 for row in rows) for patch in image] for image in patches]
    torch.testing.assert_close(measured("nearest", patches, rows), torch.tensor(expected))


def test_soft_distances_equal_their_reference() -> None:
    patches, rows = random_units(2, PATCHES, seed=1), random_units(9, seed=2)
    found = measured("soft", patches, rows)
    nearest = [[sorted((1 - float(patch @ row)) / 2 for row in rows)[:5] for patch in image] for image in patches]
    for image in range(2):
        middle = float(torch.tensor(nearest[image]).median())
        for patch in range(PATCHES):
            weights = [math.exp(-distance / middle) for distance in nearest[image][patch]]
            mean = sum(w * d for w, d in zip(weights, nearest[image][patch], strict=True)) / sum(weights)
            assert float(found[image, patch]) == pytest.approx(mean, rel=1e-5)
    assert measured("soft", patches, rows[:2]).shape == (2, PATCHES)
    assert (found >= measured("nearest", patches, rows)).all()


def test_refined_distances_equal_their_reference() -> None:
    patches, rows = random_units(2, 30, seed=1), random_units(9, seed=2)
    found = measured("refined", patches, rows)
    for image, of_patches in zip(patches.double(), found, strict=True):
        products = image @ image.T + RIDGE * 30 * torch.eye(30, dtype=torch.float64)
        made = [torch.linalg.solve(products, image @ row) @ image for row in rows.double()]
        refined = [row / math.sqrt(float(row @ row)) for row in made]
        expected = [min((1 - float(patch @ row)) / 2 for row in refined) for patch in image]
        assert of_patches.tolist() == pytest.approx(expected, abs=1e-5)


def test_refined_rows_lose_the_light_of_their_image_and_a_defect_stays_far() -> None:
    """What all rows have and no patch shows is forgiven, and what one patch shows and no row has is not."""
    generator = torch.Generator().manual_seed(3)
    contents = torch.randn(60, 5, generator=generator) @ torch.randn(5, 32, generator=generator)
    light, defect = 4 * random_units(2, seed=4, width=32)
    rows, seen = F.normalize(contents + light, dim=1), F.normalize(contents[:40] + light * 0.1, dim=1)
    seen[0] = F.normalize(contents[0] + defect, dim=0)
    near, refined = distances_to(rows, seen[None], ("nearest", "refined"))[:, 0]
    assert float(refined[1:].mean()) < 0.3 * float(near[1:].mean())
    assert float(refined[0] / refined[1:].mean()) > 2 * float(near[0] / near[1:].mean())


def test_subspace_distances_equal_their_reference() -> None:
    generator = torch.Generator().manual_seed(5)
    rows = F.normalize(torch.randn(200, 3, generator=generator) @ torch.randn(3, WIDTH, generator=generator), dim=1)
    patches = random_units(2, PATCHES, seed=1)
    _, spread, directions = torch.linalg.svd(rows)
    kept = [d for n, d in enumerate(directions) if n == 0 or float((spread[:n] ** 2).sum()) < VARIANCE * 200]
    assert len(kept) <= 3
    expected = [[(1 - sum(float(patch @ d) ** 2 for d in kept)) / 2 for patch in image] for image in patches]
    torch.testing.assert_close(measured("subspace", patches, rows), torch.tensor(expected), rtol=1e-4, atol=1e-5)
    assert float(measured("subspace", rows[None], rows).mean()) < 0.01


def test_an_inverse_by_products_alone_equals_the_solver() -> None:
    for count in (1, 7, 200):
        patches = random_units(3, count, seed=count, width=24)
        products = patches @ patches.transpose(1, 2)
        ridge = RIDGE * count
        expected = torch.linalg.inv((products + ridge * torch.eye(count)).double()).float()
        torch.testing.assert_close(distances._inverse(products, ridge), expected, rtol=1e-4, atol=1e-4 / ridge)
