"""Losses and penalties against values and gradients worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ganctl.losses import LOSSES, interpolate, lecam, one_centred_penalty, squared_gradient_norm

# (real logit, fake logit) -> (value, d/d real, d/d fake). With σ(x) = 1 / (1 + e^-x):
# softplus(x) = log(1 + e^x), its derivative is σ(x), and d/dx softplus(-x) = -σ(-x).
# softplus(-3) .0485873516   softplus(-2) .1269280110   softplus(-1) .3132616875   softplus(1) 1.3132616875
# softplus(3) 3.0485873516   σ(-3) .0474258732   σ(-2) .1192029220   σ(-1) .2689414214   σ(1) .7310585786
# softplus(-.75) .3868710061 softplus(-.5) .4740769842  softplus(-.25) .5759394199 softplus(.25) .8259394199
# softplus(.75) 1.1368710061 σ(-.75) .3208213008  σ(-.5) .3775406688  σ(-.25) .4378234991  σ(.25) .5621765009
NEAR, FAR, HINGE_KINKS_PASSED = (0.5, -0.25), (2.0, -1.0), (2.0, -3.0)
BY_HAND = [
    # ½·.25 + ½·.0625; r - 1; f
    ("lsgan", "d", NEAR, (0.15625, -0.5, -0.25)),
    ("lsgan", "d", FAR, (1.0, 1.0, -1.0)),
    # ½·1.25²; f - 1
    ("lsgan", "g", NEAR, (0.78125, 0.0, -1.25)),
    ("lsgan", "g", FAR, (2.0, 0.0, -2.0)),
    # softplus(-r) + softplus(f); -σ(-r); σ(f)
    ("nonsaturating", "d", NEAR, (1.0500164041, -0.3775406688, 0.4378234991)),
    ("nonsaturating", "d", FAR, (0.4401896985, -0.1192029220, 0.2689414214)),
    # softplus(-f); -σ(-f)
    ("nonsaturating", "g", NEAR, (0.8259394199, 0.0, -0.5621765009)),
    ("nonsaturating", "g", FAR, (1.3132616875, 0.0, -0.7310585786)),
    # both margins open: .5 + .75
    ("hinge", "d", NEAR, (1.25, -1.0, 1.0)),
    # a wrong side costs without bound, a right side beyond the margin nothing
    ("hinge", "d", (-2.0, -3.0), (3.0, -1.0, 0.0)),
    ("hinge", "d", (2.0, 3.0), (4.0, 0.0, 1.0)),
    ("hinge", "d", HINGE_KINKS_PASSED, (0.0, 0.0, 0.0)),
    ("hinge", "g", NEAR, (0.25, 0.0, -1.0)),
    ("hinge", "g", FAR, (1.0, 0.0, -1.0)),
    ("wgan_gp", "d", NEAR, (-0.75, -1.0, 1.0)),
    ("wgan_gp", "d", FAR, (-3.0, -1.0, 1.0)),
    ("wgan_gp", "g", NEAR, (0.25, 0.0, -1.0)),
    ("wgan_gp", "g", FAR, (1.0, 0.0, -1.0)),
    # softplus(f - r); -σ(f - r); σ(f - r)
    ("relativistic", "d", NEAR, (0.3868710061, -0.3208213008, 0.3208213008)),
    ("relativistic", "d", FAR, (0.0485873516, -0.0474258732, 0.0474258732)),
    # softplus(r - f); σ(r - f); -σ(r - f)
    ("relativistic", "g", NEAR, (1.1368710061, 0.6791786992, -0.6791786992)),
    ("relativistic", "g", FAR, (3.0485873516, 0.9525741268, -0.9525741268)),
]


def test_every_loss_has_hand_values() -> None:
    assert {(name, side) for name, side, _, _ in BY_HAND} == {(n, s) for n in LOSSES for s in "dg"}


@pytest.mark.parametrize(("name", "side", "point", "expected"), BY_HAND)
def test_value_and_gradients(
    name: str, side: str, point: tuple[float, float], expected: tuple[float, float, float]
) -> None:
    # Double precision, and another pair beside it: a loss that mixed samples would show.
    real = torch.tensor([point[0], 1.7], dtype=torch.float64, requires_grad=True)
    fake = torch.tensor([point[1], 0.4], dtype=torch.float64, requires_grad=True)
    values = getattr(LOSSES[name], side)(real, fake)
    assert values.shape == (2,)
    gradients = torch.autograd.grad(values[0], (real, fake), allow_unused=True)
    zero = torch.zeros(2, dtype=torch.float64)
    by_real, by_fake = (zero if g is None else g for g in gradients)
    found = (float(values[0].detach()), float(by_real[0]), float(by_fake[0]))
    assert found == pytest.approx(expected, abs=1e-9)
    assert (float(by_real[1]), float(by_fake[1])) == (0.0, 0.0)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_g_uses_real_says_the_truth(name: str) -> None:
    real = torch.linspace(-2, 2, 9, requires_grad=True)
    fake = torch.linspace(1.5, -1.5, 9)
    g_loss = LOSSES[name].g(real, fake)
    assert g_loss.shape == (9,)
    depends = g_loss.requires_grad and bool((torch.autograd.grad(g_loss.sum(), real)[0] != 0).any())
    assert LOSSES[name].g_uses_real is depends
    assert depends == (name == "relativistic")


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_huge_logits_stay_finite(name: str) -> None:
    real = torch.tensor([1e4, -1e4], requires_grad=True)
    fake = torch.tensor([-1e4, 1e4], requires_grad=True)
    both = LOSSES[name].d(real, fake) + LOSSES[name].g(real, fake)
    assert both.isfinite().all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(both.sum(), (real, fake)))


class Linear(nn.Module):
    """D(x) = w·x, whose gradient is w everywhere."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.w


