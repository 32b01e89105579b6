"""GIFs and MP4s are read back by Pillow and ffmpeg."""

from __future__ import annotations

import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from ganctl import movies
from ganctl.errors import UsageError
from ganctl.pngs import Shape

torch.manual_seed(0)
# Smooth enough for H.264, and no two alike.
RAMP = torch.arange(8)[:, None] * 8 + torch.arange(8)[None] * 20
FRAMES = torch.stack([(RAMP + 7 * i).to(torch.uint8)[None] for i in range(5)])


def gif_of(path: Path) -> list[np.ndarray]:
    with Image.open(path) as film:
        found = []
        for i in range(film.n_frames):  # type: ignore[attr-defined]
            film.seek(i)
            found.append(np.asarray(film.convert("L")))
        return found


def test_a_grey_gif_holds_every_frame_exactly(tmp_path: Path) -> None:
    movies.write(FRAMES, tmp_path / "a.gif", ".gif", fps=20, scale=2, texts={"ganctl:frames": "5"})
    frames = gif_of(tmp_path / "a.gif")
    assert len(frames) == 5
    for frame, expected in zip(frames, FRAMES, strict=True):
        assert frame.shape == (16, 16)
        assert np.array_equal(frame[::2, 1::2], expected[0])
    with Image.open(tmp_path / "a.gif") as film:
        assert (film.info["loop"], film.info["duration"]) == (0, 50)
        assert film.info["comment"] == b"ganctl:frames: 5"


def test_a_loop_goes_back_without_showing_its_ends_twice(tmp_path: Path) -> None:
    movies.write(FRAMES, tmp_path / "a.gif", ".gif", fps=10, loop=True)
    frames = gif_of(tmp_path / "a.gif")
    order = [0, 1, 2, 3, 4, 3, 2, 1]
    assert len(frames) == len(order)
    assert all(np.array_equal(frame, FRAMES[i][0]) for frame, i in zip(frames, order, strict=True))


def test_colours_are_kept_nearly(tmp_path: Path) -> None:
    frames = torch.cat([FRAMES, FRAMES.flip(2), FRAMES.flip(3)], dim=1)
    movies.write(frames, tmp_path / "a.gif", ".gif", fps=10)
    with Image.open(tmp_path / "a.gif") as film:
        film.seek(3)
        found = np.asarray(film.convert("RGB")).astype(int)
    assert np.abs(found - frames[3].permute(1, 2, 0).numpy()).max() < 30


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # imageio-ffmpeg leaves its pipes open
def test_an_mp4_shows_the_frames(tmp_path: Path) -> None:
    movies.write(FRAMES, tmp_path / "a.mp4", ".mp4", fps=25, scale=4)
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "a.mp4"))
    meta = next(reader)
    assert (meta["size"], meta["fps"], meta["codec"]) == ((32, 32), 25, "h264")
    found = [np.frombuffer(data, np.uint8).reshape(32, 32, 3).astype(int) for data in reader]
    assert len(found) == 5
    for frame, expected in zip(found, FRAMES, strict=True):
        errors = [np.abs(frame[1::4, 2::4, 0] - other[0].numpy()).mean() for other in FRAMES]
        assert np.abs(frame[1::4, 2::4, 0] - expected[0].numpy()).mean() == min(errors) < 5
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_what_an_mp4_needs_is_known_before(monkeypatch: pytest.MonkeyPatch) -> None:
    strip = Shape(1, 16, 160)
    movies.require_possible(".mp4", strip, 14)
    movies.require_possible(".gif", strip, 7)
    with pytest.raises(UsageError, match="7 pixels") as caught:
        movies.require_possible(".mp4", strip, 7)
    assert "--scale 2" in caught.value.fix
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    movies.require_possible(".gif", strip, 8)
    with pytest.raises(UsageError, match="imageio-ffmpeg") as caught:
        movies.require_possible(".mp4", strip, 8)
    assert "pip install 'ganctl[video]'" in caught.value.fix


def test_a_film_that_memory_does_not_hold_is_refused() -> None:
    movies.require_possible(".gif", Shape(1, 1 << 10, 1 << 19), 1 << 10)
    with pytest.raises(UsageError, match="513 MiB"):
        movies.require_possible(".gif", Shape(1, 1 << 10, 513 << 10), 1 << 10)
