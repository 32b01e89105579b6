"""Samples of the bundled generator: drawn again, interpolated, interrupted, and drawn in Python."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ganctl

pytestmark = pytest.mark.slow

Invoke = Callable[..., SimpleNamespace]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_hundred_samples_are_drawn_again_bit_for_bit(invoke: Invoke) -> None:
    """Each by itself, by another call, where they were drawn together."""
    drawn = invoke("sample", "--label", "all", "--n", "10", "--truncation", "0.9", "--outdir", "pictures")
    assert drawn.exit_code == 0, drawn.stderr
    files = sorted(str(path) for path in Path("pictures").iterdir())
    assert len(files) == 100
    done = invoke("replay", *files)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"{file}: identical" for file in files]


def test_grids_and_strips_too_and_what_was_altered_is_seen(invoke: Invoke) -> None:
    grid = ("--label", "3,5", "--n", "4", "--captions", "--scale", "2")
    for out, options in {
        "grid.png": grid,
        "strip.png": ("--interpolate", "3:1", "8:2", "--frames", "9"),
    }.items():
        assert invoke("sample", *options, "--out", out).exit_code == 0
    done = invoke("replay", "grid.png", "strip.png", "--json")
    assert done.exit_code == 0, done.stderr
    assert [row["identical"] for row in json.loads(done.stdout)["pictures"]] == [True, True]

    with Image.open("grid.png") as picture:
        pixels, info = np.array(picture), picture.info
    pixels[70, 70] ^= 8
    altered = Image.fromarray(pixels)
    from PIL.PngImagePlugin import PngInfo

    said = PngInfo()
    for key, text in info.items():
        said.add_text(str(key), text)
    altered.save("altered.png", pnginfo=said)
    done = invoke("replay", "altered.png", "strip.png", "--out", "x.png")
    assert done.exit_code == 2
    done = invoke("replay", "altered.png", "--out", "again.png")
    assert (done.exit_code, done.stderr) == (1, "")
    assert done.stdout == "altered.png: 1 pixels differ, by 8 grey levels at most; it was altered\n"
    assert Path("again.png").read_bytes() == Path("grid.png").read_bytes()


def test_python_draws_the_same_bytes(invoke: Invoke) -> None:
    options = ("--label", "7,2", "--seeds", "4,9", "--truncation", "0.8", "--out", "a.npz")
    assert invoke("sample", *options).exit_code == 0
    with np.load("a.npz", allow_pickle=False) as arrays:
        expected, labels, seeds = arrays["images"], arrays["labels"], arrays["seeds"]
    g = ganctl.load()
    assert np.array_equal(g.sample(labels, seeds, truncation=0.8).permute(0, 2, 3, 1).numpy(), expected)
    assert invoke("sample", "--interpolate", "3:1", "8:2", "--frames", "9", "--out", "s.png").exit_code == 0
    with Image.open("s.png") as picture:
        strip = np.asarray(picture)
    for i, frame in enumerate(g.interpolate((3, 1), (8, 2), 9)):
        assert np.array_equal(strip[2:30, 2 + 30 * i : 30 + 30 * i], frame[0].numpy())


def test_films_are_written_by_their_suffix(invoke: Invoke) -> None:
    for out, options in {"a.gif": ("--loop",), "b.mp4": ("--scale", "4"), "c.GIF": ()}.items():
        done = invoke(
            "sample", "--label", "5", "--interpolate", "0", "7", "--frames", "8", "--out", out, *options
        )
        assert (done.exit_code, done.stdout) == (0, f"{out}\n"), done.stderr
    with Image.open("a.gif") as film, Image.open("c.GIF") as other:
        assert (film.n_frames, other.n_frames) == (14, 8)  # type: ignore[attr-defined]
        assert np.array_equal(np.asarray(film.convert("L")), ganctl.load().sample(5, 0)[0, 0].numpy())
    assert b"ftyp" in Path("b.mp4").read_bytes()[:16]


@pytest.mark.parametrize("out", ["a.npz", "a.npy"])
def test_ctrl_c_says_how_to_go_on_and_costs_nothing(
    start: Callable[..., Any], invoke: Invoke, tmp_path: Path, out: str
) -> None:
    options = ("sample", "--label", "4", "--n", "20000", "--batch-size", "64", "--out", out)
    with (tmp_path / "stderr").open("wb") as stderr:
        process = start(*options, cwd=tmp_path, stderr=stderr)
    part = tmp_path / f"{out}.part"
    until = time.monotonic() + 120
    while not (part.is_file() and part.stat().st_size > 100_000):
        assert process.poll() is None, (tmp_path / "stderr").read_text()
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    said = (tmp_path / "stderr").read_text()
    assert "the same command goes on" in said
    assert "Traceback" not in said
    count = json.loads((tmp_path / f"{out}.part.json").read_text())["done"]
    assert 0 < count < 20_000
    assert f"{count} of 20000 images" in said
    before = part.read_bytes()[: 128 + count * 784]
    assert invoke(*options, "--label", "5").exit_code == 2
    done = invoke(*options)
    assert (done.exit_code, done.stdout) == (0, f"{out}\n"), done.stderr
    assert not part.exists()
    found = np.load(out)
    images = found["images"] if out == "a.npz" else found
    assert images.shape == (20_000, 28, 28, 1)
    assert images[:count].tobytes() == before[128:]
    g = ganctl.load()
    for k in (0, count - 1, count, 19_999):
        assert np.array_equal(images[k, :, :, 0], g.sample(4, k)[0, 0].numpy())
