"""Images from folders and arrays: every pixel and label as written, and every bad file named."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ganctl import npz, pngs
from ganctl.errors import UsageError
from ganctl.inputs import ImageArrays, ImageFolder, choose, labels_among, open_images

GREY = np.random.RandomState(0).randint(0, 256, (7, 6, 6, 1), dtype=np.uint8)
RGB = np.random.RandomState(1).randint(0, 256, (7, 6, 6, 3), dtype=np.uint8)
FASHION = ("t-shirt", "trouser", "ankle boot")


def write_png(path: Path, pixels: np.ndarray, **text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    info = PngInfo()
    for key, value in text.items():
        info.add_text(f"ganctl:{key}", value)
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(path, pnginfo=info)
    return path


def folder_of(path: Path, pixels: np.ndarray) -> Path:
    for i, image in enumerate(pixels):
        write_png(path / f"{i:03d}.png", image)
    return path


def all_of(images: ImageFolder | ImageArrays, size: int = 3) -> np.ndarray:
    """(N, H, W, C), as numpy has them."""
    return torch.cat(list(images.batches(range(images.num_images), size))).permute(0, 2, 3, 1).numpy()


def refused(path: Path, *words: object) -> UsageError:
    with pytest.raises(UsageError) as caught:
        open_images(path)
    for word in words:
        assert str(word) in caught.value.what
    assert caught.value.fix
    assert "\n" not in caught.value.what
    return caught.value


# What is read


@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "RGB"])
def test_a_folder_gives_the_pixels_written_in_order_of_names(tmp_path: Path, pixels: np.ndarray) -> None:
    images = open_images(folder_of(tmp_path / "fakes", pixels))
    assert (images.name, images.num_images, images.resolution) == ("fakes", 7, 6)
    assert images.channels == pixels.shape[3]
    assert images.labels is None
    assert np.array_equal(all_of(images), pixels)


@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "RGB"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_gives_the_arrays_written(
    tmp_path: Path, pixels: np.ndarray, save: Callable[..., None]
) -> None:
    save(tmp_path / "a.npz", images=pixels, labels=np.array([3, 0, 3, 12, 0, 3, 0], dtype=np.int32))
    images = open_images(tmp_path / "a.npz")
    assert (images.name, images.num_images, images.resolution) == ("a.npz", 7, 6)
    assert images.channels == pixels.shape[3]
    assert np.array_equal(all_of(images), pixels)
    assert images.label_names == ("0", "3", "12")
    assert images.labels == [1, 0, 1, 2, 0, 1, 0]
    assert labels_among(images, [str(i) for i in range(13)], numbered=True) == [3, 0, 3, 12, 0, 3, 0]


def test_a_fortran_ordered_array_is_the_same_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.asfortranarray(RGB))
    assert np.array_equal(all_of(open_images(tmp_path / "a.npz")), RGB)


def test_batches_follow_the_index_and_its_repetitions(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=RGB)
    for images in (open_images(folder_of(tmp_path / "f", RGB)), open_images(tmp_path / "a.npz")):
        batches = list(images.batches([5, 1, 1], size=2))
        assert [tuple(b.shape) for b in batches] == [(2, 3, 6, 6), (1, 3, 6, 6)]
        assert all(b.dtype == torch.uint8 for b in batches)
        assert np.array_equal(torch.cat(batches).permute(0, 2, 3, 1).numpy(), RGB[[5, 1, 1]])


def test_only_a_batch_of_the_folder_is_decoded_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = open_images(folder_of(tmp_path, GREY))
    decoded = []
    decode = pngs.decode
    monkeypatch.setattr(pngs, "decode", lambda f, s: (decoded.append(f), decode(f, s))[1])
    stream = images.batches(range(7), size=3)
    assert decoded == []
    next(stream)
    assert len(decoded) == 3


def test_hidden_files_and_other_files_are_no_images(tmp_path: Path) -> None:
    folder_of(tmp_path, GREY)
    (tmp_path / "._000.png").write_bytes(b"of another system")
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "empty").mkdir()
    assert open_images(tmp_path).num_images == 7


def test_choice_is_random_repeatable_and_without_repetition(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=GREY)
    images = open_images(tmp_path / "a.npz")
    assert sorted(choose(images, 7, seed=0)) == list(range(7))
    assert choose(images, 7, 0) == choose(images, 7, 0) != choose(images, 7, 1)
    assert choose(images, 3, 0) == choose(images, 7, 0)[:3]
    for n in (0, 8):
        with pytest.raises(UsageError, match=rf"a.npz has 7 images, {n} were asked for"):
            choose(images, n, 0)


# Digests


def test_the_digest_follows_pixels_names_and_labels_only(tmp_path: Path) -> None:
    def digest(name: str, **arrays: Any) -> str:
        np.savez(tmp_path / f"{name}.npz", **arrays)
        return open_images(tmp_path / f"{name}.npz").digest

    y = np.arange(7)
    changed = GREY.copy()
    changed[3, 2, 1, 0] ^= 1
    same = digest("a", images=GREY, labels=y)
    assert same == digest("b", images=GREY, labels=y.astype(np.uint8), seeds=y)
    others = [digest("c", images=GREY), digest("d", images=changed, labels=y), digest("e", images=RGB)]
    others.append(digest("f", images=GREY, labels=y[::-1].copy()))
    assert len({same, *others}) == 5

    first = open_images(folder_of(tmp_path / "one", GREY)).digest
    assert first == open_images(folder_of(tmp_path / "two", GREY)).digest
    write_png(tmp_path / "two" / "003.png", changed[3])
    assert first != open_images(tmp_path / "two").digest
    (tmp_path / "one" / "006.png").rename(tmp_path / "one" / "007.png")
    assert first != open_images(tmp_path / "one").digest


# Labels


def test_class_folders_are_labels(tmp_path: Path) -> None:
    for label, n in (("trouser", 2), ("ankle_boot", 1)):
        folder_of(tmp_path / label, GREY[:n])
    images = open_images(tmp_path)
    assert images.label_names == ("ankle_boot", "trouser")
    assert images.labels == [0, 1, 1]
    assert labels_among(images, FASHION, numbered=True) == [2, 1, 1]


def test_our_own_file_names_are_labels(tmp_path: Path) -> None:
    for name in ("t-shirt_seed000000", "ankle_boot_seed000001", "t-shirt_seed1000000"):
        write_png(tmp_path / f"{name}.png", GREY[0], label="1")  # the name counts, not the number inside
    images = open_images(tmp_path)
    assert images.label_names == ("ankle_boot", "t-shirt")
    assert labels_among(images, FASHION, numbered=True) == [2, 0, 0]


def test_text_chunks_are_labels_of_renamed_files(tmp_path: Path) -> None:
    for i, label in enumerate(("10", "9", "10")):
        write_png(tmp_path / f"{i}.png", GREY[i], label=label, seed="4")
    images = open_images(tmp_path)
    assert images.label_names == ("9", "10")
    assert images.labels == [1, 0, 1]
    assert labels_among(images, [f"name{i}" for i in range(11)], numbered=True) == [10, 9, 10]


def test_numbers_are_places_in_a_data_set_only(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=GREY, labels=np.full(7, 2))
    images = open_images(tmp_path / "a.npz")
    assert labels_among(images, FASHION, numbered=True) == [2] * 7
    with pytest.raises(UsageError, match="label '2'"):
        labels_among(images, FASHION, numbered=False)
    # a name that is a number is that name, not the place
    assert labels_among(images, ("2", "1", "0"), numbered=True) == [0] * 7


def test_some_labels_are_none(tmp_path: Path) -> None:
    write_png(tmp_path / "a" / "5_seed000000.png", GREY[0])
    write_png(tmp_path / "a" / "other.png", GREY[1])
    images = open_images(tmp_path / "a")
    assert images.labels is None
    with pytest.raises(UsageError, match="a has no labels") as caught:
        labels_among(images, FASHION, numbered=True)
    assert "one folder per class" in caught.value.fix


def test_an_unknown_label_is_named_with_the_nearest(tmp_path: Path) -> None:
    write_png(tmp_path / "trousers_seed000000.png", GREY[0])
    with pytest.raises(UsageError, match="label 'trousers'") as caught:
        labels_among(open_images(tmp_path), FASHION, numbered=True)
    assert "did you mean trouser?" in caught.value.fix
    np.savez(tmp_path / "a.npz", images=GREY, labels=np.full(7, 3))
    with pytest.raises(UsageError, match="label '3'"):
        labels_among(open_images(tmp_path / "a.npz"), FASHION, numbered=True)


# Bad folders


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "no PNGs", tmp_path)
    (tmp_path / "class").mkdir()
    refused(tmp_path, "no PNGs", tmp_path)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", tmp_path / "nowhere", "No such file")
    refused(tmp_path / "nowhere.npz", tmp_path / "nowhere.npz", "No such file")
    refused(write_png(tmp_path / "a.png", GREY[0]), "a.png", "neither")


@pytest.mark.parametrize("other", [RGB[0], GREY[0][:4, :4]], ids=["mode", "size"])
def test_mixed_images_are_refused_with_both_names(tmp_path: Path, other: np.ndarray) -> None:
    folder_of(tmp_path, GREY[:2])
    last = write_png(tmp_path / "zz.png", other)
    refused(tmp_path, last, tmp_path / "000.png", "6 × 6 grey")


def test_images_at_two_levels_are_refused(tmp_path: Path) -> None:
    folder_of(tmp_path, GREY[:1])
    folder_of(tmp_path / "class", GREY[:1])
    refused(tmp_path, "sub-folders", "class")


def test_other_pictures_are_not_silently_left_out(tmp_path: Path) -> None:
    folder_of(tmp_path / "a" / "class", GREY[:2])
    Image.fromarray(RGB[0]).save(tmp_path / "a" / "class" / "b.JPG")
    refused(tmp_path / "a", "b.JPG", "not a PNG")


@pytest.mark.parametrize(
    ("mode", "words"),
    [("P", "a palette"), ("LA", "an alpha"), ("RGBA", "an alpha"), ("1", "1-bit"), ("I;16", "16-bit")],
)
def test_other_modes_are_refused_with_what_to_do(tmp_path: Path, mode: str, words: str) -> None:
    picture = Image.new("I;16", (6, 6)) if mode == "I;16" else Image.fromarray(RGB[0]).convert(mode)
    picture.save(tmp_path / "odd.png")
    assert "convert" in refused(tmp_path, tmp_path / "odd.png", words).fix


def test_a_transparent_colour_is_refused(tmp_path: Path) -> None:
    Image.fromarray(RGB[0]).save(tmp_path / "odd.png", transparency=(1, 2, 3))
    refused(tmp_path, tmp_path / "odd.png", "transparent")


def test_images_that_are_not_square_are_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "wide.png", GREY[0][:4])
    refused(tmp_path, tmp_path / "wide.png", "4 × 6")


@pytest.mark.parametrize(
    "text",
    [
        {"label": "0,1", "seed": "3"},
        {"label": "0", "seed": "0,1"},
        {"label": "0", "seed": "0-3"},
        {"label": "0", "seed": "3", "columns": "1"},  # one image in a frame
    ],
)
def test_a_sheet_of_samples_is_not_one_image(tmp_path: Path, text: dict[str, str]) -> None:
    write_png(tmp_path / "grid.png", GREY[0], **text)
    refused(tmp_path, tmp_path / "grid.png", "a sheet")


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b"",
        lambda b: b"no PNG at all, and long enough to have a header",
        lambda b: b[:20],
        lambda b: b[:-20],
        lambda b: b[: len(b) // 2],
        lambda b: b[:60] + bytes([b[60] ^ 1]) + b[61:],
        lambda b: b[:8] + b"\xff\xff\xff\xff" + b[12:],
    ],
    ids=["empty", "other", "start", "no end", "half", "bit", "chunk length"],
)
def test_a_damaged_png_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    folder_of(tmp_path, GREY[:2])
    bad = tmp_path / "001.png"
    bad.write_bytes(damage(bad.read_bytes()))
    refused(tmp_path, bad, "damaged")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("data", [b"no zlib", zlib.compress(b"\0" * 20)], ids=["not packed", "short"])
def test_pixels_that_cannot_be_decoded_are_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(png(6, 6, data))
    with pytest.raises(UsageError, match=r"a\.png is damaged"):
        list(open_images(tmp_path).batches([0]))


def test_a_file_that_changes_under_way_is_named(tmp_path: Path) -> None:
    images = open_images(folder_of(tmp_path, GREY))
    write_png(tmp_path / "001.png", RGB[0])
    (tmp_path / "002.png").unlink()
    for place, words in ((1, r"001\.png is no longer"), (2, r"cannot read .*002\.png")):
        with pytest.raises(UsageError, match=words):
            list(images.batches([0, place]))


@pytest.mark.parametrize("side", [50_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    (tmp_path / "bomb.png").write_bytes(png(side, side, zlib.compress(bytes(1 << 20))))
    refused(tmp_path, "bomb.png", f"{side} × {side}")


@pytest.mark.parametrize("side", [7, 12_000, 40_000])
def test_a_second_header_is_not_believed(tmp_path: Path, side: int) -> None:
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    data = png(6, 6, zlib.compress(bytes(42)))
    (tmp_path / "a.png").write_bytes(data)
    assert open_images(tmp_path).num_images == 1
    (tmp_path / "a.png").write_bytes(data[:33] + second + data[33:])
    refused(tmp_path, "a.png", "damaged")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    refused(tmp_path, "a.png", "no regular file")
    os.mkfifo(tmp_path / "a.npz")
    refused(tmp_path / "a.npz", "a.npz")


def test_a_huge_file_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pngs, "MAX_PNG_BYTES", 1 << 20)
    with open(tmp_path / "huge.png", "wb") as file:
        file.truncate((1 << 20) + 1)
    refused(tmp_path, "huge.png", "1 MiB")


# Bad arrays


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"labels": np.arange(7)}, "no array 'images'"),
        ({"images": GREY.astype(np.float32)}, "float32"),
        ({"images": GREY[..., 0]}, "(7, 6, 6)"),
        ({"images": RGB.transpose(0, 3, 1, 2)}, "(7, 3, 6, 6)"),
        ({"images": GREY[:0]}, "(0, 6, 6, 1)"),
        ({"images": GREY[:, :4]}, "4 × 6"),
        ({"images": RGB, "labels": np.arange(6)}, "labels in"),
        ({"images": RGB, "labels": np.arange(7.0)}, "float64"),
        ({"images": RGB, "labels": np.arange(7) - 1}, "labels in"),
        ({"images": RGB, "labels": np.arange(7)[:, None]}, "(7, 1)"),
    ],
    ids=["no images", "float", "no channels", "NCHW", "none", "wide", "few", "real", "negative", "column"],
)
def test_arrays_of_another_kind_are_refused(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    refused(tmp_path / "a.npz", tmp_path / "a.npz", words)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)  # type: ignore[return-value]

    np.savez(tmp_path / "a.npz", images=np.array([Trap()], dtype=object))
    refused(tmp_path / "a.npz", "pickled objects")
    assert not (tmp_path / "sprung").exists()


def with_header(path: Path, shape: str, body: bytes = b"\0" * 36, descr: str = "'|u1'") -> Path:
    """An `.npz` whose images claim to be of that shape."""
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + body)
    return path


def test_the_forged_file_without_the_forgery_is_fine(tmp_path: Path) -> None:
    assert open_images(with_header(tmp_path / "a.npz", "(1, 6, 6, 1)")).num_images == 1


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("(1000000, 1000, 1000, 1)", "GiB"),
        ("(1, 60, 60, 1)", "damaged"),
        ("(1, 5, 5, 1)", "damaged"),
        ("(-1, -6, 6, 1)", "damaged"),
        ("(1, 6, 6, 1", "damaged"),
        ("__import__('os').getcwd()", "damaged"),
        ("(" + "-" * 9000 + "1,)", "damaged"),  # too deep for Python's parser, which says MemoryError
    ],
)
def test_a_header_is_not_believed(
    tmp_path: Path, shape: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np.lib.format, "read_array", lambda *a, **k: pytest.fail("memory was allocated"))
    refused(with_header(tmp_path / "a.npz", shape), tmp_path / "a.npz", words)


def test_a_member_that_claims_more_than_its_file_can_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = with_header(tmp_path / "a.npz", "(1000, 1000, 1000, 1)")
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("images.npy").file_size
    forged = content.replace(struct.pack("<I", size), struct.pack("<I", 10**9 + size - 36))
    assert forged != content
    path.write_bytes(forged)
    monkeypatch.setattr(np.lib.format, "read_array", lambda *a, **k: pytest.fail("memory was allocated"))
    refused(path, "damaged")


def test_a_long_header_is_not_unpacked(tmp_path: Path) -> None:
    path, megabytes = tmp_path / "a.npz", 50
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        length = struct.pack("<I", megabytes << 20)
        archive.writestr("images.npy", b"\x93NUMPY\x02\x00" + length + b" " * (megabytes << 20))
    tracemalloc.start()
    refused(path, "damaged")
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "FREE_BYTES", 1 << 20)
    blank = np.zeros((8, 400, 400, 1), np.uint8)
    np.savez(tmp_path / "a.npz", images=blank)
    assert open_images(tmp_path / "a.npz").num_images == 8
    np.savez_compressed(tmp_path / "a.npz", images=blank)
    refused(tmp_path / "a.npz", "100 times")


def test_labels_are_not_lost_with_their_entry_in_the_directory(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=GREY, labels=np.arange(7))
    content = (tmp_path / "a.npz").read_bytes()
    assert open_images(tmp_path / "a.npz").labels is not None
    name, entry = content.rindex(b"labels.npy"), content.index(b"PK\1\2")
    # Another name; or a comment that the entry before claims to have, and which the next one then is.
    for place, byte in ((name, b"k"), (entry + 32, bytes([46 + 10]))):
        (tmp_path / "a.npz").write_bytes(content[:place] + byte + content[place + 1 :])
        refused(tmp_path / "a.npz", "damaged")


def test_a_damaged_npz_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "good.npz", images=RGB)
    content = (tmp_path / "good.npz").read_bytes()
    bad = tmp_path / "bad.npz"
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for damaged in (b"", b"no zip", content[: len(content) // 2], bytes(flipped)):
        bad.write_bytes(damaged)
        refused(bad, bad, "damaged")


def test_unusual_packing_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, GREY)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("images.npy", buffer.getvalue())
    refused(tmp_path / "a.npz", "unusual")


def test_the_size_limit_is_of_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", images=RGB)
    monkeypatch.setattr(npz, "MAX_BYTES", RGB.nbytes)
    assert open_images(tmp_path / "a.npz").num_images == 7
    monkeypatch.setattr(npz, "MAX_BYTES", RGB.nbytes - 1)
    assert "folder of PNGs" in refused(tmp_path / "a.npz", "GiB").fix


def test_a_prepared_file_says_what_its_labels_are_called(tmp_path: Path) -> None:
    labels = np.array([2, 0, 1, 2, 0, 1, 2])
    names = np.array(["t-shirt", "trouser", "ankle boot"])
    np.savez(tmp_path / "a.npz", images=RGB, labels=labels, label_names=names, split=np.arange(7) % 2)
    images = open_images(tmp_path / "a.npz")
    assert images.num_images == 7  # of both parts
    assert [FASHION[y] for y in labels] == [images.label_names[y] for y in images.labels or []]
    assert labels_among(images, FASHION[::-1], numbered=False) == [0, 2, 1, 0, 2, 1, 0]
    np.savez(tmp_path / "b.npz", images=RGB, labels=labels)
    assert open_images(tmp_path / "b.npz").label_names == ("0", "1", "2")
    np.savez(tmp_path / "c.npz", images=RGB, label_names=names)
    assert open_images(tmp_path / "c.npz").labels is None


@pytest.mark.parametrize(
    "names",
    [
        np.array(["a", "b"]),
        np.array(["a", "a", "b"]),
        np.array([1, 2, 3]),
        np.array([["a"]]),
        np.array(["x" * 999] * 3),
    ],
)
def test_names_that_cannot_be_those_of_the_labels_are_refused(names: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=RGB, labels=np.arange(7) % 3, label_names=names)
    with pytest.raises(UsageError, match="label_names in"):
        open_images(tmp_path / "a.npz")


def test_other_pictures_name_the_verb_that_takes_them(tmp_path: Path) -> None:
    folder_of(tmp_path / "p", GREY)
    (tmp_path / "p" / "x.jpeg").write_bytes(b"")
    with pytest.raises(UsageError, match=r"x\.jpeg is not a PNG") as caught:
        open_images(tmp_path / "p")
    assert f"ganctl data prepare {tmp_path / 'p'}" in caught.value.fix
