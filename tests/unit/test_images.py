"""Pixels, grids, captions and PNG files, looked at from outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ganctl.errors import UsageError
from ganctl.images import captioned, class_grid, grid, save_png, to_float, to_pil, to_uint8


def test_to_uint8_at_its_ends_and_middle() -> None:
    # 0 is 127.5, which rounds to the even neighbour.
    found = to_uint8(torch.tensor([-1.0, 0.0, 1.0]))
    assert found.dtype == torch.uint8
    assert found.tolist() == [0, 128, 255]


def test_to_uint8_rounds_to_the_nearest() -> None:
    levels = torch.arange(256, dtype=torch.float64)
    for offset in (-0.45, 0.45):
        pixels = to_uint8((levels + offset) / 127.5 - 1)
        assert torch.equal(pixels, levels.to(torch.uint8))


def test_to_uint8_clamps_instead_of_wrapping() -> None:
    assert to_uint8(torch.tensor([-1.01, -50.0, 1.01, 50.0, -float("inf"), float("inf")])).tolist() == [
        0,
        0,
        255,
        255,
        0,
        255,
    ]


def test_to_float_and_back_is_exact_for_every_level() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    floats = to_float(levels)
    assert floats.dtype == torch.float32
    assert (float(floats[0]), float(floats[255])) == (-1.0, 1.0)
    torch.testing.assert_close(
        floats[51].double(), torch.tensor(-0.6, dtype=torch.float64), atol=1e-6, rtol=0
    )
    assert bool((floats.diff() > 0).all())
    assert torch.equal(to_uint8(floats), levels)


def test_conversions_keep_the_shape() -> None:
    assert to_uint8(torch.zeros(2, 3, 4, 5)).shape == (2, 3, 4, 5)
    assert to_float(torch.zeros(2, 3, 4, 5, dtype=torch.uint8)).shape == (2, 3, 4, 5)


def random_pixels(*shape: int) -> Tensor:
    """No black pixel among them, so that gaps can be told apart."""
    return torch.randint(1, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_grid_puts_each_tile_in_its_place() -> None:
    tiles = random_pixels(5, 3, 4, 6)
    sheet = grid(tiles, columns=2, gap=3)
    # three rows of 4 and four gaps of 3; two columns of 6 and three gaps
    assert sheet.shape == (3, 3 * 4 + 4 * 3, 2 * 6 + 3 * 3)
    assert sheet.dtype == torch.uint8
    corners = [(3, 3), (3, 12), (10, 3), (10, 12), (17, 3)]
    for tile, (top, left) in zip(tiles, corners, strict=True):
        assert torch.equal(sheet[:, top : top + 4, left : left + 6], tile)
    # everything else is black: the gaps and the place of a sixth image
    assert int((sheet > 0).sum()) == 5 * 3 * 4 * 6


@pytest.mark.parametrize(
    ("n", "columns", "size"), [(1, 1, (6, 6)), (1, 4, (6, 18)), (4, 4, (6, 18)), (5, 4, (10, 18))]
)
def test_grid_size(n: int, columns: int, size: tuple[int, int]) -> None:
    assert grid(random_pixels(n, 1, 2, 2), columns).shape == (1, *size)


def test_grid_without_gap() -> None:
    tiles = random_pixels(4, 1, 2, 2)
    rows = [torch.cat(list(tiles[i : i + 2]), dim=2) for i in (0, 2)]
    assert torch.equal(grid(tiles, 2, gap=0), torch.cat(rows, dim=1))


def test_to_pil_grey_and_colour() -> None:
    grey, colour = random_pixels(1, 4, 6), random_pixels(3, 4, 6)
    assert to_pil(grey).mode == "L"
    assert np.array_equal(np.asarray(to_pil(grey)), grey[0].numpy())
    assert to_pil(colour).mode == "RGB"
    assert to_pil(colour).size == (6, 4)
    assert to_pil(colour).getpixel((5, 1)) == tuple(colour[:, 1, 5].tolist())


def band_and_sheet(picture: Image.Image, sheet: Tensor, scale: int) -> np.ndarray:
    """The caption band (h, W) in grey, after finding the enlarged `sheet` below it unchanged."""
    enlarged = sheet.permute(1, 2, 0).numpy().repeat(scale, axis=0).repeat(scale, axis=1)
    page = np.asarray(picture)
    page = page[:, :, None] if page.ndim == 2 else page
    assert page.shape[1:] == enlarged.shape[1:]
    assert np.array_equal(page[-len(enlarged) :], enlarged)
    return page[: -len(enlarged)].mean(axis=2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_class_grid_shows_the_grid_below_its_captions(channels: int, scale: int) -> None:
    tiles = random_pixels(20, channels, 28, 28)
    picture = class_grid(tiles, [str(k) for k in range(10)], scale)
    assert picture.mode == {1: "L", 3: "RGB"}[channels]
    # ten columns of 28 and eleven gaps of 2; two rows; 20 pixels for the captions
    assert picture.size == (scale * 302, scale * 62 + 20)
    band_and_sheet(picture, grid(tiles, 10), scale)


CAPTIONS = [
    # upright: words wider than a column of 8 × 8 pixels
    (["seven", "T-shirt/top", "ankle boot"], 8),
    (["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"], 28),
    (["cat", "dog"], 32),
]


@pytest.mark.parametrize(("captions", "side"), CAPTIONS)
def test_each_caption_stands_above_its_own_column(captions: list[str], side: int) -> None:
    tiles = random_pixels(len(captions), 1, side, side)
    sheet = grid(tiles, len(captions))
    whole = band_and_sheet(class_grid(tiles, captions), sheet, 2) < 128
    # a gap of two pixels, and then the columns
    pitch = 2 * (side + 2)
    found = []
    for k, caption in enumerate(captions):
        words = [c if i == k else "" for i, c in enumerate(captions)]
        alone = band_and_sheet(class_grid(tiles, words), sheet, 2) < 128
        rows, columns = np.nonzero(alone)
        assert len(columns) > 0, caption
        left, right = k * pitch, (k + 1) * pitch + 4
        assert left <= columns.min()
        assert columns.max() < right
        assert (columns.min() + columns.max()) / 2 == pytest.approx((left + right) / 2, abs=6)
        assert rows.min() > 0
        found.append(len(columns))
    # all captions together have as much ink as each on its own: none is cut off or covered
    assert whole.sum() == sum(found)


@pytest.mark.parametrize("letter", sorted(set("MöweæßćłŻñ Ζεύς рысь")))
def test_captions_have_the_letters_of_their_words(letter: str) -> None:
    drawn, box = (np.asarray(captioned(Image.new("L", (28, 28)), [c])) for c in (letter, "\uffff"))
    assert drawn.shape != box.shape or (drawn != box).any()


def test_long_captions_make_room_by_standing_upright() -> None:
    tiles = random_pixels(2, 1, 8, 8)
    short, long = class_grid(tiles, ["0", "1"]), class_grid(tiles, ["0", "a very long name"])
    assert long.width == short.width
    assert long.height > short.height + 50


def test_save_png_keeps_pixels_and_text(tmp_path: Path) -> None:
    pixels = random_pixels(3, 5, 7)
    path = tmp_path / "new" / "folder" / "fives.png"
    text = {"ganctl.label": "5", "ganctl.seed": "17", "note": "γ = 0.1"}
    save_png(to_pil(pixels), path, text)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert np.array_equal(np.asarray(picture), pixels.permute(1, 2, 0).numpy())
        assert picture.text == text  # type: ignore[attr-defined]
    assert [p.name for p in path.parent.iterdir()] == ["fives.png"]


def test_save_png_without_text(tmp_path: Path) -> None:
    save_png(to_pil(random_pixels(1, 5, 7)), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.text == {}  # type: ignore[attr-defined]


def test_a_file_for_a_folder_is_a_usage_error(tmp_path: Path) -> None:
    # Unwritable for root too, who may write where permissions say no.
    blocked = tmp_path / "file"
    blocked.write_bytes(b"no folder")
    for path in (blocked / "a.png", blocked / "deeper" / "a.png"):
        with pytest.raises(UsageError, match=r"cannot write .*a\.png"):
            save_png(to_pil(random_pixels(1, 2, 2)), path)
    assert blocked.read_bytes() == b"no folder"


def test_a_folder_for_a_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(UsageError, match="cannot write"):
        save_png(to_pil(random_pixels(1, 2, 2)), tmp_path / "a.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
