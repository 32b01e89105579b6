from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ganctl.errors import GanctlError
from ganctl.metrics.memorisation import EXPECTED_SHARE, Memorisation, memorisation, pairs_figure, to_training


def draw(n: int, seed: int) -> Tensor:
    """Fresh "images" (n, 1, 4, 4) uint8 of one distribution."""
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(n, 1, 4, 4, generator=g) * 40 + 128).clamp(0, 255).to(torch.uint8)


TRAIN, TEST = draw(400, 0), draw(1000, 1)


def compared(fake: Tensor, train: Tensor, test: Tensor, pairs: int = 16) -> Memorisation:
    return memorisation(fake, train, to_training(test, train), pairs)


def test_copies_are_all_found() -> None:
    found = compared(TRAIN[100:250], TRAIN, TEST, pairs=5)
    assert found.share_close == 1
    assert found.median_ratio == 0
    assert found.distances.tolist() == [0.0] * 5
    assert found.fake_index.tolist() == [0, 1, 2, 3, 4]
    assert found.train_index.tolist() == [100, 101, 102, 103, 104]


def test_fresh_draws_give_the_expected_share() -> None:
    found = compared(draw(2000, 2), TRAIN, TEST)
    # three standard errors of a share of 1 % between 1 000 and 2 000 images
    assert found.share_close == pytest.approx(EXPECTED_SHARE, abs=0.0116)
    assert found.share_close > 0
    assert found.median_ratio == pytest.approx(1, abs=0.03)
    assert compared(TEST, TRAIN, TEST).share_close == pytest.approx(EXPECTED_SHARE, abs=1e-3)
    assert compared(TEST, TRAIN, TEST).median_ratio == 1


def test_a_tenth_of_near_copies_among_fresh_draws() -> None:
    nudged = TRAIN[:30].clone()
    nudged[:, 0, 0, 0] ^= 1  # one grey level in one pixel
    fakes = torch.cat([draw(270, 3), nudged])
    found = compared(fakes, TRAIN, TEST, pairs=30)
    assert found.share_close == pytest.approx(0.1 + 0.9 * EXPECTED_SHARE, abs=0.015)
    assert sorted(found.fake_index.tolist()) == list(range(270, 300))
    assert torch.equal(found.train_index, found.fake_index - 270)
    assert found.distances.tolist() == [1.0] * 30


def test_distances_by_hand_in_a_feature_space() -> None:
    train, test = torch.tensor([[0.0, 0.0], [10.0, 0.0]]), torch.tensor([[0.0, 2.0], [10.0, 4.0], [4.0, 0.0]])
    found = compared(torch.tensor([[9.0, 0.0], [0.0, 6.0], [0.0, 0.5]]), train, test, pairs=2)
    assert found.median_ratio == 1 / 4
    assert found.share_close == pytest.approx(2 / 3)  # the limit is 2.04
    assert found.distances.tolist() == [0.5, 1.0]
    assert (found.fake_index.tolist(), found.train_index.tolist()) == ([2, 0], [0, 1])
    # Not symmetric: with the sides changed, other distances.
    assert compared(test, train, torch.tensor([[9.0, 0.0]]), pairs=2).median_ratio == 4


def test_copies_are_found_even_where_the_test_set_has_some() -> None:
    test = torch.cat([TEST[:90], TRAIN[:10]])
    assert compared(TRAIN[50:80], TRAIN, test).share_close == 1
    with pytest.raises(GanctlError, match="no measure of copying"):
        compared(TEST, TRAIN, TRAIN[:20])


def test_progress_and_wrong_shapes() -> None:
    done: list[int] = []
    distances = to_training(TEST[:20], TRAIN, done.append)
    memorisation(TEST[:30], TRAIN, distances, on_rows=done.append)
    assert sum(done) == 50
    with pytest.raises(ValueError, match="points must be"):
        compared(TEST[:, :, :2], TRAIN, TEST)
    with pytest.raises(ValueError, match="points must be"):
        to_training(TEST[:, :, :2], TRAIN)


def test_pairs_stand_side_by_side() -> None:
    fakes, reals = torch.full((3, 1, 8, 8), 200, dtype=torch.uint8), torch.full((3, 1, 8, 8), 90)
    reals = reals.to(torch.uint8)
    picture = pairs_figure(fakes, reals, columns=2, scale=3)
    assert picture.mode == "L"
    assert picture.width == 3 * (4 * 10 + 2)
    bottom = picture.height - 3 * (10 + 2)  # the second row of images
    middles = [picture.getpixel((3 * (2 + 10 * i + 4), bottom + 15)) for i in range(4)]
    assert middles == [200, 90, 0, 0]
    colour = pairs_figure(fakes.repeat(1, 3, 1, 1), reals.repeat(1, 3, 1, 1))
    assert colour.mode == "RGB"
    assert colour.width == 2 * (6 * 10 + 2)  # no empty columns
    with pytest.raises(ValueError, match="must match"):
        pairs_figure(fakes, reals[:2])
