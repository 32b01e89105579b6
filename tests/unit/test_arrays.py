"""Many images on disk, as arrays and as single PNGs: what they hold, and what an interruption costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from small_generator import CPU, snapshot_of
from torch import Tensor

from ganctl import arrays, atomic, inputs, singles
from ganctl.errors import UsageError
from ganctl.expressions import Point
from ganctl.generator import Generator
from ganctl.sample import Product

ASKED = Product([2, 0], range(3, 103))
KINDS = [".npy", ".npz"]


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator(snapshot_of(), CPU)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """`count`: images drawn so far; from `stop_at` on, Ctrl-C is pressed."""
    seen = SimpleNamespace(count=0, stop_at=10**9)
    draw = Generator.draw

    def counted(self: Generator, points: list[Point], *, truncation: float = 1.0) -> Tensor:
        if seen.count >= seen.stop_at:
            raise KeyboardInterrupt
        seen.count += len(points)
        return draw(self, points, truncation=truncation)

    monkeypatch.setattr(Generator, "draw", counted)
    return seen


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- arrays --------------------------------------------------------------------------------------------------


def test_arrays_are_channels_last_with_labels_and_seeds(generator: Generator, tmp_path: Path) -> None:
    asked = Product([2, 0], [3, 4, 9])
    for kind in KINDS:
        arrays.write(generator, asked, tmp_path / f"a{kind}", kind, batch_size=2)
    assert files(tmp_path) == ["a.npy", "a.npz"]
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert sorted(file) == ["images", "labels", "seeds"]
        assert (file["labels"].dtype, file["seeds"].dtype) == (np.int64, np.int64)
        assert file["labels"].tolist() == [2, 2, 2, 0, 0, 0]
        assert file["seeds"].tolist() == [3, 4, 9, 3, 4, 9]
        images = file["images"]
    assert (images.shape, images.dtype) == ((6, 8, 8, 1), np.uint8)
    assert np.array_equal(images[4, :, :, 0], generator.sample(0, 4)[0, 0].numpy())
    assert np.array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), images)


def test_an_npz_has_the_same_bytes_every_time_and_opens_for_evaluation(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays.write(generator, ASKED, tmp_path / "a.npz", ".npz")
    monkeypatch.setattr("time.time", lambda: 0.0)
    arrays.write(generator, ASKED, tmp_path / "b.npz", ".npz", batch_size=7)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_DEFLATED}
    found = inputs.open_images(tmp_path / "a.npz")
    assert found.labels == [1] * 100 + [0] * 100  # their places among 0 and 2
    assert torch.equal(next(found.batches([150])), generator.sample(0, 53))


def test_without_labels_there_are_seeds_alone(tmp_path: Path) -> None:
    unconditional = Generator(snapshot_of((), channels=3), CPU)
    arrays.write(unconditional, Product([0], [3, 12]), tmp_path / "a.npz", ".npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert sorted(file) == ["images", "seeds"]
        assert file["images"].shape == (2, 8, 8, 3)
    singles.write(unconditional, Product([0], [3, 12]), tmp_path / "singles")
    assert files(tmp_path / "singles") == ["seed000003.png", "seed000012.png"]
    for path in ("singles", "a.npz"):
        found = inputs.open_images(tmp_path / path)
        assert found.labels is None
        assert torch.equal(next(found.batches([1]))[0], unconditional.sample(seeds=12)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_array_goes_on_where_it_was(
    generator: Generator, tmp_path: Path, drawn: SimpleNamespace, kind: str
) -> None:
    arrays.write(generator, ASKED, tmp_path / f"whole{kind}", kind)
    drawn.count, drawn.stop_at = 0, 60
    for expected in (60, 120, 180):
        with pytest.raises(KeyboardInterrupt):
            arrays.write(generator, ASKED, tmp_path / f"a{kind}", kind, batch_size=20)
        assert drawn.count == expected
        assert files(tmp_path) == [f"a{kind}.part", f"a{kind}.part.json", f"whole{kind}"]
        drawn.stop_at += 60
    arrays.write(generator, ASKED, tmp_path / f"a{kind}", kind, batch_size=20)
    assert drawn.count == 200
    assert files(tmp_path) == [f"a{kind}", f"whole{kind}"]
    assert (tmp_path / f"a{kind}").read_bytes() == (tmp_path / f"whole{kind}").read_bytes()


def interrupted(generator: Generator, folder: Path, drawn: SimpleNamespace) -> Path:
    """`a.npy`, of which 60 of 200 images are there."""
    drawn.stop_at = 60
    with pytest.raises(KeyboardInterrupt):
        arrays.write(generator, ASKED, folder / "a.npy", ".npy", batch_size=20)
    drawn.stop_at, drawn.count = 10**9, 0
    return folder / "a.npy"


def test_what_a_kill_left_behind_the_note_is_drawn_again(
    generator: Generator, tmp_path: Path, drawn: SimpleNamespace
) -> None:
    out = interrupted(generator, tmp_path, drawn)
    with (tmp_path / "a.npy.part").open("ab") as file:
        file.write(b"half an image")
    arrays.write(generator, ASKED, out, ".npy")
    assert drawn.count == 140
    assert np.array_equal(
        np.load(out)[:, :, :, 0], generator.sample([2] * 100 + [0] * 100, [*ASKED.seeds] * 2)[:, 0]
    )


OTHERS: dict[str, Any] = {
    "checkpoint": (snapshot_of(seed=1), ASKED),
    "label": (snapshot_of(), Product([2, 1], ASKED.seeds)),
    "seed": (snapshot_of(), Product([2, 0], range(4, 104))),
    "truncation": (snapshot_of(), replace(ASKED, truncation=0.5)),
}


@pytest.mark.parametrize("key", OTHERS)
def test_a_part_of_something_else_is_refused_until_forced(
    generator: Generator, tmp_path: Path, drawn: SimpleNamespace, key: str
) -> None:
    out = interrupted(generator, tmp_path, drawn)
    before = (tmp_path / "a.npy.part").read_bytes()
    other = Generator(OTHERS[key][0], CPU)
    with pytest.raises(UsageError, match=f"something else: another {key}") as caught:
        arrays.write(other, OTHERS[key][1], out, ".npy")
    assert "--force" in caught.value.fix
    assert drawn.count == 0
    assert (tmp_path / "a.npy.part").read_bytes() == before
    arrays.write(other, OTHERS[key][1], out, ".npy", force=True)
    assert drawn.count == 200
    assert np.array_equal(
        np.load(out)[7, :, :, 0], other.draw([OTHERS[key][1][7]], truncation=OTHERS[key][1].truncation)[0, 0]
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda note, part: note.unlink(),
        lambda note, part: note.write_text("[" * 100_000),
        lambda note, part: note.write_text('{"done": 3}'),
        lambda note, part: note.write_bytes(b"\xff\xfe"),
        lambda note, part: note.write_text(json.dumps(json.loads(note.read_text()) | {"done": 61})),
        lambda note, part: note.write_text(json.dumps(json.loads(note.read_text()) | {"done": -1})),
        lambda note, part: note.write_text(json.dumps(json.loads(note.read_text()) | {"done": True})),
        lambda note, part: os.truncate(part, 1000),
        lambda note, part: os.truncate(part, 20),
        lambda note, part: part.write_bytes(b"x" + part.read_bytes()[1:]),
    ],
)
def test_a_damaged_part_is_refused_with_the_way_out(
    generator: Generator, tmp_path: Path, drawn: SimpleNamespace, damage: Any
) -> None:
    out = interrupted(generator, tmp_path, drawn)
    damage(tmp_path / "a.npy.part.json", tmp_path / "a.npy.part")
    with pytest.raises(UsageError) as caught:
        arrays.write(generator, ASKED, out, ".npy")
    assert "--force" in caught.value.fix
    assert drawn.count == 0


def test_two_processes_do_not_write_one_array(
    generator: Generator, tmp_path: Path, drawn: SimpleNamespace
) -> None:
    out = interrupted(generator, tmp_path, drawn)
    hold = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, 2); print(1, flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / "a.npy.part")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"1\n"
        with pytest.raises(UsageError, match="another process"):
            arrays.write(generator, ASKED, out, ".npy")
        holder.kill()
    arrays.write(generator, ASKED, out, ".npy")


def test_a_disk_without_room_is_known_before_anything_is_drawn(
    generator: Generator, tmp_path: Path, drawn: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = SimpleNamespace(free=200 * 64)
    monkeypatch.setattr("shutil.disk_usage", lambda path: room)
    arrays.write(generator, ASKED, tmp_path / "a.npy", ".npy")
    room.free -= 1
    with pytest.raises(UsageError, match="200 images take"):
        arrays.write(generator, ASKED, tmp_path / "b.npy", ".npy")
    assert drawn.count == 200
    assert files(tmp_path) == ["a.npy"]


# -- single PNGs ---------------------------------------------------------------------------------------------


def test_singles_say_where_they_come_from(generator: Generator, tmp_path: Path) -> None:
    singles.write(generator, Product([2], [3, 4]), tmp_path)
    assert files(tmp_path) == ["ankle-boot_seed000003.png", "ankle-boot_seed000004.png"]
    with PngImageFile(tmp_path / "ankle-boot_seed000004.png") as picture:
        assert picture.text["ganctl:label"] == "2"
        assert picture.text["ganctl:seed"] == "4"
        assert picture.text["ganctl:checkpoint"] == generator.digest
        assert np.array_equal(np.asarray(picture), generator.sample(2, 4)[0, 0].numpy())


def test_singles_that_are_there_stay_and_the_others_are_drawn(
    generator: Generator, tmp_path: Path, drawn: SimpleNamespace
) -> None:
    singles.write(generator, ASKED, tmp_path / "whole")
    drawn.count, drawn.stop_at = 0, 60
    with pytest.raises(KeyboardInterrupt):
        singles.write(generator, ASKED, tmp_path / "a", batch_size=20)
    made = {name: os.stat(tmp_path / "a" / name).st_ino for name in files(tmp_path / "a")}
    assert len(made) == 60
    damaged = tmp_path / "a" / next(iter(made))
    damaged.write_bytes(damaged.read_bytes()[:-9])
    drawn.stop_at = 10**9
    singles.write(generator, ASKED, tmp_path / "a", batch_size=20)
    assert drawn.count == 201
    assert files(tmp_path / "a") == files(tmp_path / "whole")
    for name in files(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    kept = [name for name, inode in made.items() if os.stat(tmp_path / "a" / name).st_ino == inode]
    assert sorted({*made} - {*kept}) == [damaged.name]


def test_pictures_of_other_weights_are_not_drawn_over_until_forced(
    generator: Generator, tmp_path: Path
) -> None:
    asked = Product([1], range(3))
    singles.write(Generator(snapshot_of(seed=1), CPU), asked, tmp_path)
    before = (tmp_path / "trouser_seed000000.png").read_bytes()
    with pytest.raises(UsageError, match="another picture: its checkpoint differs"):
        singles.write(generator, asked, tmp_path)
    assert (tmp_path / "trouser_seed000000.png").read_bytes() == before
    singles.write(generator, asked, tmp_path, force=True)
    assert (tmp_path / "trouser_seed000000.png").read_bytes() != before


def test_a_strangers_png_is_not_drawn_over(generator: Generator, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "trouser_seed000000.png")
    with pytest.raises(UsageError, match="another picture"):
        singles.write(generator, Product([1], [0]), tmp_path)


def test_singles_are_synced_once(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append("one"))
    monkeypatch.setattr(os, "sync", lambda: synced.append("all"))
    singles.write(generator, ASKED, tmp_path / "a")
    assert synced == ["all"]
    atomic.write(tmp_path / "b", lambda file: file.write(b"x"))
    assert synced[1:] == ["one", "one"]  # the file and its folder


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("t-shirt", "trouser"), ["t-shirt_", "trouser_"]),
        (("../../up", "b"), ["______up_", "b_"]),
        (("a b", "A_b", "-rf"), ["0_", "1_", "2_"]),
        (("-rf", "--help", "-"), ["_rf_", "_-help_", "__"]),
        ((), [""]),
    ],
)
def test_a_label_name_neither_leaves_the_folder_nor_is_an_option(
    names: tuple[str, ...], expected: list[str]
) -> None:
    assert singles.file_names(names) == expected


def test_what_is_written_does_not_gather_in_memory(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No draw, no write and no read is larger than a batch."""
    sizes: list[int] = []
    monkeypatch.setattr(arrays, "COPY_BYTES", 4096)
    draw = Generator.draw

    def measured(self: Generator, points: list[Point], *, truncation: float = 1.0) -> Tensor:
        sizes.append(len(points) * 64)
        return draw(self, points, truncation=truncation)

    monkeypatch.setattr(Generator, "draw", measured)
    write = zipfile._ZipWriteFile.write  # type: ignore[attr-defined]
    monkeypatch.setattr(
        zipfile._ZipWriteFile,  # type: ignore[attr-defined]
        "write",
        lambda self, data: sizes.append(len(data)) or write(self, data),
    )
    arrays.write(generator, Product([0, 1, 2], range(300)), tmp_path / "a.npz", ".npz", batch_size=50)
    assert max(sizes) <= 4096
    assert sum(sizes) > 2 * 900 * 64
