"""Pixels: [-1, 1] <-> uint8, grids, captions, PNG files that say where they come from."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ganctl import atomic

MAX_CAPTION = 40  # letters: names come from checkpoints


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] -> 0..255: round((x + 1) · 127.5), values outside clamped. Any shape; dtype uint8."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_float(images: Tensor) -> Tensor:
    """0..255 -> [-1, 1] float32, the inverse of `to_uint8`. Any shape."""
    return images.float() / 127.5 - 1


def grid(images: Tensor, columns: int, gap: int = 2) -> Tensor:
    """Lays images out row by row on a black sheet.

    Args:
        images: (N, C, H, W) uint8, N ≥ 1.
        columns: images in a row.
        gap: black pixels around each image.

    Returns:
        (C, rows · (H + gap) + gap, columns · (W + gap) + gap) uint8.
    """
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    sheet = images.new_zeros(channels, rows * (height + gap) + gap, columns * (width + gap) + gap)
    for i, image in enumerate(images):
        top, left = gap + (i // columns) * (height + gap), gap + (i % columns) * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def to_pil(image: Tensor) -> Image.Image:
    """(1 | 3, H, W) uint8 -> a grey or RGB picture."""
    array = image.cpu().permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def enlarged(picture: Image.Image, scale: int) -> Image.Image:
    """Its pixels enlarged by a whole factor."""
    if scale == 1:
        return picture
    size = (picture.width * scale, picture.height * scale)
    return picture.resize(size, Image.Resampling.NEAREST)


def enlarged_grid(images: Tensor, columns: int, scale: int = 2) -> Image.Image:
    """A grid (N, C, H, W) uint8 -> picture, its pixels enlarged by a whole factor `scale`."""
    return enlarged(to_pil(grid(images, columns)), scale)


def class_grid(images: Tensor, captions: Sequence[str], scale: int = 2) -> Image.Image:
    """A grid with one captioned column for each class.

    Args:
        images: (rows · len(captions), C, H, W) uint8, row by row: image i is in column i % len(captions).
        captions: one word above each column.
        scale: whole factor by which pixels are enlarged.
    """
    sheet = enlarged_grid(images, len(captions), scale)
    font = _font()
    pitch = sheet.width / len(captions)
    # Words wider than their column are set upright.
    upright = max(font.getlength(c) for c in captions) > pitch
    band = int(max(font.getlength(c) for c in captions)) + 8 if upright else 20
    page = Image.new(sheet.mode, (sheet.width, sheet.height + band), "white")
    page.paste(sheet, (0, band))
    for i, caption in enumerate(captions):
        word = Image.new("L", (int(font.getlength(caption)) + 2, 16), "white")
        ImageDraw.Draw(word).text((1, 0), caption, fill="black", font=font)
        word = word.rotate(90, expand=True) if upright else word
        page.paste(word, (int((i + 0.5) * pitch - word.width / 2), band - word.height - 2))
    return page


def band_width(captions: Sequence[str]) -> int:
    """Of the white band in which `captioned` writes."""
    font = _font()
    return int(max(font.getlength(caption[:MAX_CAPTION]) for caption in captions)) + 8


def captioned(sheet: Image.Image, captions: Sequence[str]) -> Image.Image:
    """A grid with a caption on the left of each row, those of `captions` from above; white behind them."""
    band = band_width(captions)
    page = Image.new(sheet.mode, (sheet.width + band, sheet.height), "white")
    page.paste(sheet, (band, 0))
    font, draw = _font(), ImageDraw.Draw(page)
    for i, caption in enumerate(captions):
        middle = (i + 0.5) * sheet.height / len(captions)
        draw.text((band - 4, middle), caption[:MAX_CAPTION], fill="black", font=font, anchor="rm")
    return page


@cache
def _font() -> ImageFont.FreeTypeFont:
    """DejaVu Sans out of matplotlib: unlike PIL's own font it has accents, Greek and Cyrillic."""
    found = importlib.util.find_spec("matplotlib")  # not imported, which takes a while
    assert found is not None
    assert found.origin is not None
    file = Path(found.origin).with_name("mpl-data") / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(file), size=11)


def save_png(
    picture: Image.Image, path: Path, text: Mapping[str, str] | None = None, *, sync: bool = True
) -> None:
    """Writes a PNG whole or not at all, with `text` in its text chunks.

    Args:
        sync: as of `atomic.write`.

    Raises:
        UsageError: the file cannot be written.
    """
    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_text(key, value)
    atomic.write_output(path, lambda file: picture.save(file, format="PNG", pnginfo=info), sync=sync)


def file_name(label: str) -> str:
    """A label as part of a file name. Names come from checkpoints: they must not leave the folder, nor look
    like an option to a command that is given them."""
    return re.sub(r"^-|[^\w-]", "_", label)