def test_on_which_side_of_a_losss_boundary_logits_are() -> None:
    real, fake = torch.tensor([-1.0, 0.2, 0.5, 3.0]), torch.tensor([-2.0, 0.2, 1.0, 1.0])
    assert {name: loss.sides(real, fake).tolist() for name, loss in LOSSES.items()} == {
        "nonsaturating": [-1, 1, 1, 1],
        "hinge": [-1, 1, 1, 1],
        # least squares: real is 1, fake is 0
        "lsgan": [-1, -1, 0, 1],
        # of pairs
        "wgan_gp": [1, 0, -1, 1],
        "relativistic": [1, 0, -1, 1],
    }


def test_lecam_by_hand() -> None:
    real, fake = torch.tensor([1.0, -2.0], requires_grad=True), torch.tensor([0.5, 3.0], requires_grad=True)
    penalty = lecam(real, fake, torch.tensor(2.0), torch.tensor(-1.0))
    # real to the fake's anchor -1: 2², 1²; fake to the real's 2: 1.5², 1²
    assert penalty.tolist() == pytest.approx([4 + 2.25, 1 + 1])
    penalty.sum().backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert real.grad.tolist() == pytest.approx([4.0, -2.0])
    assert fake.grad.tolist() == pytest.approx([-3.0, 2.0])


def test_gradient_norm_of_a_linear_discriminator() -> None:
    D = Linear(torch.tensor([1.0, 2.0, -3.0, 4.0]))
    images = torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    # 1 + 4 + 9 + 16
    assert torch.equal(squared_gradient_norm(images, D(images)), torch.full((5,), 30.0))


def test_r1_teaches_a_linear_discriminator_to_shrink() -> None:
    D = Linear(torch.tensor([1.0, 2.0, -3.0, 4.0]))
    images = torch.ones(5, 1, 2, 2, requires_grad=True)
    squared_gradient_norm(images, D(images)).mean().backward()
    # d/dw ‖w‖² = 2w
    assert D.w.grad is not None
    assert torch.equal(D.w.grad, torch.tensor([2.0, 4.0, -6.0, 8.0]))


