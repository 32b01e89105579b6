"""What D sees instead of the images: transforms that gradients pass through, for small data.

Few images are soon known by heart, and a D that knows them teaches G nothing. So D never sees an image
itself, real or generated, but the image under random transforms, through which G learns. They are the same on
both sides, and don't show in what G draws.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHIFT = 1 / 8  # of the side: the farthest that an image is moved
CUT = 1 / 2  # of the side: that of the square which is cut out
TRANSFORMS = 5  # brightness, saturation, contrast, translation, cutout
AMOUNTS = 7  # one for each colour transform, two for the places of the others

ADAPT_EVERY = 4  # batches from one change of p to the next, as in ADA


class DiffAugment(nn.Module):
    """Every transform of every image: Zhao et al. 2020, arXiv:2006.10738, "color, translation, cutout"."""

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] -> as many of that shape, colours up to a little outside of the range."""
        return augmented(images, 1.0)


class AdaptiveAugment(nn.Module):
    """ADA: each transform of each image with a probability p that follows how far D overfits.

    D overfits where it is sure of the training images: r_t = E[sign(D(x))] is 0 of a D that guesses and 1 of
    one that knows them all (Karras et al. 2020, arXiv:2006.06676, eq. 1). Every 4 batches p goes up where r_t
    is above the target, and down where it is below. What is D's sign for each loss: `AdversarialLoss.sides`.
    A loss of pairs has no zero of its own, so there it is E[sign(D(x) − D(G(z)))].

    The transforms are those of DiffAugment rather than the paper's: none of them mirrors or turns, as then a
    digit would be another sign.

    Args:
        target: of r_t.
        speed_kimg: thousands of images in which p goes from 0 to 1.
    """

    p: Tensor
    seen: Tensor

    def __init__(self, target: float = 0.6, speed_kimg: float = 500) -> None:
        super().__init__()
        self.target, self.speed_kimg = target, speed_kimg
        # Buffers: they are saved and restored with the weights.
        self.register_buffer("p", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(2))  # sum of the signs since p last changed, their number

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] -> as many of that shape, colours up to a little outside of the range."""
        return augmented(images, self.p)

    @torch.no_grad()
    def adapt(self, signs: Tensor, steps: int) -> None:
        """Takes note of one more batch, and changes p where it is time to. Nothing waits for the device.

        Args:
            signs: (2,) the sum of the signs of this batch's real logits over all ranks, and their number.
            steps: batches before this one.
        """
        self.seen += signs
        if (steps + 1) % ADAPT_EVERY == 0:
            total, count = self.seen
            direction = torch.sign(total / count - self.target)
            self.p.add_(direction * count / (1000 * self.speed_kimg)).clamp_(0, 1)
            self.seen.zero_()


def augmented(images: Tensor, p: float | Tensor) -> Tensor:
    """Each transform of each image with probability p, drawn from the device's own generator.

    Args:
        images: (N, C, H, W) in [-1, 1].
        p: in [0, 1], a number or () tensor. At 0 the images come back as they are.
    """
    return transformed(images, torch.rand(len(images), TRANSFORMS + AMOUNTS, device=images.device), p)


def transformed(images: Tensor, u: Tensor, p: float | Tensor) -> Tensor:
    """The transforms that `u` says: colours, then translation, then cutout, as in DiffAugment.

    Args:
        images: (N, C, H, W).
        u: (N, 12) in [0, 1): five are compared with p, seven say how much.
        p: probability of each transform.
    """
    applied, amount = u[:, :TRANSFORMS] < p, u[:, TRANSFORMS:]
    height, width = images.shape[2:]
    brightness = (amount[:, 0] - 0.5).where(applied[:, 0], 0.0)
    saturation = (amount[:, 1] * 2.0).where(applied[:, 1], 1.0)
    contrast = (amount[:, 2] + 0.5).where(applied[:, 2], 1.0)
    down = _whole(amount[:, 3], -_size(SHIFT, height), _size(SHIFT, height)).where(applied[:, 3], 0)
    right = _whole(amount[:, 4], -_size(SHIFT, width), _size(SHIFT, width)).where(applied[:, 3], 0)
    images = translated(coloured(images, brightness, saturation, contrast), down, right)
    # A centre on the border leaves half a square.
    top, left = (
        (_whole(amount[:, k], 0, side - _size(CUT, side) % 2) - _size(CUT, side) // 2).where(
            applied[:, 4], side
        )
        for k, side in ((5, height), (6, width))
    )
    return cut_out(images, top, left)


def coloured(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """x + b, then away from the pixel's grey by s, then away from the image's mean by c.

    Args:
        images: (N, C, H, W); grey ones, C = 1, have no saturation.
        brightness, saturation, contrast: (N,); 0, 1 and 1 change nothing.
    """
    b, s, c = (each.view(-1, 1, 1, 1) for each in (brightness, saturation, contrast))
    x = images + b
    if images.shape[1] > 1:
        x = s * x + (1 - s) * x.mean(1, keepdim=True)
    return c * x + (1 - c) * x.mean((1, 2, 3), keepdim=True)


def translated(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Moved by whole pixels; what comes in from outside is 0, a middle grey.

    Args:
        images: (N, C, H, W).
        down, right: (N,) int64.
    """
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) - down[:, None]
    columns = torch.arange(width, device=images.device) - right[:, None]
    inside = _cross((rows >= 0) & (rows < height), (columns >= 0) & (columns < width))
    source = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    # No pixel goes to two places inside, so the gradient is the same in whatever order it is added up.
    index = source.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, index).view(images.shape).masked_fill(~inside, 0)


def cut_out(images: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """0, a middle grey, in a square of half the side; partly outside of the image it cuts out less.

    Args:
        images: (N, C, H, W).
        top, left: (N,) int64: of its corner.
    """
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) - top[:, None]
    columns = torch.arange(width, device=images.device) - left[:, None]
    inside = ((rows >= 0) & (rows < _size(CUT, height)), (columns >= 0) & (columns < _size(CUT, width)))
    return images.masked_fill(_cross(*inside), 0)


def flipped(images: Tensor) -> Tensor:
    """Half of the images (N, C, H, W), at random, seen in a mirror: left is right."""
    mirrored = torch.rand(len(images), device=images.device) < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)


def _size(share: float, side: int) -> int:
    """In whole pixels, as DiffAugment rounds."""
    return int(side * share + 0.5)


def _whole(u: Tensor, least: int, most: int) -> Tensor:
    """[0, 1) -> the whole numbers from `least` to `most`, all equally likely."""
    return (u * (most - least + 1)).long().clamp(max=most - least) + least


def _cross(rows: Tensor, columns: Tensor) -> Tensor:
    """(N, H) and (N, W) -> (N, 1, H, W): where both are true."""
    return (rows[:, :, None] & columns[:, None, :])[:, None]
