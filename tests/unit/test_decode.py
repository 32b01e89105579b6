"""Pictures of every size, mode and format, against what their pixels must be; and those that are refused."""

from __future__ import annotations

import io
import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import PIL
import pytest
from packaging.version import Version
from PIL import Image

from ganctl.data.decode import Crop, Recipe, decode
from ganctl.data.tree import UnreadableError
from ganctl.errors import UsageError

SAMPLES = Path(matplotlib.__file__).parent / "mpl-data" / "sample_data"
RNG = np.random.default_rng(0)


def encoded(pixels: np.ndarray | Image.Image, form: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    image.save(out, form, **options)
    return out.getvalue()


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


def bicubic(size: int, wanted: int, a: float = -0.5) -> np.ndarray:
    """(wanted, size) weights of Keys' cubic, widened by the factor of a reduction: what PIL documents."""
    scale = size / wanted
    wide = max(scale, 1.0)
    centres = (np.arange(wanted) + 0.5) * scale
    t = np.abs(np.arange(size)[None] + 0.5 - centres[:, None]) / wide
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * (t**3 - 5 * t**2 + 8 * t - 4)
    weights = np.where(t < 1, near, np.where(t < 2, far, 0.0))
    return weights / weights.sum(axis=1, keepdims=True)


def resized(pixels: np.ndarray, side: int, a: float = -0.5) -> np.ndarray:
    """(H, W, C) -> (side, side, C), unrounded."""
    rows, columns = bicubic(pixels.shape[0], side, a), bicubic(pixels.shape[1], side, a)
    return np.einsum("ih,hwc,jw->ijc", rows, pixels.astype(float), columns).clip(0, 255)


# -- size --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width", "side"), [(31, 47, 9), (40, 40, 16), (7, 5, 12), (64, 9, 16)])
def test_a_resize_is_the_antialiased_bicubic_rounded_once(height: int, width: int, side: int) -> None:
    pixels = noise(height, width, 3)
    content = encoded(pixels)
    found = decode(content, Recipe(side, "none", 3)).astype(float)
    assert np.abs(found - resized(pixels, side)).max() <= 0.5 + 1e-3
    assert np.abs(found - resized(pixels, side, a=-0.75)).max() > 2  # PyTorch's and OpenCV's cubic
    luma = resized(pixels, side) @ [0.299, 0.587, 0.114]
    if side < min(height, width):  # a larger one overshoots, and is clipped before the sum
        grey = decode(content, Recipe(side, "none", 1)).astype(float)
        assert grey.shape == (side, side, 1)
        assert np.abs(grey[:, :, 0] - luma).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("shape", [(16, 16, 3), (16, 16)])
def test_what_has_the_right_size_keeps_its_pixels(shape: tuple[int, ...]) -> None:
    pixels = noise(*shape)
    for crop in ("center", "none"):
        found = decode(encoded(pixels), Recipe(16, crop, 3))
        assert np.array_equal(found, np.broadcast_to(pixels.reshape(16, 16, -1), (16, 16, 3)))
    grey = np.repeat(noise(16, 16, 1), 3, axis=2)
    assert np.array_equal(decode(encoded(grey), Recipe(16, "center", 1)), grey[:, :, :1])


def test_the_crop_is_the_largest_square_in_the_middle() -> None:
    wide, tall = noise(10, 17, 3), noise(17, 10, 3)
    recipe = Recipe(10, "center", 3)
    assert np.array_equal(decode(encoded(wide), recipe), wide[:, 3:13])
    assert np.array_equal(decode(encoded(tall), recipe), tall[3:13])


def test_without_a_crop_the_whole_picture_is_squeezed() -> None:
    ramp = np.repeat(np.linspace(0, 252, 64).round().astype(np.uint8)[None], 16, axis=0)  # 4 a pixel
    found = decode(encoded(ramp), Recipe(16, "none", 1))[:, :, 0].astype(int)
    assert (found == found[0]).all()
    assert np.array_equal(found[0, 2:-2], np.arange(16)[2:-2] * 16 + 6)  # the mean of four


@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_a_constant_stays_constant(value: int) -> None:
    for side in (3, 13, 40):
        found = decode(encoded(np.full((21, 13, 3), value, np.uint8)), Recipe(side))
        assert (found == value).all()


# -- modes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "order"), [("PNG", ""), ("TIFF", "<"), ("TIFF", ">")])
def test_sixteen_bits_are_scaled(form: str, order: str) -> None:
    values = np.arange(256).reshape(16, 16) * 257
    content = tiff(values, 16, order) if form == "TIFF" else encoded(Image.fromarray(values.astype("<u2")))
    found = decode(content, Recipe(16, "none", 1))[:, :, 0]
    assert np.array_equal(found, np.arange(256).reshape(16, 16))
    # and are kept until the end: 127.5 and a bit less or more
    fine = Image.fromarray(np.array([[0x7F7F, 0x8080], [0x7FFE, 0x8001]], "<u2"))
    assert decode(encoded(fine), Recipe(2, "none", 1)).ravel().tolist() == [127, 128, 127, 128]


def tiff(values: np.ndarray, bits: int, order: str) -> bytes:
    """(H, W) as an uncompressed grey TIFF of 16 bits, or of 12 that are packed."""
    height, width = values.shape
    raw = values.astype(f"{order}u2").tobytes()
    if bits == 12:
        a, b = values.reshape(-1, 2).T
        raw = np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], axis=1).astype(np.uint8).tobytes()
    tags = [(256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, 1)]
    tags += [(273, 4, 8), (277, 3, 1), (278, 3, height), (279, 4, len(raw))]
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, 1) + struct.pack(f"{order}{'HH' if kind == 3 else 'I'}", *value)
        for tag, kind, number in tags
        for value in [(number, 0) if kind == 3 else (number,)]
    )
    start = b"MM\0*" if order == ">" else b"II*\0"
    where = struct.pack(f"{order}I", 8 + len(raw))
    return start + where + raw + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


