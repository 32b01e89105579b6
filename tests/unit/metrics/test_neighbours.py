from __future__ import annotations

import pytest
import torch

from ganctl.errors import GanctlError
from ganctl.metrics import neighbours

LINE = torch.tensor([[0.0], [1.0], [3.0], [7.0]])


@pytest.fixture(params=["one block", "many blocks"])
def _cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "many blocks":
        monkeypatch.setattr(neighbours, "MAX_ROWS", 3)


def points(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + 10


def test_blocks_are_bounded_in_rows_and_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [part.shape for _, part in neighbours.blocks(torch.zeros(5000, 2))] == [(2048, 2)] * 2 + [(904, 2)]
    monkeypatch.setattr(neighbours, "MAX_NUMBERS", 20)
    sizes = [(rows.stop - rows.start, len(part)) for rows, part in neighbours.blocks(torch.zeros(7, 9))]
    assert sizes == [(2, 2), (2, 2), (2, 2), (1, 1)]
    assert [len(part) for _, part in neighbours.blocks(torch.zeros(2, 50))] == [1, 1]


@pytest.mark.usefixtures("_cut")
def test_radii_by_hand() -> None:
    assert neighbours.radii(LINE, 1).tolist() == [1, 1, 4, 16]
    assert neighbours.radii(LINE, 2).tolist() == [9, 4, 9, 36]
    assert neighbours.radii(LINE, 3).tolist() == [49, 36, 16, 49]
    with pytest.raises(ValueError, match="at least 5 points"):
        neighbours.radii(LINE, 4)


@pytest.mark.usefixtures("_cut")
def test_radii_equal_the_sorted_distances() -> None:
    x = points(17, 5, 0)
    done: list[int] = []
    found = neighbours.radii(x, 4, done.append)
    expected = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.allclose(found.sqrt(), expected.sort(dim=1).values[:, 4], rtol=1e-12)
    assert sum(done) == 17


@pytest.mark.usefixtures("_cut")
def test_nearest_by_hand_and_against_cdist() -> None:
    distances, index = neighbours.nearest(torch.tensor([[2.5], [-4.0], [7.0], [0.5]]), LINE)
    assert distances.tolist() == [0.5, 4.0, 0.0, 0.5]
    assert index.tolist() == [2, 0, 3, 0]  # the first of two
    x, y = points(11, 6, 1), points(20, 6, 2)
    expected = torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)
    distances, index = neighbours.nearest(x, y)
    assert torch.allclose(distances, expected.values, rtol=1e-12)
    assert torch.equal(index, expected.indices)


def test_a_copy_is_at_distance_nought_and_pixels_are_exact() -> None:
    x = 1000 + points(50, 300, 3)
    assert neighbours.nearest(x, x)[0].tolist() == [0.0] * 50
    pixels = torch.randint(0, 256, (2, 3000), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    exact = (pixels[0].long() - pixels[1].long()).square().sum()
    assert exact > 2**24  # more than float32 counts
    assert neighbours.squared_distances(*(p[None].double() for p in pixels)).item() == exact


def test_points_that_cannot_be_compared() -> None:
    for x, y in ((LINE, torch.zeros(3, 2)), (LINE[:0], LINE), (LINE, LINE[:0]), (LINE[0], LINE)):
        with pytest.raises(ValueError, match="points must be"):
            neighbours.nearest(x, y)
    for bad in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(GanctlError, match="not finite"):
            neighbours.nearest(LINE, torch.tensor([[0.0], [bad]]))
