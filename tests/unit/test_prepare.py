"""A folder of pictures becomes one file: what is in it, what is left out, and that it can be interrupted."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganctl import __version__, cli
from ganctl.data import prepare as module
from ganctl.data.decode import Recipe, decode
from ganctl.data.prepare import list_of_unreadable, listing_digest, prepare
from ganctl.errors import UsageError

RNG = np.random.default_rng(0)
RECIPE = Recipe(8, "center", 3)


def picture(height: int = 12, width: int = 12) -> bytes:
    out = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (height, width, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """Forty pictures of two classes, one of them damaged, in sizes of their own."""
    for i in range(40):
        place = tmp_path / "src" / ("cat" if i % 4 else "dog") / f"{i:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(picture(8 + i % 3, 8 + i % 5) if i != 17 else b"\x89PNG nothing")
    return tmp_path / "src"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Counts what is decoded; interrupts where it is told to."""
    told, lock = SimpleNamespace(count=0, stop_at=10**9), threading.Lock()

    def counting(content: bytes, recipe: Recipe) -> np.ndarray:
        with lock:
            told.count += 1
            if told.count > told.stop_at:
                raise KeyboardInterrupt
        return decode(content, recipe)

    monkeypatch.setattr(module, "decode", counting)
    return told


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as found:
        return dict(found)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_the_file_has_what_it_says(src: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    made = prepare(src, out, RECIPE)
    found = arrays_of(out)
    files = [file for file in sorted(src.rglob("*.png")) if file.stem != "17"]
    assert np.array_equal(found["images"], [decode(file.read_bytes(), RECIPE) for file in files])
    assert found["images"].dtype == np.uint8
    assert found["label_names"].tolist() == ["cat", "dog"]
    assert found["labels"].tolist() == [int(file.parent.name == "dog") for file in files]
    assert found["labels"].dtype == np.int64
    assert found["split"].dtype == np.uint8
    assert [int(found["split"][found["labels"] == y].sum()) for y in (0, 1)] == [3, 1]
    sha = hashlib.sha256(
        b"".join(found[name].tobytes() for name in ("images", "labels", "split"))
    ).hexdigest()
    assert json.loads(found["about"].item()) == {
        "format": 1,
        "resolution": 8,
        "crop": "center",
        "channels": 3,
        "source": "src",
        "sha256": sha,
        "ganctl": __version__,
    }
    assert (made.path, made.num_images, made.num_test, made.digest) == (out, 39, 4, sha)
    assert (made.label_names, made.class_counts) == (("cat", "dog"), (29, 10))
    with zipfile.ZipFile(out) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}


