"""A picture of what D would see: real images, and the same under augmentation. Nothing is trained."""

from __future__ import annotations

from pathlib import Path

import torch

from ganctl import atomic, augment, build, data, images, latents, ranks
from ganctl.config_schema import Config

IMAGES = 10  # beside each other
SIDE = 64  # pixels of the picture that an image has at least
DRAWS = {  # rows below the real images, and the probability of each transform in them
    "none": {},
    "diffaug": dict.fromkeys(("once", "again", "and again"), 1.0),
    "ada": {f"p = {p}": p for p in (0.25, 0.5, 1.0)},
}


def preview(cfg: Config) -> Path | None:
    """Writes `./<name>_augment.png`, over one that is there.

    The rows are the real images, then the same as D may see them; with `data.flip` some are mirrored. With
    ADA, whose probability changes while training, the rows have others.

    Returns:
        The picture; None on every rank but the first, where torchrun or srun has started several.

    Raises:
        UsageError: the configuration cannot work, or the picture cannot be written.
    """
    if ranks.current().rank:
        return None
    path = Path(f"{cfg.name}_augment.png")
    build.check_method(cfg)
    atomic.require_writable(path)
    dataset = data.load(data.Source.of_config(cfg.data.model_dump()), cfg.data.val_size, cfg.data.val_seed)
    generator = torch.Generator().manual_seed(cfg.seed)
    chosen = torch.randperm(len(dataset.train), generator=generator)[:IMAGES]
    real = images.to_float(dataset.train.take(chosen)[0])
    latents.seed_device(real.device, latents.step_seed(cfg.seed, 0, 0))
    rows = {"real": real}
    for caption, p in DRAWS[cfg.augment.name].items():
        rows[caption] = augment.augmented(augment.flipped(real) if cfg.data.flip else real, p)
    if cfg.data.flip and len(rows) == 1:
        rows["mirrored"] = augment.flipped(real)
    pixels = images.to_uint8(torch.cat(list(rows.values())))
    sheet = images.enlarged_grid(pixels, len(real), scale=-(-SIDE // real.shape[3]))
    images.save_png(images.captioned(sheet, list(rows)), path)
    return path