def test_twelve_bits_are_scaled() -> None:
    values = np.arange(256).reshape(16, 16) * 16 + 7
    wide = np.concatenate([values, values[:, :4]], axis=1)  # to be cropped, which forgets the file
    found = decode(tiff(wide, 12, "<"), Recipe(16, "center", 1))[:, :, 0]
    assert np.abs(found - wide[:, 2:18] * 255 / 4095).max() <= 0.5 + 1e-3


def test_sixteen_bits_of_colour_keep_their_upper_eight() -> None:
    values = np.arange(768).reshape(16, 16, 3) * 85
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )
    assert np.array_equal(decode(content, Recipe(16)), values >> 8)


def test_what_is_transparent_is_white() -> None:
    colour, alpha = noise(8, 8, 3), noise(8, 8, 1)
    alpha[0], alpha[1] = 0, 255
    expected = colour * (alpha / 255) + 255 * (1 - alpha / 255)
    found = decode(encoded(np.concatenate([colour, alpha], axis=2)), Recipe(8))
    assert np.abs(found - expected).max() <= 0.5 + 1e-3
    assert (found[0] == 255).all()
    assert np.array_equal(found[1], colour[1])
    grey = np.concatenate([colour[:, :, :1], alpha], axis=2)
    found = decode(encoded(Image.fromarray(grey, "LA")), Recipe(8, channels=1))
    assert np.abs(found - expected[:, :, :1]).max() <= 0.5 + 1e-3


def test_a_transparent_border_does_not_bleed() -> None:
    """Transparent black around white: white all over, when it is made smaller too."""
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[16:48, 16:48] = 255
    assert (decode(encoded(pixels), Recipe(16)) == 255).all()


def test_palettes_keep_their_colours() -> None:
    palette = noise(256, 3)
    index = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(index, "P")
    image.putpalette(palette.tobytes())
    for form in ("PNG", "BMP", "TIFF"):
        assert np.array_equal(decode(encoded(image, form), Recipe(16)), palette[index])
    see_through = decode(encoded(image, "PNG", transparency=5), Recipe(16))
    expected = palette[index]
    expected[0, 5] = 255
    assert np.array_equal(see_through, expected)


def test_one_bit_is_black_and_white() -> None:
    bits = noise(8, 8) > 127
    for form in ("PNG", "BMP", "TIFF"):
        assert np.array_equal(
            decode(encoded(Image.fromarray(bits), form), Recipe(8, channels=1))[:, :, 0], bits * 255
        )


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_is_ink(form: str) -> None:
    inks = {(0, 0, 0, 0): (255, 255, 255), (255, 0, 0, 0): (0, 255, 255), (0, 0, 255, 0): (255, 255, 0)}
    inks |= {(0, 0, 0, 255): (0, 0, 0), (0, 255, 0, 0): (255, 0, 255)}
    for ink, colour in inks.items():
        found = decode(encoded(Image.new("CMYK", (16, 16), ink), form), Recipe(8))
        assert np.abs(found.astype(int) - colour).max() <= 3


@pytest.mark.parametrize(("mode", "form"), [("F", "TIFF"), ("I", "TIFF"), ("LAB", "TIFF")])
def test_pixels_without_a_known_range_are_refused(mode: str, form: str) -> None:
    with pytest.raises(UnreadableError, match=f"mode {mode}"):
        decode(encoded(Image.new(mode, (8, 8)), form), Recipe(8))


STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    # by what the standard says of the first row and column as stored: 6 is "right, top", …
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, 1),
    7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
    8: lambda x: np.rot90(x, -1),
}


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", STORED)
def test_a_picture_taken_on_its_side_is_turned(form: str, orientation: int) -> None:
    upright = np.kron(noise(4, 4, 1), np.ones((16, 16, 3))).astype(np.uint8)
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {"quality": 95} if form == "JPEG" else {}
    found = decode(encoded(stored, form, exif=exif, **options), Recipe(64))
    assert np.abs(found.astype(int) - upright).max() <= (4 if form == "JPEG" else 0)


def test_what_a_camera_says_may_be_damaged() -> None:
    pixels = noise(8, 8, 3)
    assert np.array_equal(decode(encoded(pixels, "PNG", exif=b"MM\0*" + b"\xff" * 40), Recipe(8)), pixels)


def test_a_photograph() -> None:
    """Independently: the mean over blocks is close to any good reduction."""
    path = SAMPLES / "grace_hopper.jpg"
    with Image.open(path) as image:
        pixels = np.asarray(image).astype(float)
    height, width = pixels.shape[:2]
    top = (height - 512) // 2
    assert width == 512
    blocks = pixels[top : top + 512].reshape(64, 8, 64, 8, 3).mean(axis=(1, 3))
    found = decode(path.read_bytes(), Recipe(64))
    assert np.abs(found - blocks).mean() < 3
    assert abs(found.mean() - blocks.mean()) < 0.2


# -- what is refused ---------------------------------------------------------------------------------------


FRAMES = [Image.fromarray(noise(16, 16, 3)) for _ in range(3)]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_several_frames_are_refused_one_is_taken(form: str) -> None:
    with pytest.raises(UnreadableError, match="several frames"):
        decode(encoded(FRAMES[0], form, save_all=True, append_images=FRAMES[1:]), Recipe(8))
    assert decode(encoded(FRAMES[0], form), Recipe(8)).shape == (8, 8, 3)


def test_the_second_view_of_a_camera_is_no_frame() -> None:
    content = encoded(FRAMES[0], "MPO", save_all=True, append_images=FRAMES[1:])
    assert np.array_equal(decode(content, Recipe(16)), decode(encoded(FRAMES[0], "JPEG"), Recipe(16)))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_truncated_file_is_refused(form: str) -> None:
    content = encoded(Image.fromarray(noise(64, 64, 3)), form)
    assert decode(content, Recipe(8)).shape == (8, 8, 3)
    for part in (0.5, 0.8):
        with pytest.raises(UnreadableError):
            decode(content[: int(len(content) * part)], Recipe(8))


@pytest.mark.parametrize("content", [b"", b"<svg/>", b"\0" * 100, b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0\n"])
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(UnreadableError, match="no picture"):
        decode(content, Recipe(8))


def forged(form: str, width: int, height: int) -> bytes:
    """A small file whose header claims a size."""
    content = bytearray(encoded(np.zeros((8, 8), np.uint8), form))
    if form == "PNG":
        content[16:24] = struct.pack(">II", width, height)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    elif form == "JPEG":
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 4] = struct.pack(">HH", height, width)
    elif form == "BMP":
        content[18:26] = struct.pack("<ii", width, height)
    elif form == "GIF":
        content[6:10] = struct.pack("<HH", width, height)
        at = content.index(b"\x2c") + 5
        content[at : at + 4] = struct.pack("<HH", width, height)
    else:
        chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4)
        chunk += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little") + bytes(content[12:])
        return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk
    return bytes(content)


@pytest.mark.parametrize(
    ("form", "side"),
    [
        ("PNG", 10**6),
        ("PNG", 8200),
        ("JPEG", 65_000),
        ("JPEG", 8200),
        ("BMP", 10**6),
        ("GIF", 65_000),
        ("WEBP", 10**6),
    ],
)
def test_a_bomb_is_refused_by_its_header(form: str, side: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Pillow before 13 tells nothing of the size of a WebP that it refuses.
    known = form != "WEBP" or Version(PIL.__version__) >= Version("13")
    words = f"more than 67,108,864|{side}" if known else "could not create decoder object"
    with pytest.raises(UnreadableError, match=words):
        decode(forged(form, side, side), Recipe(8))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 << 10  # KiB


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0, "center", 3), "resolution of 0"),
        ((10**6, "center", 3), "resolution of 1000000"),
        ((64, "centre", 3), "'centre'"),
        ((64, "none", 4), "4 channels"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(values: tuple[int, Crop, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Recipe(*values)