def test_what_cannot_be_read_is_listed(src: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "out.npz"
    reason = "no picture, or damaged at its beginning"
    assert prepare(src, out, RECIPE).unreadable == (("cat/17.png", reason),)
    assert list_of_unreadable(out).read_text() == f"cat/17.png\t{reason}\n"
    assert "left out: 1 pictures that cannot be read" in caplog.text
    (src / "cat" / "17.png").write_bytes(picture())
    assert prepare(src, out, RECIPE, force=True).unreadable == ()
    assert names(tmp_path) == ["out.npz", "src"], "an older list does not stay"


def test_without_labels_there_are_none(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"{i}.png").write_bytes(picture())
    made = prepare(tmp_path, tmp_path / "out.npz", Recipe(4, "none", 1))
    found = arrays_of(made.path)
    assert set(found) == {"images", "split", "about"}
    assert found["images"].shape == (20, 4, 4, 1)
    assert found["split"].sum() == made.num_test == 2
    assert (made.label_names, made.class_counts) == ((), ())


def test_the_parts_of_a_folder_stay_its_parts(tmp_path: Path) -> None:
    for part, n in (("train", 5), ("test", 3), ("val", 2)):
        for i in range(n):
            place = tmp_path / "src" / part / "ab"[i % 2] / f"{i}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(picture())
    split = arrays_of(prepare(tmp_path / "src", tmp_path / "out.npz", RECIPE).path)["split"]
    assert split.tolist() == [1] * 3 + [0] * 7  # in the order of their paths


def test_the_bytes_depend_on_nothing_else(src: Path, tmp_path: Path) -> None:
    wanted = prepare(src, tmp_path / "a.npz", RECIPE, workers=1).path.read_bytes()
    assert prepare(src, tmp_path / "b.npz", RECIPE, workers=7).path.read_bytes() == wanted
    assert prepare(src, tmp_path / "c.npz", Recipe(8, "none", 3)).path.read_bytes() != wanted
    with zipfile.ZipFile(tmp_path / "src.zip", "w") as archive:
        for file in src.rglob("*.png"):
            archive.write(file, file.relative_to(src.parent))
    from_zip = arrays_of(prepare(tmp_path / "src.zip", tmp_path / "d.npz", RECIPE, workers=3).path)
    for name, array in arrays_of(tmp_path / "a.npz").items():
        assert name == "about" or np.array_equal(from_zip[name], array)


def test_an_interrupted_one_goes_on_where_it_was(src: Path, tmp_path: Path, decoded: SimpleNamespace) -> None:
    prepare(src, tmp_path / "whole.npz", RECIPE, workers=1)
    out = tmp_path / "out.npz"
    decoded.count, decoded.stop_at = 0, 10
    for done in (10, 20):
        with pytest.raises(KeyboardInterrupt):
            prepare(src, out, RECIPE, workers=1)
        assert json.loads((tmp_path / "out.npz.part.json").read_text())["done"] == done
        assert not out.exists()
        decoded.count = 0
    decoded.stop_at = 10**9
    made = prepare(src, out, RECIPE, workers=1)
    assert decoded.count == 20
    assert made.unreadable[0][0] == "cat/17.png"
    assert out.read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.parametrize("change", ["picture", "new", "recipe", "note", "part"])
def test_of_other_pictures_it_begins_anew(
    src: Path, tmp_path: Path, decoded: SimpleNamespace, change: str
) -> None:
    decoded.stop_at = 10
    out, recipe = tmp_path / "out.npz", RECIPE
    with pytest.raises(KeyboardInterrupt):
        prepare(src, out, recipe, workers=1)
    if change == "picture":
        (src / "cat" / "01.png").write_bytes(picture(30, 30))
    elif change == "new":
        (src / "cat" / "99.png").write_bytes(picture())
    elif change == "recipe":
        recipe = Recipe(8, "none", 3)
    elif change == "note":
        (tmp_path / "out.npz.part.json").write_text("{")
    else:
        os.truncate(tmp_path / "out.npz.part", 100)
    decoded.count, decoded.stop_at = 0, 10**9
    prepare(src, out, recipe)
    assert decoded.count == 41 if change == "new" else 40
    prepare(src, tmp_path / "whole.npz", recipe)
    assert out.read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_the_digest_of_a_listing_is_that_of_its_recipe_too(src: Path) -> None:
    recipes = [RECIPE, Recipe(8, "none", 3), Recipe(8, "center", 1), Recipe(9, "center", 3)]
    assert len({listing_digest(src, recipe) for recipe in recipes}) == 4
    assert listing_digest(src, RECIPE) == listing_digest(src, Recipe(8))


def test_what_is_there_is_not_replaced(src: Path, tmp_path: Path, decoded: SimpleNamespace) -> None:
    out = tmp_path / "out.npz"
    out.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists"):
        prepare(src, out, RECIPE)
    assert (out.read_bytes(), decoded.count) == (b"mine", 0)
    prepare(src, out, RECIPE, force=True)
    assert len(arrays_of(out)["images"]) == 39


def test_a_disk_without_room_is_known_before_anything_is_decoded(
    src: Path, tmp_path: Path, decoded: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = SimpleNamespace(free=2 * 40 * 8 * 8 * 3 - 1)
    monkeypatch.setattr("shutil.disk_usage", lambda path: room)
    with pytest.raises(UsageError, match="40 images take"):
        prepare(src, tmp_path / "out.npz", RECIPE)
    assert decoded.count == 0
    assert names(tmp_path) == ["src"]
    room.free += 1
    prepare(src, tmp_path / "out.npz", RECIPE)


def test_where_nothing_can_be_written_nothing_is_decoded(
    src: Path, tmp_path: Path, decoded: SimpleNamespace
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot write"):
        prepare(src, tmp_path / "file" / "out.npz", RECIPE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no pictures"):
        prepare(tmp_path / "empty", tmp_path / "new" / "out.npz", RECIPE)
    assert names(tmp_path) == ["empty", "file", "src"]
    assert decoded.count == 0


def spoil(src: Path, which: str) -> None:
    for file in src.rglob(which):
        file.write_bytes(b"nothing")


@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("*.png", "40 of 40 pictures cannot be read: cat/01.png"),
        ("dog/*.png", "none of the pictures of the class dog can be read: cat/17.png"),
    ],
)
def test_too_few_that_can_be_read_are_an_error(src: Path, tmp_path: Path, which: str, words: str) -> None:
    spoil(src, which)
    with pytest.raises(UsageError, match=words):
        prepare(src, tmp_path / "out.npz", RECIPE)
    assert names(tmp_path) == ["src"]


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_of_which_nothing_can_be_read_is_an_error(tmp_path: Path, part: str) -> None:
    for i in range(4):
        place = tmp_path / "src" / ("train" if i % 2 else "test") / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(picture())
    spoil(tmp_path / "src", f"{part}/*.png")
    with pytest.raises(UsageError, match=f"none of the pictures to {part} .* can be read"):
        prepare(tmp_path / "src", tmp_path / "out.npz", RECIPE)


def call(*words: str) -> int:
    """The exit code of the command line."""
    with pytest.raises(SystemExit) as ended:
        cli.app(list(words))
    return int(ended.value.code or 0)


def test_the_command(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["data", "prepare", "src", "--resolution", "16", "--channels", "1", "--crop", "none"]
    assert call(*words) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "src_16.npz",
        "35 images to train on, 4 to test with: 16 × 16, grey",
        "cat 29  dog 10",
        "left out: 1, listed in src_16.npz.unreadable.txt",
    ]
    assert arrays_of(Path("src_16.npz"))["images"].shape == (39, 16, 16, 1)
    assert call(*words) == 2
    assert capsys.readouterr().err.startswith("Error: src_16.npz exists\nTry: ")
    assert call(*words, "--out", "b.npz", "--json", "--workers", "2") == 0
    made: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert made.pop("sha256") == json.loads(arrays_of(Path("b.npz"))["about"].item())["sha256"]
    assert made == {
        "path": "b.npz",
        "num_images": 39,
        "num_test": 4,
        "classes": {"cat": 29, "dog": 10},
        "unreadable": [{"name": "cat/17.png", "reason": "no picture, or damaged at its beginning"}],
    }
    for wrong, words_of_it in (
        (["--crop", "centre"], "there is no crop 'centre'"),
        (["--channels", "2"], "2 channels"),
        (["--resolution", "0"], "a resolution of 0"),
        (["--out", "x.zip"], "x.zip is no .npz"),
    ):
        assert call("data", "prepare", "src", *wrong) == 2
        assert words_of_it in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_one_goes_on(tmp_path: Path) -> None:
    """SIGKILL in the middle: what a note says is there is there, and the end is the same."""
    for i in range(60):
        place = tmp_path / "src" / f"{i:02}.png"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(picture())
    code = (
        "import os, sys; from pathlib import Path\n"
        "from ganctl import growing; from ganctl.data import prepare as p\n"
        "growing.NOTED_EVERY_S, decode, done = 0, p.decode, []\n"
        "def counting(content, recipe):\n"
        "    done.append(1)\n"
        "    if len(done) > 25: os.kill(os.getpid(), 9)\n"
        "    return decode(content, recipe)\n"
        "p.decode = counting\n"
        "p.prepare(Path('src'), Path('out.npz'), p.Recipe(8), workers=1)\n"
    )
    root = Path(module.__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    for killed in (True, True, False):
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=False)
        assert done.returncode == (-9 if killed else 0)
    prepare(tmp_path / "src", tmp_path / "whole.npz", RECIPE)
    assert (tmp_path / "out.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
