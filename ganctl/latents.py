"""Seeds and the latents they stand for."""

from __future__ import annotations

import hashlib
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


def require_seeds(first: int, count: int) -> None:
    """
    Raises:
        UsageError: not all of first, …, first + count - 1 are seeds.
    """
    if first + count - 1 > MAX_SEED:
        raise UsageError(
            f"seeds from {first} to {first + count - 1} are too large", f"seeds go up to {MAX_SEED}"
        )


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
