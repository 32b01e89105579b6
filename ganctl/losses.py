"""Adversarial losses and gradient penalties: pure functions of logits and images.

Every loss takes logits (N,) and returns one value per sample (N,); the caller reduces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class AdversarialLoss:
    """What D and G minimise.

    Args:
        d: (real_logits, fake_logits) -> (N,), minimised by D.
        g: (real_logits, fake_logits) -> (N,), minimised by G.
        g_uses_real: whether `g` depends on `real_logits`; where not, the caller may pass the fake ones.
        boundary: the logit at which D is undecided; None where only differences of logits mean something.
    """

    d: Callable[[Tensor, Tensor], Tensor]
    g: Callable[[Tensor, Tensor], Tensor]
    g_uses_real: bool = False
    boundary: float | None = 0.0

    def sides(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """(N,) 1 where D takes a real image for real, −1 where for fake; 0 on the boundary.

        Where there is no boundary: whether it scores the image above the fake one of the same place.
        """
        return torch.sign(real_logits - (fake_logits if self.boundary is None else self.boundary))


def lsgan_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """½(D(x) − 1)² + ½D(G(z))². Mao et al. 2017, arXiv:1611.04076, eq. 9."""
    return 0.5 * (real_logits - 1).square() + 0.5 * fake_logits.square()


def lsgan_g(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """½(D(G(z)) − 1)². Mao et al. 2017, eq. 9."""
    return 0.5 * (fake_logits - 1).square()


def nonsaturating_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """−log σ(D(x)) − log(1 − σ(D(G(z)))). Goodfellow et al. 2014, arXiv:1406.2661, eq. 1."""
    return F.softplus(-real_logits) + F.softplus(fake_logits)


def nonsaturating_g(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """−log σ(D(G(z))). Goodfellow et al. 2014, section 3."""
    return F.softplus(-fake_logits)


def hinge_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """max(0, 1 − D(x)) + max(0, 1 + D(G(z))). Miyato et al. 2018, arXiv:1802.05957, eq. 16."""
    return F.relu(1 - real_logits) + F.relu(1 + fake_logits)


def wasserstein_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """D(G(z)) − D(x). Arjovsky et al. 2017, arXiv:1701.07875, eq. 2."""
    return fake_logits - real_logits


def critic_g(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """−D(G(z)): G's side of the hinge and Wasserstein losses."""
    return -fake_logits


def relativistic_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """−log σ(D(x) − D(G(z))), real and fake paired. Jolicoeur-Martineau 2019, arXiv:1807.00734, eq. 3;
    the pairing loss of R3GAN, Huang et al. 2024, arXiv:2501.05441, eq. 2."""
    return F.softplus(fake_logits - real_logits)


def relativistic_g(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """−log σ(D(G(z)) − D(x)): the pairing seen from G."""
    return F.softplus(real_logits - fake_logits)


LOSSES: dict[str, AdversarialLoss] = {
    "lsgan": AdversarialLoss(lsgan_d, lsgan_g, boundary=0.5),
    "nonsaturating": AdversarialLoss(nonsaturating_d, nonsaturating_g),
    "hinge": AdversarialLoss(hinge_d, critic_g),
    "wgan_gp": AdversarialLoss(wasserstein_d, critic_g, boundary=None),
    "relativistic": AdversarialLoss(relativistic_d, relativistic_g, g_uses_real=True, boundary=None),
}


def squared_gradient_norm(images: Tensor, logits: Tensor) -> Tensor:
    """‖∇ₓD(x)‖² of each sample, differentiable again, summed in float32.

    R1 is γ/2 of it at real images (Mescheder et al. 2018, arXiv:1801.04406, eq. 9), R2 at fake ones.

    Args:
        images: (N, C, H, W), requiring grad, from which `logits` was computed.
        logits: (N,), logit i depending on image i alone (no batch normalisation in D).

    Returns:
        (N,) float32.
    """
    # Logit i sees only image i, so the gradient of the sum holds every sample's own gradient.
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.float().square().flatten(1).sum(1)


def interpolate(real: Tensor, fake: Tensor, u: Tensor) -> Tensor:
    """Points on the lines between real and fake images: u·x + (1 − u)·G(z).

    Args:
        real, fake: (N, C, H, W).
        u: (N,) uniform in [0, 1).
    """
    return torch.lerp(fake, real, u.view(-1, 1, 1, 1))


def one_centred_penalty(squared_norm: Tensor) -> Tensor:
    """(‖∇D(x̂)‖ − 1)², the penalty of WGAN-GP. Gulrajani et al. 2017, arXiv:1704.00028, eq. 3."""
    # The square root has no derivative at 0.
    return ((squared_norm + 1e-12).sqrt() - 1).square()


def lecam(real_logits: Tensor, fake_logits: Tensor, real_anchor: Tensor, fake_anchor: Tensor) -> Tensor:
    """(D(x) − α_F)² + (D(G(z)) − α_R)²: logits far from the other side's usual ones cost.

    R_LC of Tseng et al. 2021, arXiv:2104.03310.

    Args:
        real_logits, fake_logits: (N,).
        real_anchor, fake_anchor: (), α_R and α_F, moving averages of the mean logits.
    """
    return (real_logits - fake_anchor).square() + (fake_logits - real_anchor).square()
