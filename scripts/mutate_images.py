"""Damaged and hostile variants of `.npz` files and PNGs, single ones and grids."""

from __future__ import annotations

import io
import random
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
from mutate import CANARY, Good, Mutation, damages, members, zipped
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def npz_array(rng: random.Random, good: Good) -> bytes:
    """An array that is no image, or whose header claims to be one."""
    if rng.random() < 0.3:
        with np.load(io.BytesIO(good.npz)) as arrays:
            images, labels = arrays["images"], arrays["labels"]
        others: list[dict[str, Any]] = [
            {"images": images.astype(object), "labels": labels},
            {"images": images, "labels": labels.astype(object)},
            {"images": images, "labels": labels[:-1]},
            {"images": images, "labels": -labels - 1},
            {"images": images[:, :4], "labels": labels},
            {"images": images.astype(np.float32), "labels": labels},
            {"labels": labels},
        ]
        out = io.BytesIO()
        np.savez(out, **rng.choice(others))
        return out.getvalue()
    shapes = ("(1000000000000, 1, 1, 1)", "(1, 8, 8", "(-1, 8, 8, 1)", "(" + "-" * 9000 + "1,)", "9" * 9000)
    shape = rng.choice((*shapes, f"__import__('os').system('touch {CANARY}')", "(2, 70000, 70000, 1)"))
    kind = rng.choice(("'|u1'", "'|O'", "[('a', '|O')]", "'<U999999999'", "'|V1000000000000'"))
    text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    wide = rng.random() < 0.3
    length = struct.pack("<I", rng.choice((len(text), 2**32 - 1))) if wide else struct.pack("<H", len(text))
    array = b"\x93NUMPY" + (b"\x02\x00" if wide else b"\x01\x00") + length + text + bytes(64)
    return zipped({"images.npy": array, **{n: d for n, d in members(good.npz).items() if n != "images.npy"}})


@cache
def _blank() -> tuple[bytes, int, int]:
    """An array of 216 MB packed into 1 MB, its size and checksum."""
    text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (600, 600, 600, 1), }\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(600**3)
    packer = zlib.compressobj(1, wbits=-15)
    return packer.compress(array) + packer.flush(), len(array), zlib.crc32(array)


def npz_bomb(rng: random.Random, good: Good) -> bytes:
    """Far more in the archive than its size lets expect: a blank array, or a directory of 200 000 members."""
    packed, size, crc = _blank()
    head = struct.pack("<5H3I2H", 20, 0, 8, 0, 33, crc, len(packed), size, 10, 0)
    local = b"PK\3\4" + head + b"images.npy" + packed
    entry = b"PK\1\2" + struct.pack("<H", 20) + head + struct.pack("<3H2I", 0, 0, 0, 0, 0) + b"images.npy"
    count = rng.choice((1, 1, 200_000))
    end = struct.pack("<4H2IH", 0, 0, count % 65536, count % 65536, count * len(entry), len(local), 0)
    return local + entry * count + b"PK\5\6" + end


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_chunk(rng: random.Random, good: Good) -> bytes:
    """A chunk that claims another image, or that unpacks to far more than it is; checksums are right."""
    width, height = rng.choice(
        ((10**6, 10**6), (2**31 - 1, 1), (8, 7), (0, 0), (4096, 4096), (12_000, 12_000))
    )
    depth, colour = rng.choice(((8, 0), (8, 0), (16, 0), (8, 3), (8, 6)))
    header = chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, rng.choice((0, 1, 2)))
    )
    if rng.random() < 0.4:
        return good.png[:8] + header + good.png[33:]
    bomb = zlib.compress(bytes(10**7))
    kinds = (
        b"gAMA",
        b"cHRM",
        b"pHYs",
        b"acTL",
        b"fcTL",
        b"tRNS",
        b"zTXt",
        b"iTXt",
        b"iCCP",
        b"eXIf",
        b"PLTE",
    )
    extra = rng.choice(
        (
            header,
            chunk(b"zTXt", b"a\0\0" + bomb),
            chunk(b"iTXt", b"a\0\1\0\0\0" + bomb),
            chunk(b"iCCP", b"a\0\0" + bomb),
            chunk(b"tRNS", b"\0\1"),
            chunk(b"tEXt", b"ganctl:label\x001,2,3"),
            chunk(rng.choice(kinds), rng.randbytes(rng.choice((0, 1, 3, 8)))),
        )
    )
    if rng.random() < 0.2:
        return good.png[:-12] + chunk(b"IDAT", bomb) + good.png[-12:]
    return good.png[:33] + extra + good.png[33:]


HOSTILE = (
    *(
        "",
        "0",
        "-1",
        "1",
        "2",
        "3,7",
        "7,3",
        "0-9",
        "3," * 5000 + "3",
        "0-4294967295",
        "4294967296",
        "9" * 5000,
    ),
    *(
        "1e-320",
        "nan",
        "0.5",
        "1.0",
        "x",
        "rows",
        "3:0 7:1",
        "3:0",
        "3:0 7:1 9:9",
        "\n",
        "\x1b[31m",
        "Ⅷ",
        "٣",
    ),
    *("../../etc/passwd", "0" * 64, "cpu", "cuda", "mps", "cuda:99", "x" * (1 << 21)),
)
KEYS = (
    *("version", "checkpoint", "label", "seed", "truncation", "columns", "scale", "captions", "interpolate"),
    *("frames", "precision", "device", "torch", "something"),
)


def sheet_text(rng: random.Random, good: Good) -> bytes:
    """Some of what a grid says of itself exchanged, left out, or said twice; checksums are right."""
    with Image.open(io.BytesIO(good.sheet)) as picture:
        said = dict(picture.text)  # type: ignore[attr-defined]
        info = PngInfo()
        for _ in range(rng.choice((1, 1, 2, 4))):
            said[f"ganctl:{rng.choice(KEYS)}"] = rng.choice((*HOSTILE, rng.choice(list(said.values()))))
        for key in rng.sample(list(said), len(said) - rng.choice((0, 0, 1))):
            info.add_text(key, said[key], zip=rng.random() < 0.1)
            if rng.random() < 0.05:
                info.add_text(key, rng.choice(HOSTILE))
        out = io.BytesIO()
        picture.save(out, "PNG", pnginfo=info)
    return out.getvalue()


NPZ: dict[str, Mutation] = {
    **damages("npz"),
    "another array": npz_array,
    "a bomb": npz_bomb,
}

PNG: dict[str, Mutation] = {
    **damages("png"),
    "another chunk": png_chunk,
}

SHEET: dict[str, Mutation] = {
    **damages("sheet"),
    "another text": sheet_text,
}