def test_gradient_norm_of_a_quadratic_discriminator() -> None:
    # D(x) = ½ Σ aᵢ xᵢ²: the gradient is aᵢ xᵢ, its squared norm Σ aᵢ² xᵢ², and d/da of that 2 aᵢ xᵢ².
    a = torch.tensor([1.0, 2.0, 3.0, -1.0], requires_grad=True)
    rows = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 2.0, -1.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
    images = rows.view(3, 1, 2, 2).requires_grad_()
    norm = squared_gradient_norm(images, (0.5 * a * images.flatten(1).square()).sum(1))
    # 1 + 4 + 9 + 1;  0 + 16 + 9 + 9;  0
    assert norm.tolist() == [15.0, 34.0, 0.0]
    (by_a,) = torch.autograd.grad(norm[1], a)
    assert by_a.tolist() == [0.0, 16.0, 6.0, -18.0]


def test_gradient_norm_belongs_to_each_sample_alone() -> None:
    a = torch.tensor([1.0, 2.0, 3.0, -1.0])

    def norms(images: Tensor) -> Tensor:
        images = images.clone().requires_grad_()
        return squared_gradient_norm(images, (0.5 * a * images.flatten(1).square()).sum(1)).detach()

    images = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    changed = images.clone()
    changed[2] += 1
    kept = torch.tensor([True, True, False, True])
    assert torch.equal(norms(changed)[kept], norms(images)[kept])
    assert norms(changed)[2] != norms(images)[2]


def test_gradient_norm_is_float32_under_bf16_autocast() -> None:
    layer = nn.Linear(64, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-1, 1, 64))
    images = torch.zeros(3, 1, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        logits = layer(images.flatten(1)).squeeze(1)
        norm = squared_gradient_norm(images, logits)
    assert logits.dtype == torch.bfloat16
    assert norm.dtype == torch.float32
    # Σ (2i/63 - 1)² for i = 0..63: 64·65 / (3·63). bf16 weights carry 8 bits.
    assert norm.tolist() == pytest.approx([64 * 65 / (3 * 63)] * 3, rel=4e-3)


def test_gradient_norm_is_summed_in_float32() -> None:
    # 1 023 gradients of one: bf16 knows 1 020 and 1 024, and counts no further than 256 by ones.
    images = torch.zeros(2, 1, 33, 31, dtype=torch.bfloat16, requires_grad=True)
    norm = squared_gradient_norm(images, images.flatten(1).sum(1))
    assert norm.dtype == torch.float32
    assert norm.tolist() == [1023.0, 1023.0]


def test_interpolate_ends_and_middle_of_each_sample() -> None:
    real = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(2))
    fake = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(3))
    points = interpolate(real, fake, torch.tensor([0.0, 1.0, 0.5, 0.25]))
    assert torch.equal(points[0], fake[0])
    assert torch.equal(points[1], real[1])
    torch.testing.assert_close(points[2], (real[2] + fake[2]) / 2)
    torch.testing.assert_close(points[3], fake[3] + (real[3] - fake[3]) / 4)


def test_one_centred_penalty() -> None:
    # (‖∇‖ - 1)²: at norm 0, ½, 1, 3
    squared = torch.tensor([0.0, 0.25, 1.0, 9.0])
    assert one_centred_penalty(squared).tolist() == pytest.approx([1.0, 0.25, 0.0, 4.0], abs=1e-5)


def test_one_centred_penalty_pushes_towards_norm_one() -> None:
    squared = torch.tensor([0.25, 1.0, 9.0], requires_grad=True)
    one_centred_penalty(squared).sum().backward()
    # d/ds (√s - 1)² = 1 - 1/√s
    assert squared.grad is not None
    assert squared.grad.tolist() == pytest.approx([-1.0, 0.0, 1 - 1 / 3], abs=1e-5)


def test_one_centred_penalty_has_a_gradient_at_zero() -> None:
    D = Linear(torch.zeros(4))
    images = torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(4)).requires_grad_()
    penalty = one_centred_penalty(squared_gradient_norm(images, D(images))).mean()
    assert float(penalty.detach()) == pytest.approx(1.0, abs=1e-5)
    penalty.backward()
    assert D.w.grad is not None
    assert all(math.isfinite(g) for g in D.w.grad.tolist())
