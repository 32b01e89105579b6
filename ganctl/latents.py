"""Seeds and the latents they stand for."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ganctl.errors import UsageError

MAX_SEED = 2**32 - 1  # torch's CPU generator ignores higher bits


def from_seeds(seeds: Sequence[int], latent_dim: int) -> Tensor:
    """One standard normal latent for each seed, from a CPU generator of its own.

    A latent depends on its seed alone: not on the batch it is in, nor on the device it goes to.

    Args:
        seeds: N integers in [0, 2**32).
        latent_dim: length of a latent.

    Returns:
        (N, latent_dim) float32 on the CPU.
    """
    z = torch.empty(len(seeds), latent_dim)
    generator = torch.Generator()
    for row, seed in zip(z, seeds, strict=True):
        row.copy_(torch.randn(latent_dim, generator=generator.manual_seed(seed)))
    return z


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Along the arc between two latents (Shoemake 1985; for GANs White 2016, arXiv:1609.04468, section 2):
    sin((1 - t) Ω) / sin Ω · a + sin(t Ω) / sin Ω · b, Ω the angle between them. Halfway between two normal
    latents the straight line is shorter than almost any latent; the arc is not.

    Args:
        a, b: (latent_dim,) float.
        t: in [0, 1]; at 0 it is `a`, at 1 `b`, exactly.

    Returns:
        (latent_dim,) as `a` and `b` are; between parallel latents, which have no arc, on the straight line.
    """
    cosine = torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0)
    angle = math.acos(min(max(cosine.item(), -1.0), 1.0))
    if math.sin(angle) < 1e-6:
        return torch.lerp(a, b, t)
    # Each weight by itself: at the ends they are exactly 1 and 0.
    return math.sin((1 - t) * angle) / math.sin(angle) * a + math.sin(t * angle) / math.sin(angle) * b


def require_seeds(first: int, count: int) -> None:
    """
    Raises:
        UsageError: not all of first, …, first + count - 1 are seeds.
    """
    last = first + count - 1
    if first < 0 or last > MAX_SEED:
        which = f"seed {first} is" if count == 1 else f"seeds from {first} to {last} are"
        raise UsageError(f"{which} too {'small' if first < 0 else 'large'}", f"seeds go from 0 to {MAX_SEED}")


def step_seed(seed: int, step: int, rank: int, attempt: int = 0) -> int:
    """The seed of all randomness of one training step on one rank, in [0, 2**63); the CPU uses 32 bits of it.

    Hashed, so that neighbouring steps, ranks and runs share nothing; a function of its arguments alone, so
    that a resumed run draws what the uninterrupted one would have drawn. Another attempt at the same step
    draws something else.
    """
    key = f"{seed}/{step}/{rank}" + (f"/{attempt}" if attempt else "")
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_device(device: torch.device, seed: int) -> None:
    """`torch.manual_seed` for the CPU and `device` alone.

    For each kind of device that is not in use, torch's own formats the stack for a later error message:
    three times a step, a quarter of a millisecond.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
