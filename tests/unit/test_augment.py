"""The transforms against numbers worked out by hand, and the probability that follows the overfitting."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ganctl.augment import (
    AdaptiveAugment,
    DiffAugment,
    augmented,
    coloured,
    cut_out,
    flipped,
    transformed,
    translated,
)


def pictures(n: int, channels: int = 3, side: int = 8) -> Tensor:
    """In [-1, 1], no pixel 0."""
    x = torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return x + 1e-3 * (x == 0)


def draws(*pairs: tuple[int, float], rest: float = 0.99) -> Tensor:
    """(1, 12): what is drawn at some places; 0.99 at the others applies no transform."""
    u = torch.full((1, 12), rest)
    for place, value in pairs:
        u[0, place] = value
    return u


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("p", [0.0, torch.tensor(0.0)], ids=["number", "tensor"])
def test_at_probability_0_nothing_changes_at_all(p: float | Tensor, channels: int) -> None:
    x = pictures(200, channels)
    assert torch.equal(augmented(x, p), x)


@pytest.mark.parametrize("channels", [1, 3])
def test_at_probability_1_every_image_changes(channels: int) -> None:
    x = pictures(500, channels, side=28)
    seen = augmented(x, 1.0)
    assert seen.shape == x.shape
    assert seen.isfinite().all()
    assert int((seen != x).flatten(1).any(1).sum()) == 500
    # brightness goes to ±1.5, saturation to twice and contrast to half as much again from there
    assert seen.abs().max() <= 1.5 * (1 if channels == 1 else 3) * 2
    assert seen.abs().max() > 1.1
    torch.manual_seed(5)
    once = DiffAugment()(x)
    torch.manual_seed(5)
    assert torch.equal(once, augmented(x, 1.0))
    assert not torch.equal(once, augmented(x, 1.0))


def test_how_much_is_drawn_does_not_depend_on_the_probability() -> None:
    following = []
    for p in (0.0, 0.5, 1.0):
        torch.manual_seed(0)
        augmented(pictures(4), p)
        following.append(torch.rand(3))
    assert torch.equal(following[0], following[1])
    assert torch.equal(following[0], following[2])


@pytest.mark.parametrize("transform", range(5))
def test_each_transform_has_a_chance_of_its_own(transform: int) -> None:
    x = pictures(1)
    amounts = [(5 + k, 0.1) for k in range(7)]
    none = transformed(x, draws(*amounts), 0.3)
    below = transformed(x, draws(*amounts, (transform, 0.29)), 0.3)
    above = transformed(x, draws(*amounts, (transform, 0.31)), 0.3)
    assert torch.equal(none, x)
    assert torch.equal(above, x)
    assert not torch.equal(below, x)


def test_colours_by_hand() -> None:
    # two pixels: (0.2, -0.1, 0.5) and (0, 0, 0.6)
    x = torch.tensor([[0.2, 0.0], [-0.1, 0.0], [0.5, 0.6]]).view(1, 3, 1, 2)
    one, two, half = torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([0.5])

    def seen(b: Tensor, s: Tensor, c: Tensor) -> list[float]:
        return coloured(x, b, s, c).flatten().tolist()

    nothing = torch.tensor([0.0])
    assert seen(nothing, one, one) == pytest.approx([0.2, 0, -0.1, 0, 0.5, 0.6])
    assert seen(torch.tensor([0.1]), one, one) == pytest.approx([0.3, 0.1, 0, 0.1, 0.6, 0.7])
    # greys 0.2 and 0.2: twice as far from them
    assert seen(nothing, two, one) == pytest.approx([0.2, -0.2, -0.4, -0.2, 0.8, 1.0])
    assert seen(nothing, nothing, one) == pytest.approx([0.2] * 6)
    # the mean of all six is 0.2: half as far from it
    assert seen(nothing, one, half) == pytest.approx([0.2, 0.1, 0.05, 0.1, 0.35, 0.4])
    grey = pictures(2, channels=1)
    assert torch.equal(coloured(grey, torch.zeros(2), torch.tensor([0.0, 2.0]), torch.ones(2)), grey)


@pytest.mark.parametrize(
    ("transform", "amount", "low", "high"),
    [
        (0, 5, lambda x: x - 0.5, lambda x: x + 0.5),
        (1, 6, lambda x: x.mean(1, keepdim=True).expand_as(x), lambda x: 2 * x - x.mean(1, keepdim=True)),
        (2, 7, lambda x: (x + x.mean()) / 2, lambda x: 1.5 * x - 0.5 * x.mean()),
    ],
    ids=["brightness", "saturation", "contrast"],
)
def test_how_far_colours_go(transform: int, amount: int, low: object, high: object) -> None:
    x = pictures(1)
    for drawn, expected in ((0.0, low), (1.0, high)):
        found = transformed(x, draws((transform, 0.0), (amount, drawn)), 0.5)
        torch.testing.assert_close(found, expected(x), atol=1e-6, rtol=1e-5)  # type: ignore[operator]


def test_translation_moves_by_whole_pixels_and_fills_with_grey() -> None:
    x = pictures(4)
    moved = translated(x, torch.tensor([2, -3, 0, 0]), torch.tensor([1, 0, -2, 0]))
    expected = torch.zeros_like(x)
    expected[0, :, 2:, 1:] = x[0, :, :-2, :-1]
    expected[1, :, :-3] = x[1, :, 3:]
    expected[2, :, :, :-2] = x[2, :, :, 2:]
    expected[3] = x[3]
    assert torch.equal(moved, expected)


@pytest.mark.parametrize(("side", "farthest"), [(8, 1), (28, 4), (32, 4)])
def test_an_image_moves_at_most_an_eighth_of_its_side(side: int, farthest: int) -> None:
    x = torch.zeros(4000, 1, side, side)
    middle = side // 2
    x[:, :, middle, middle] = 1
    u = torch.rand(4000, 12, generator=torch.Generator().manual_seed(0))
    u[:, :3], u[:, 3], u[:, 4] = 1, 0, 1
    places = transformed(x, u, 0.5).squeeze(1).nonzero()[:, 1:] - middle
    shifts = 2 * farthest + 1
    for axis in places.T:
        counts = (axis + farthest).bincount(minlength=shifts)
        assert len(counts) == shifts
        assert (counts - 4000 / shifts).abs().max() < 5 * (4000 / shifts) ** 0.5
    assert len(places) == 4000


@pytest.mark.parametrize("side", [7, 8, 28])
def test_the_cutout_is_a_square_of_half_the_side(side: int) -> None:
    size = (side + 1) // 2
    x = torch.ones(3, 2, side, side)
    holed = cut_out(x, torch.tensor([1, -1, side]), torch.tensor([0, side - size + 2, 0]))
    expected = torch.ones_like(x)
    expected[0, :, 1 : 1 + size, :size] = 0
    expected[1, :, : size - 1, side - size + 2 :] = 0
    assert torch.equal(holed, expected)

    u = torch.rand(3000, 12, generator=torch.Generator().manual_seed(0))
    u[:, :4], u[:, 4] = 1, 0
    holes = 1 - transformed(torch.ones(3000, 1, side, side), u, 0.5)
    # its centre lies anywhere, so half of a side at least is inside
    heights = holes.squeeze(1).amax(2).sum(1)
    assert (heights.min(), heights.max()) == (size // 2, size)
    assert torch.equal(holes.flatten(1).sum(1), heights * holes.squeeze(1).amax(1).sum(1))
    # every pixel is sometimes cut out, and sometimes not
    assert 0 < holes.mean(0).min() < holes.mean(0).max() < 1


def test_gradients_pass_through_and_once_more() -> None:
    u = torch.rand(2, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x = pictures(2, side=4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: transformed(x, u, 1.0), x)
    assert torch.autograd.gradgradcheck(lambda x: transformed(x, u, 1.0).pow(3), x)


def test_half_of_the_images_are_mirrored() -> None:
    x = pictures(2000, 1, 4)
    torch.manual_seed(0)
    seen = flipped(x)
    mirrored = (seen == x.flip(3)).flatten(1).all(1)
    assert torch.equal(mirrored, ~(seen == x).flatten(1).all(1))
    assert abs(int(mirrored.sum()) - 1000) < 5 * 500**0.5


# -- the probability ---------------------------------------------------------------------------------------


def after(ada: AdaptiveAugment, *signs: float, images: int = 64) -> float:
    for step, total in enumerate(signs):
        ada.adapt(torch.tensor([total, float(images)]), step)
    return float(ada.p)


def test_p_goes_from_0_to_1_in_500_kimg() -> None:
    ada = AdaptiveAugment()
    assert after(ada, 64, 64, 64) == 0
    ada.adapt(torch.tensor([64.0, 64.0]), 3)
    assert float(ada.p) == pytest.approx(4 * 64 / 500_000, rel=1e-6)
    ada = AdaptiveAugment()
    assert after(ada, *[1000.0] * 496, images=1000) == pytest.approx(0.992, abs=1e-5)
    assert after(ada, *[1000.0] * 40, images=1000) == 1


@pytest.mark.parametrize(
    ("signs", "direction"),
    [
        ((64, 64, 64, 64), 1),
        ((64, 64, 64, 0), 1),  # 0.75
        ((64, 0, 0, 64), -1),  # 0.5
        ((-64, -64, -64, -64), -1),
        ((0, 0, 0, 64), -1),  # it is not the last batch alone that counts
    ],
)
def test_p_follows_the_mean_of_four_batches(signs: tuple[float, ...], direction: int) -> None:
    ada = AdaptiveAugment(speed_kimg=10)
    ada.p.fill_(0.5)
    assert after(ada, *signs) == pytest.approx(0.5 + direction * 0.0256, rel=1e-5)
    ada.p.fill_(0.01)
    assert after(ada, *signs) == pytest.approx(0.0356 if direction > 0 else 0, abs=1e-6)


def test_what_decides_is_saved_with_the_weights() -> None:
    ada, other = AdaptiveAugment(speed_kimg=1), AdaptiveAugment(speed_kimg=1)
    after(ada, 64, 64)
    other.load_state_dict(ada.state_dict())
    for step in (2, 3):
        other.adapt(torch.tensor([0.0, 64.0]), step)
    assert float(other.p) == 0  # 0.5 of them: below the target
    ada.adapt(torch.tensor([64.0, 64.0]), 2)
    other.load_state_dict(ada.state_dict())
    other.adapt(torch.tensor([0.0, 64.0]), 3)
    assert float(other.p) == pytest.approx(0.256)
    assert list(ada.parameters()) == []


def test_images_are_augmented_with_the_probability_of_now() -> None:
    ada, x = AdaptiveAugment(), pictures(300)
    assert torch.equal(ada(x), x)
    ada.p.fill_(0.2)
    changed = int((ada(x) != x).flatten(1).any(1).sum())
    # 1 − 0.8⁵ = 0.672, a little less as an image may be moved by nothing
    assert 160 < changed < 230
