"""PNG files of strangers: what each is, told by its header before anything is decoded."""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ganctl.errors import UsageError

MAX_RESOLUTION = 4096
MAX_PNG_BYTES = 64 << 20
MAX_TEXT = 1 << 20  # letters of one of our texts: the seeds of a grid
MAX_TEXTS = 30

_START = b"\x89PNG\r\n\x1a\n"
_KINDS = {3: "a palette", 4: "an alpha channel", 6: "an alpha channel"}  # colour types of the PNG header


@dataclass(frozen=True)
class Shape:
    """Channels (1: grey, 3: RGB), height and width of an 8-bit image."""

    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.height} × {self.width} {'grey' if self.channels == 1 else 'RGB'}"


def read(file: Path) -> bytes:
    """The bytes of a file.

    Raises:
        UsageError: it cannot be read, or is larger than any image we take.
    """
    try:
        if file.exists() and not file.is_file():  # opening a pipe waits for somebody to write into it
            raise UsageError(f"{file} is no regular file", "take it out of the folder")
        with open(file, "rb") as handle:
            content = handle.read(MAX_PNG_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"cannot read {file}: {error.strerror}", "make it readable, or take it out"
        ) from error
    if len(content) > MAX_PNG_BYTES:
        raise UsageError(f"{file} has more than {MAX_PNG_BYTES >> 20} MiB", "give smaller images")
    return content


def check(file: Path, content: bytes) -> tuple[Shape, str | None]:
    """Everything but the pixels: the header, the checksums of all chunks, and our own text.

    Returns:
        The shape, and the label that `ganctl sample` wrote into it.

    Raises:
        UsageError: it is damaged, of a mode we don't take, or a sheet of several images.
    """
    shape = header(file, content)
    require_square(file, shape.height, shape.width)
    with _opened(file, content, shape) as picture:
        info = dict(picture.info)
        picture.verify()
    if "transparency" in info:
        raise UsageError(f"{file} has a transparent colour", "convert it to RGB or grey without transparency")
    label, seed = info.get("ganctl:label"), info.get("ganctl:seed")
    several = any(isinstance(text, str) and re.search("[,-]", text) for text in (label, seed))
    if several or "ganctl:columns" in info:
        raise UsageError(
            f"{file} is a sheet of several images", "write single ones with ganctl sample --outdir"
        )
    return shape, label if isinstance(label, str) and re.fullmatch(r"[0-9]{1,9}", label) else None


def provenance(file: Path) -> tuple[Shape, dict[str, str]]:
    """Shape and `texts` of a file.

    Raises:
        UsageError: as `read` and `texts`.
    """
    content = read(file)
    return header(file, content), texts(file, content)


def texts(file: Path, content: bytes) -> dict[str, str]:
    """What `ganctl` wrote into the text chunks, once the checksums of all chunks are verified.

    Raises:
        UsageError: it is damaged, of a mode we don't take, or says more than any picture of ours.
    """
    with _opened(file, content, header(file, content)) as picture:
        info = dict(picture.info)
        picture.verify()
    texts = {str(key): str(text) for key, text in info.items() if isinstance(text, str)}
    ours = {key: text for key, text in texts.items() if key.startswith("ganctl:")}
    if len(ours) > MAX_TEXTS or any(len(text) > MAX_TEXT for text in ours.values()):
        raise UsageError(f"{file} says too much of itself", "give a picture that ganctl sample wrote")
    return ours


def decode(file: Path, shape: Shape) -> Tensor:
    """(C, H, W) uint8.

    Raises:
        UsageError: it cannot be decoded, or is not of that shape.
    """
    content = read(file)
    if header(file, content) != shape:
        raise UsageError(f"{file} is no longer {shape}", "leave the folder alone while it is read")
    with _opened(file, content, shape) as picture:
        pixels = np.array(picture)
    return torch.from_numpy(pixels).reshape(shape.height, shape.width, shape.channels).permute(2, 0, 1)


def require_square(file: Path, height: int, width: int) -> None:
    """Raises `UsageError` for images that no generator of ours could have drawn."""
    if not 1 <= height == width <= MAX_RESOLUTION:
        raise UsageError(
            f"{file} has images of {height} × {width} pixels",
            f"give square images of {MAX_RESOLUTION} × {MAX_RESOLUTION} at most",
        )


@contextmanager
def _opened(file: Path, content: bytes, shape: Shape) -> Iterator[Image.Image]:
    """Raises `UsageError` for whatever PIL says while it is open: a dozen exception types, one for a bomb."""
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # PIL's own about sizes
            Image.open(io.BytesIO(content), formats=["PNG"]) as picture,
        ):
            # A second header, further down, can claim another size.
            if picture.size != (shape.width, shape.height) or picture.mode != (
                "L" if shape.channels == 1 else "RGB"
            ):
                raise ValueError("two headers")
            yield picture
    except Exception as error:
        raise _damaged(file) from error


def header(file: Path, content: bytes) -> Shape:
    """
    Raises:
        UsageError: it is no PNG, or of a mode we don't take.
    """
    if len(content) < 26 or not content.startswith(_START) or content[12:16] != b"IHDR":
        raise _damaged(file)
    width, height, depth, colour = struct.unpack(">IIBB", content[16:26])
    if depth != 8 or colour not in (0, 2):
        kind = _KINDS.get(colour, f"{depth}-bit pixels")
        raise UsageError(f"{file} has {kind}", "convert it to 8-bit RGB or grey (PIL: convert('RGB') or 'L')")
    return Shape(1 if colour == 0 else 3, height, width)


def _damaged(file: Path) -> UsageError:
    return UsageError(f"{file} is damaged or not a PNG", "write it again, or take it out of the folder")
