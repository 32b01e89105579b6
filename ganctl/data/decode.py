"""One picture of any size, mode and format -> uint8 of the size and channels that are wanted."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import ExifTags, Image

from ganctl import pngs
from ganctl.data.tree import UnreadableError
from ganctl.errors import UsageError, nearest

Crop = Literal["center", "none"]

MAX_PIXELS = 1 << 26  # 8192 × 8192: 0.6 GB while it is decoded, 1.3 GB with an alpha channel
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
WHITE = 255.0  # behind what is transparent, as behind most drawings that are
LUMA = (0.299, 0.587, 0.114)  # of ITU-R BT.601, as PIL and OpenCV have it

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PLAIN = {"1": "L", "La": "LA", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "PA": "RGBA", "RGBa": "RGBA"}


@dataclass(frozen=True)
class Recipe:
    """What becomes of every picture.

    Args:
        resolution: height and width.
        crop: `center` cuts out the largest square in the middle; `none` squeezes the whole picture into one.
        channels: 1 (grey) or 3 (RGB).

    Raises:
        UsageError: a value is none of these.
    """

    resolution: int
    crop: Crop = "center"
    channels: Literal[1, 3] = 3

    def __post_init__(self) -> None:
        if not 1 <= self.resolution <= pngs.MAX_RESOLUTION:
            raise UsageError(
                f"a resolution of {self.resolution}", f"give one from 1 to {pngs.MAX_RESOLUTION}, such as 64"
            )
        if self.crop not in get_args(Crop):
            raise UsageError(f"there is no crop {self.crop!r}", nearest(self.crop, get_args(Crop)))
        if self.channels not in (1, 3):
            raise UsageError(f"{self.channels} channels", "give 1 (grey) or 3 (RGB)")


def decode(content: bytes, recipe: Recipe) -> np.ndarray:
    """The picture in a file's bytes.

    Resized as clean-fid does (Parmar et al. 2022, arXiv:2104.11222): PIL's bicubic filter, antialiased, on
    float32, channel by channel. Rounded once, at the very end; what has the right size keeps its pixels.
    What is transparent is white; 16-bit grey is scaled; a picture that a camera took on its side is turned.

    PIL may warn of damage that it reads over: callers silence it, as warnings are the process's, not a
    thread's.

    Returns:
        (resolution, resolution, channels) uint8.

    Raises:
        UnreadableError: with the reason, in a few words.
    """
    image = _opened(content)
    white = _white(image)
    image = _turned(image)
    side = min(image.size)
    if recipe.crop == "center" and image.size != (side, side):
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    size = (recipe.resolution, recipe.resolution)
    planes = [
        np.asarray(plane.resize(size, Image.Resampling.BICUBIC), np.float32)
        for plane in _planes(image, white)
    ]
    if recipe.channels == 1 and len(planes) == 3:
        # after the resize, which is linear: the same as before it, on a third of the pixels
        red, green, blue = (np.float32(weight) * plane for weight, plane in zip(LUMA, planes, strict=True))
        planes = [red + green + blue]
    pixels = np.stack(planes, axis=2).clip(0, 255).round().astype(np.uint8)
    return np.broadcast_to(pixels, (*size, recipe.channels))


def _opened(content: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise UnreadableError(f"{image.width} × {image.height} pixels, more than {MAX_PIXELS:,}")
        # An MPO is a JPEG with a second view or a preview behind it.
        if getattr(image, "is_animated", False) and image.format != "MPO":
            raise UnreadableError("several frames: animated, or of several pages")
        image.load()
    except (UnreadableError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableError(f"more than {MAX_PIXELS:,} pixels") from error
    except Image.UnidentifiedImageError as error:
        raise UnreadableError("no picture, or damaged at its beginning") from error
    except Exception as error:  # PIL's plug-ins raise a dozen types
        raise UnreadableError(f"damaged: {error}") from error
    return image


def _turned(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # what a camera said of itself is damaged, the pixels are not
        return image
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def _white(image: Image.Image) -> int:
    """The value of white where it is not 255; asked of the picture as it was opened, which knows its file."""
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(258, (16,))[0]  # a TIFF may have fewer
        return int(2**bits - 1)
    return 65535 if image.mode == "I" and image.format == "PNG" else 255


def _planes(image: Image.Image, white: int) -> Iterator[Image.Image]:
    """Grey, or red, green and blue, of mode `F`, 0..255; one at a time, as each takes four bytes a pixel."""
    mode = image.mode
    if white != 255:
        yield Image.fromarray(np.asarray(image).astype(np.float32) * np.float32(255 / white))
        return
    if mode in ("1", "L", "P", "RGB") and "transparency" in image.info:
        image = image.convert("RGBA")
    elif mode in _PLAIN:
        image = image.convert(_PLAIN[mode])
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        raise UnreadableError(f"pixels of mode {image.mode}, which has no black and white of its own")
    if image.mode in ("L", "RGB"):
        for channel in image.getbands():
            yield image.getchannel(channel).convert("F")
        return
    alpha = np.array(image.getchannel("A"), np.float32)
    alpha /= 255
    for channel in image.getbands()[:-1]:
        plane = np.array(image.getchannel(channel), np.float32)
        plane -= WHITE
        plane *= alpha
        plane += WHITE
        yield Image.fromarray(plane)
