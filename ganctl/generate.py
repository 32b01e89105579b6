"""(generator, labels, seeds) -> pixels: one way, used while training, by `sample` and by `eval`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from ganctl import images, latents
from ganctl.errors import UsageError

# Every pass has this many images, the last one padded. An image's rounding then cannot depend on how many
# others were asked for: matrix products sum in another order at other sizes.
MICRO_BATCH = 64

MAX_IMAGES = 10_000_000  # of one call: a slip of the finger must not fill the memory


@torch.inference_mode()
def draw(G: nn.Module, z: Tensor, y: Tensor, device: torch.device) -> Tensor:
    """One pass of the generator, padded with zeros.

    Args:
        G: generator on `device`, in evaluation mode.
        z: (n, latent_dim) on the CPU, n ≤ `MICRO_BATCH`.
        y: (n,) int64, or (n, num_classes) float: the shares of the labels, of networks with a `ConcatLabel`.

    Returns:
        (n, C, H, W) uint8 on `device`.
    """
    n = len(z)
    z, y = (torch.cat([x, x.new_zeros(MICRO_BATCH - n, *x.shape[1:])]).to(device) for x in (z, y))
    return images.to_uint8(G(z, y))[:n]


def batches(
    G: nn.Module,
    latent_dim: int,
    labels: Sequence[int],
    seeds: Sequence[int],
    device: torch.device,
    truncation: float = 1.0,
) -> Iterator[Tensor]:
    """Yields the images of (label, seed) pairs in order, at most `MICRO_BATCH` at a time.

    Args:
        G: generator on `device`; set to evaluation mode.
        labels, seeds: N integers each.
        truncation: ψ in (0, 1], by which latents are multiplied.

    Yields:
        (n, C, H, W) uint8 on `device`, n ≤ `MICRO_BATCH`.
    """
    G.eval()
    for start in range(0, len(seeds), MICRO_BATCH):
        part = slice(start, start + MICRO_BATCH)
        z = latents.from_seeds(seeds[part], latent_dim) * truncation
        yield draw(G, z, torch.tensor(labels[part]), device)


def all_at_once(
    G: nn.Module,
    latent_dim: int,
    labels: Sequence[int],
    seeds: Sequence[int],
    device: torch.device,
    truncation: float = 1.0,
) -> Tensor:
    """`batches` joined: (N, C, H, W) uint8 on the CPU."""
    parts = batches(G, latent_dim, labels, seeds, device, truncation)
    return torch.cat([part.cpu() for part in parts])


def require_possible(num: int, most: int | None = None) -> None:
    """
    Args:
        most: images; `MAX_IMAGES` without it.

    Raises:
        UsageError: so many images cannot be drawn in one call.
    """
    most = MAX_IMAGES if most is None else most
    if num > most:
        raise UsageError(f"{num} images are too many for one call", f"draw {most} at most at a time")


def proportional_labels(class_counts: Sequence[int], n: int) -> list[int]:
    """n labels in the proportions of the training set, every class as near its share as whole numbers allow.

    Returns:
        n labels, the classes interleaved so that every part of the list is nearly proportional as well.
        Without classes n zeros, which an unconditional generator does not look at.
    """
    if not class_counts:
        return [0] * n
    total = sum(class_counts)
    shares = [divmod(n * count, total) for count in class_counts]
    quota = [whole for whole, _ in shares]
    largest_remainders = sorted(range(len(shares)), key=lambda y: -shares[y][1])
    for y in largest_remainders[: n - sum(quota)]:
        quota[y] += 1
    places = [((i + 0.5) / class_counts[y], y) for y, q in enumerate(quota) for i in range(q)]
    return [y for _, y in sorted(places)]
