"""Damaged and hostile variants of a photograph, and of a zip of labelled pictures."""

from __future__ import annotations

import io
import random
import struct

from mutate import Good, Mutation, damages, members, zipped
from mutate_images import png_chunk
from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


def another_format(rng: random.Random, good: Good) -> bytes:
    """The same picture in another format and mode, with a few bytes overwritten, mostly in its header."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(good.jpeg)) as image:
        form = rng.choice(FORMATS)
        mode = "RGB" if form in ("JPEG", "WEBP") else rng.choice(("RGB", "L", "P", "1"))
        image.convert(mode).save(out, form, **({"compression": "tiff_lzw"} if form == "TIFF" else {}))
    data = bytearray(out.getvalue())
    for _ in range(rng.choice((1, 2, 4))):
        start = rng.randrange(min(len(data), rng.choice((40, 300, 10**6))))
        data[start : start + rng.choice((1, 2, 4))] = rng.choice((b"\xff" * 4, b"\0" * 4, rng.randbytes(4)))
    return bytes(data)


def another_size(rng: random.Random, good: Good) -> bytes:
    """A JPEG whose header claims another size."""
    at = good.jpeg.index(b"\xff\xc0") + 5
    sizes = rng.choice(((0, 8), (8, 0), (65_535, 65_535), (8192, 8193), (1, 65_535), (3000, 3000)))
    return good.jpeg[:at] + struct.pack(">HH", *sizes) + good.jpeg[at + 4 :]


def hostile_members(rng: random.Random, good: Good) -> bytes:
    """A file of labels that names what is not there or is no text; pictures outside; bombs."""
    content = members(good.zip)
    extra: dict[str, bytes] = rng.choice(
        (
            {"../evil.png": good.png, "/etc/evil.png": good.png, "C:\\evil.png": good.png},
            {"labels.csv": b"../a.png,a\n/etc/passwd,b\n"},
            {"labels.csv": b"a.png,\x1b[2J\n" * 3 + b"b.png,\0\n"},
            {"labels.csv": b"\xff\xfe" + rng.randbytes(99)},
            {"labels.csv": b'"' * 99_999},
            {"labels.csv": b"file,label\n" + b"x.png,y\n" * 200_000},
            {"metadata.jsonl": b"[" * 200_000},
            {"b.png": bytes(60_000_000)},
            {"b.png": bytes(200_000_000)},
        )
    )
    if "metadata.jsonl" in extra:
        del content["labels.csv"]
    return zipped({**content, **extra}, compression=8)


def closed(rng: random.Random, good: Good) -> bytes:
    """Members that claim to be encrypted, or packed in another way."""
    data = bytearray(good.zip)
    local = rng.random() < 0.5
    at = data.index(b"PK\3\4" if local else b"PK\1\2") + (6 if local else 8) + rng.choice((0, 2))
    data[at] ^= rng.choice((1, 8, 12, 14, 97))
    return bytes(data)


JPEG: dict[str, Mutation] = {
    **damages("jpeg"),
    "another format": another_format,
    "another size": another_size,
    "a PNG with another chunk": png_chunk,
}

ZIP: dict[str, Mutation] = {
    **damages("zip"),
    "hostile members": hostile_members,
    "closed members": closed,
}
