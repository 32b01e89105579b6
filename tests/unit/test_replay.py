"""A picture is drawn again from what it says of itself, whoever wrote that."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from small_generator import CPU, snapshot_of

from ganctl import checkpoint, images, replay, sample, singles
from ganctl.errors import UsageError
from ganctl.expressions import Point
from ganctl.generator import Generator
from ganctl.sample import Layout, Product, Way
from ganctl.snapshot import Snapshot


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run_of(name: str, started: int, **checkpoints: Snapshot) -> Path:
    """runs/x/<name>, whose training began at that time."""
    folder = Path("runs/x") / name
    (folder / "checkpoints").mkdir(parents=True)
    for stem, snapshot in checkpoints.items():
        checkpoint.write(folder / "checkpoints" / f"{stem}.ckpt", snapshot)
    (folder / "config.yaml").write_text("name: x\n")
    os.utime(folder / "config.yaml", (started, started))
    return folder


@pytest.fixture
def generator() -> Generator:
    """The weights of a run."""
    run_of("a", 1, last=snapshot_of())
    return Generator(snapshot_of(), CPU)


def drawn(
    generator: Generator, asked: Product | Way, layout: Layout, path: str = "x.png", **other: str
) -> Path:
    """A picture as `ganctl sample` writes it, some of its texts others; None leaves one out."""
    said = sample.provenance(generator, asked, layout)
    said |= {f"ganctl:{key}": text for key, text in other.items()}
    said = {key: text for key, text in said.items() if text}
    picture = sample.picture(generator.snapshot, asked, layout, sample.pixels(generator, asked))
    images.save_png(picture, Path(path), said)
    return Path(path)


ONE = Product([1], [5])
GRID = Product([2, 0], [5, 6, 90])
WAY = Way(Point(0, 3), Point(2, 4), 6, 0.9)


@pytest.mark.parametrize(
    ("asked", "layout"),
    [
        (ONE, Layout()),
        (replace(ONE, truncation=0.3), Layout()),
        (GRID, Layout(3)),
        (GRID, Layout(3, captions=True, scale=3)),
        (Product([1], range(50)), Layout(8)),
        (WAY, Layout(6, scale=2)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_drawn_again_exactly(asked: Product | Way, layout: Layout, channels: int) -> None:
    snapshot = snapshot_of(channels=channels)
    run_of("a", 1, last=snapshot)
    path = drawn(Generator(snapshot, CPU), asked, layout)
    again = replay.Replay()(path)
    assert (again.differing, again.max_difference, again.circumstances) == (0, 0, ())
    assert str(again) == "x.png: identical"
    with PngImageFile(path) as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(again.picture))
        assert picture.text == again.texts


def test_of_an_unconditional_generator_too() -> None:
    snapshot = snapshot_of((), channels=3)
    run_of("a", 1, last=snapshot)
    for asked, layout in ((Product([0], [3, 12]), Layout(2)), (Way(Point(0, 3), Point(0, 9), 4), Layout(4))):
        assert replay.Replay()(drawn(Generator(snapshot, CPU), asked, layout)).differing == 0


def test_an_altered_pixel_is_counted_and_measured(generator: Generator) -> None:
    path = drawn(generator, GRID, Layout(3))
    with PngImageFile(path) as picture:
        pixels, said = np.array(picture), picture.text
    pixels[5, 7] ^= 0x40
    pixels[9, 3] ^= 1
    images.save_png(Image.fromarray(pixels), path, said)
    again = replay.Replay()(path)
    assert (again.differing, again.max_difference) == (2, 64)
    assert str(again) == "x.png: 2 pixels differ, by 64 grey levels at most; it was altered"
    assert again.to_dict()["identical"] is False


def test_what_was_made_elsewhere_says_so(generator: Generator) -> None:
    path = drawn(generator, ONE, Layout(), device="cuda Some GPU", torch="1.0", truncation="0.5")
    again = replay.Replay()(path)
    assert again.differing > 0
    assert "device 'cuda Some GPU', here 'cpu" in str(again)
    assert "torch '1.0', here" in str(again)
    path = drawn(generator, ONE, Layout(), torch="1.0")
    assert str(replay.Replay()(path)) == "x.png: identical"


# -- finding the weights -------------------------------------------------------------------------------------


def test_weights_are_found_in_any_run_and_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots = [snapshot_of(seed=i) for i in range(5)]
    run_of("old", 1, last=snapshots[0], best=snapshots[1])
    run_of("new", 3, last=snapshots[2])
    run_of("middle", 2, last=snapshots[3], previous=snapshots[4])
    (run_of("broken", 4) / "checkpoints" / "last.ckpt").write_bytes(b"PK\3\4 no")
    read: list[str] = []
    original = checkpoint.read
    monkeypatch.setattr(checkpoint, "read", lambda path: read.append(str(path)) or original(path))
    paths = [drawn(Generator(s, CPU), ONE, Layout(), f"{i}.png") for i, s in enumerate(snapshots)]
    draw = replay.Replay()
    for i in (2, 3, 4, 0, 1):
        assert draw(paths[i]).differing == 0
    assert [Path(p).parts[2] for p in read if p.startswith("runs")] == [
        "broken",
        "new",
        *["middle"] * 2,
        *["old"] * 2,
    ]
    assert draw(paths[2]).differing == 0  # another time
    with pytest.raises(UsageError) as caught:
        replay.Weights(None).find("0" * 64)
    assert "0" * 64 in caught.value.what
    assert "6 checkpoints, and 1 that cannot be read" in caught.value.what
    assert "--ckpt" in caught.value.fix


def test_the_bundled_weights_are_found(tmp_path: Path) -> None:
    from ganctl import runs

    path = drawn(Generator(checkpoint.read(runs.BUNDLED), CPU), Product([5], [0]), Layout())
    assert replay.Replay()(path).differing == 0


def test_a_file_that_is_named_is_the_only_one(generator: Generator) -> None:
    checkpoint.write(Path("mine.safetensors"), snapshot_of())
    checkpoint.write(Path("other.safetensors"), snapshot_of(seed=1))
    path = drawn(generator, ONE, Layout())
    assert replay.Replay("mine.safetensors")(path).differing == 0
    with pytest.raises(UsageError, match="does not hold the weights"):
        replay.Replay("other.safetensors")(path)


def test_weights_that_a_training_replaced_are_not_taken_for_the_old() -> None:
    folder = run_of("a", 1, last=snapshot_of(), best=snapshot_of(seed=1))
    old, other = (drawn(Generator(snapshot_of(seed=i), CPU), ONE, Layout(), f"{i}.png") for i in range(2))
    draw = replay.Replay()
    assert draw(old).differing == 0
    assert draw(other).differing == 0
    shutil.copy(folder / "checkpoints" / "best.ckpt", folder / "checkpoints" / "last.ckpt")
    with pytest.raises(UsageError, match="there are no weights"):
        draw(old)


# -- what strangers write ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "what"),
    [
        ({"checkpoint": ""}, "of which weights"),
        ({"checkpoint": "../../etc/passwd"}, "of which weights"),
        ({"checkpoint": "f" * 64}, "there are no weights ffff"),
        ({"label": ""}, "does not say its label"),
        ({"label": "3"}, "the label '3'"),
        ({"label": "-1"}, "the label '-1'"),
        ({"label": "trouser"}, "the label 'trouser'"),
        ({"label": "9" * 30}, "the label '999"),
        ({"label": "1,1,1,1"}, "4 labels"),
        ({"seed": ""}, "does not say its seed"),
        ({"seed": "0-4294967295"}, "too many"),
        ({"seed": "x"}, "cannot read the seeds"),
        ({"seed": "5,6"}, "too many"),
        ({"truncation": "0"}, "truncation"),
        ({"truncation": "nan"}, "truncation"),
        ({"truncation": "1e999"}, "truncation"),
        ({"truncation": "2.0"}, "truncation"),
        ({"columns": "0"}, "the column '0'"),
        ({"columns": "2"}, "the column '2'"),
        ({"columns": "1", "scale": "65"}, "the scale '65'"),
        ({"columns": "1"}, "not what its texts say"),
        ({"columns": "1", "captions": "rows"}, "not what its texts say"),
        ({"interpolate": "1:5 2:5"}, "does not say its frames"),
        ({"interpolate": "1:5 2:5", "frames": "10001"}, "the frame '10001'"),
        ({"interpolate": "1:5 2:5", "frames": "3"}, "columns"),
        ({"interpolate": "1:5", "frames": "2", "columns": "2"}, "label"),
        ({"interpolate": "1:5 9:5", "frames": "2", "columns": "2"}, "the label '9'"),
        ({"interpolate": "1:5 2:5000000000", "frames": "2", "columns": "2"}, "the seed"),
        ({"junk": "x" * (2 << 20)}, "too much"),
        ({f"junk{i}": "x" for i in range(50)}, "too much"),
    ],
)
def test_what_it_says_is_not_believed(generator: Generator, texts: dict[str, str], what: str) -> None:
    assert replay.Replay()(drawn(generator, ONE, Layout())).differing == 0
    path = drawn(generator, ONE, Layout(), **texts)
    with pytest.raises(UsageError, match=what):
        replay.Replay()(path)


def test_a_file_that_is_no_picture_of_ours_is_refused(generator: Generator, tmp_path: Path) -> None:
    path = drawn(generator, ONE, Layout())
    content = path.read_bytes()
    for damaged in (b"", content[:-13], content[:70] + b"x" + content[71:]):
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match="damaged"):
            replay.Replay()(path)
    with pytest.raises(UsageError, match="cannot read"):
        replay.Replay()(Path("nowhere.png"))
    with pytest.raises(UsageError, match="no regular file"):
        replay.Replay()(tmp_path)
    Image.new("L", (8, 8)).save("plain.png")
    with pytest.raises(UsageError, match="of which weights"):
        replay.Replay()(Path("plain.png"))


def test_a_huge_picture_is_refused_before_it_is_decoded(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = drawn(generator, Product([1], range(16)), Layout(4))
    assert replay.Replay()(path).differing == 0
    monkeypatch.setattr(replay, "MAX_PIXELS", 42 * 42 - 1)
    with pytest.raises(UsageError, match="too large"):
        replay.Replay()(path)


def test_singles_of_a_folder(generator: Generator) -> None:
    singles.write(generator, Product([0, 1, 2], range(40)), Path("singles"))
    draw = replay.Replay()
    found = [draw(path).differing for path in sorted(Path("singles").iterdir())]
    assert found == [0] * 120
