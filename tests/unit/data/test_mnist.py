"""IDX sets: where they are looked for, how they are fetched, what is refused. On small sets of the format."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets
from two_processes import started_together

from ganctl.data import mnist
from ganctl.data.idx import AlteredError, IdxFile, decode_pickle, read_checked
from ganctl.data.mnist import IdxSet
from ganctl.errors import UsageError
from ganctl.fetch import Package, SourceError, cache_dir

SHAPES = {
    "train-images-idx3-ubyte": (12, 4, 4),
    "train-labels-idx1-ubyte": (12,),
    "t10k-images-idx3-ubyte": (5, 4, 4),
    "t10k-labels-idx1-ubyte": (5,),
}


def arrays_of(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(0, 256 if len(shape) == 3 else 10, shape).astype(np.uint8)
        for name, shape in SHAPES.items()
    }


def raw_of(array: np.ndarray) -> bytes:
    magic = 0x803 if array.ndim == 3 else 0x801
    return struct.pack(f">I{array.ndim}I", magic, *array.shape) + array.tobytes()


def spec_of(arrays: dict[str, np.ndarray], package: Package | None = None) -> IdxSet:
    a, b, c, d = (
        IdxFile(name, hashlib.md5(raw_of(array)).hexdigest(), array.shape) for name, array in arrays.items()
    )
    return IdxSet("tiny", "tiny-set", "MNIST", a, b, c, d, package, "buy a bigger network")


def write(folder: Path, arrays: dict[str, np.ndarray], zipped: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(raw_of(array)))
        else:
            (folder / name).write_bytes(raw_of(array))
    return folder


def original_pickle(arrays: dict[str, np.ndarray]) -> bytes:
    """(training, validation, test) of float32 grey levels / 256, as the package stores them."""
    images = arrays["train-images-idx3-ubyte"].reshape(12, -1) / np.float32(256)
    labels = arrays["train-labels-idx1-ubyte"].astype(np.int64)
    test = arrays["t10k-images-idx3-ubyte"].reshape(5, -1) / np.float32(256)
    test_labels = arrays["t10k-labels-idx1-ubyte"].astype(np.int64)
    return pickle.dumps(
        ((images[:10], labels[:10]), (images[10:], labels[10:]), (test, test_labels)), protocol=3
    )


def make_wheel(folder: Path, member: bytes) -> Package:
    wheel = folder / "tiny_set-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny/set.pkl.gz", member)
        info = "tiny_set-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny_set\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return Package("tiny_set==1.0", hashlib.sha256(wheel.read_bytes()).hexdigest(), "tiny/set.pkl.gz")


def assert_loaded(spec: IdxSet, arrays: dict[str, np.ndarray], root: Path | None = None) -> None:
    train, test = mnist.load(spec, root)
    for split, prefix in ((train, "train"), (test, "t10k")):
        images, labels = arrays[f"{prefix}-images-idx3-ubyte"], arrays[f"{prefix}-labels-idx1-ubyte"]
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert split.images.shape == (len(images), 1, 4, 4)
        assert np.array_equal(split.images[:, 0].numpy(), images)
        assert np.array_equal(split.labels.numpy(), labels)


@pytest.fixture(autouse=True)
def _no_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No system copy, no mirrors, no package index."""
    monkeypatch.setattr(mnist, "SYSTEM_DIR", tmp_path / "no-system-copy")
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))


@pytest.mark.parametrize("layout", [".", "tiny-set", "MNIST/raw"])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("by", ["root", "environment"])
def test_found_in_every_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, zipped: bool, by: str
) -> None:
    arrays = arrays_of(0)
    write(tmp_path / "data" / layout, arrays, zipped)
    if by == "environment":
        monkeypatch.setenv("GANCTL_DATA_DIR", str(tmp_path / "data"))
    assert_loaded(spec_of(arrays), arrays, tmp_path / "data" if by == "root" else None)


def test_found_in_the_system_folder_and_the_cache(tmp_path: Path) -> None:
    arrays = arrays_of(0)
    spec = spec_of(arrays)
    with pytest.raises(UsageError, match="cannot get tiny"):
        mnist.load(spec)
    in_cache = write(cache_dir() / "data" / "tiny-set", arrays)
    assert mnist.fetch(spec) == in_cache
    assert_loaded(spec, arrays)
    in_system = write(tmp_path / "no-system-copy" / "tiny-set", arrays)
    assert mnist.fetch(spec) == in_system


def test_root_is_looked_at_alone(tmp_path: Path) -> None:
    arrays = arrays_of(0)
    write(cache_dir() / "data" / "tiny-set", arrays)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="looked for train-images-idx3-ubyte") as caught:
        mnist.load(spec_of(arrays), empty)
    assert str(empty) in caught.value.what
    with pytest.raises(UsageError, match="does not exist"):
        mnist.load(spec_of(arrays), tmp_path / "none")


@pytest.mark.parametrize("name", list(SHAPES))
@pytest.mark.parametrize("damage", ["flip", "truncate", "truncate-gz", "longer", "not-gzip", "missing"])
@pytest.mark.parametrize("place", ["root", "environment", "system", "cache"])
def test_damaged_file_is_named_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, damage: str, place: str
) -> None:
    arrays = arrays_of(0)
    folder = {
        "root": tmp_path / "data",
        "environment": tmp_path / "data" / "tiny-set",
        "system": tmp_path / "no-system-copy" / "tiny-set",
        "cache": cache_dir() / "data" / "tiny-set",
    }[place]
    write(folder, arrays)
    if place != "cache":  # a good copy further down the search must not hide the bad one
        write(cache_dir() / "data" / "tiny-set", arrays)
    if place == "environment":
        monkeypatch.setenv("GANCTL_DATA_DIR", str(tmp_path / "data"))
    file = folder / f"{name}.gz"
    raw = raw_of(arrays[name])
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(
            {
                "flip": gzip.compress(raw[:-1] + bytes([raw[-1] ^ 1])),
                "truncate": gzip.compress(raw[:-1]),
                "truncate-gz": gzip.compress(raw)[:-9],
                "longer": gzip.compress(raw + bytes(1_000_000)),
                "not-gzip": raw,
            }[damage]
        )
    before = {path: path.read_bytes() for path in folder.glob("*.gz")}
    with pytest.raises(UsageError) as caught:
        mnist.load(spec_of(arrays), tmp_path / "data" if place == "root" else None)
    if place == "cache" and damage == "missing":  # what a killed fetch leaves: fetched again, here in vain
        assert "cannot get tiny" in caught.value.what
    else:
        assert str(folder) in caught.value.what
        assert name in caught.value.what
    assert caught.value.fix
    assert "\n" not in caught.value.what
    assert {path: path.read_bytes() for path in folder.glob("*.gz")} == before


def test_reading_is_bounded_by_the_known_size(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.gz"
    bomb.write_bytes(gzip.compress(bytes(50_000_000), compresslevel=1))
    peak = []

    class Counting(gzip.GzipFile):
        def read(self, size: int | None = -1) -> bytes:
            peak.append(size)
            return super().read(size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gzip, "open", lambda path, mode: Counting(path, mode))
        with pytest.raises(AlteredError, match="more than 110 bytes"):
            read_checked(bomb, IdxFile("bomb", "", (102,)))
    assert peak == [111]


def test_the_other_sets_files_are_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = arrays_of(0), arrays_of(1)
    monkeypatch.setattr(mnist, "FASHION", replace(spec_of(theirs), name="other"))
    monkeypatch.setenv("GANCTL_DATA_DIR", str(write(tmp_path / "data", theirs)))
    write(cache_dir() / "data" / "tiny-set", ours)
    assert_loaded(spec_of(ours), ours)


def test_fetched_from_a_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable[[Path], tuple[str, list[str]]]
) -> None:
    arrays = arrays_of(0)
    good, asked = serve(write(tmp_path / "good", arrays))
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [good])
    spec = spec_of(arrays)
    assert_loaded(spec, arrays)
    assert len(asked) == 4
    assert_loaded(spec, arrays)
    mnist.fetch(spec)
    assert len(asked) == 4  # from now on the cache serves
    mnist.fetch(spec, force=True)
    assert len(asked) == 8
    assert {path.name for path in spec.cache.iterdir()} - {".lock"} == {f"{name}.gz" for name in SHAPES}


def test_bad_mirror_is_asked_once_and_the_next_one_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable[[Path], tuple[str, list[str]]]
) -> None:
    arrays = arrays_of(0)
    bad_folder = write(tmp_path / "bad", arrays)
    name = "train-labels-idx1-ubyte"
    (bad_folder / f"{name}.gz").write_bytes(gzip.compress(raw_of(arrays[name])[:-1] + b"\xff"))
    dead, dead_asked = serve(tmp_path / "nothing-here")
    bad, bad_asked = serve(bad_folder)
    good, _ = serve(write(tmp_path / "good", arrays))
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [dead, bad, good])
    assert_loaded(spec_of(arrays), arrays)
    assert len(dead_asked) == 1
    assert len(bad_asked) == 2


def test_every_source_and_its_reason_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable[[Path], tuple[str, list[str]]]
) -> None:
    arrays = arrays_of(0)
    dead, _ = serve(tmp_path / "nothing-here")
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [dead])
    spec = spec_of(arrays, Package("no-such-set==1.0", "0" * 64, "a"))
    with pytest.raises(UsageError) as caught:
        mnist.load(spec)
    assert dead.removeprefix("http://").rstrip("/") in caught.value.what
    assert "File not found" in caught.value.what
    assert "package no-such-set==1.0: ERROR" in caught.value.what
    assert caught.value.fix == "buy a bigger network"


@pytest.mark.slow
def test_fetched_from_a_package(tmp_path: Path) -> None:
    arrays = arrays_of(0)
    package = make_wheel(tmp_path / "wheels", gzip.compress(original_pickle(arrays)))
    spec = spec_of(arrays, package)
    assert_loaded(spec, arrays)
    first = {path.name: path.read_bytes() for path in spec.cache.glob("*.gz")}
    assert all(data[4:8] == bytes(4) for data in first.values())  # no time in the gzip header
    mnist.fetch(spec, force=True)
    assert {path.name: path.read_bytes() for path in spec.cache.glob("*.gz")} == first


def test_force_replaces_a_damaged_cache(tmp_path: Path) -> None:
    arrays = arrays_of(0)
    spec = spec_of(arrays, make_wheel(tmp_path / "wheels", gzip.compress(original_pickle(arrays))))
    write(spec.cache, arrays)
    (spec.cache / "t10k-labels-idx1-ubyte").write_bytes(b"damaged, and found before the .gz")
    with pytest.raises(UsageError, match="t10k-labels") as caught:
        mnist.load(spec)
    assert "--force" in caught.value.fix
    mnist.fetch(spec, force=True)
    assert_loaded(spec, arrays)


def test_package_with_other_images_is_refused(tmp_path: Path) -> None:
    arrays = arrays_of(0)
    package = make_wheel(tmp_path / "wheels", gzip.compress(original_pickle(arrays_of(1))))
    spec = spec_of(arrays, package)
    with pytest.raises(UsageError, match="differs from the original"):
        mnist.load(spec)
    assert list(spec.cache.glob("*.gz")) == []


class _Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


def test_hostile_pickle_runs_nothing(tmp_path: Path) -> None:
    target = tmp_path / "was-here"
    hostile = pickle.dumps(_Hostile(target), protocol=3)
    pickle.loads(hostile)
    assert target.exists()  # the pickle is live ammunition
    target.unlink()
    with pytest.raises(SourceError, match=r"\.system"):
        decode_pickle(hostile)
    spec = spec_of(arrays_of(0), make_wheel(tmp_path / "wheels", gzip.compress(hostile)))
    with pytest.raises(UsageError, match=r"\.system"):
        mnist.load(spec)
    assert not target.exists()


def test_pickles_of_old_and_new_numpy_are_read() -> None:
    data = original_pickle(arrays_of(0))
    old = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    new = old.replace(b"cnumpy.core.multiarray\n", b"cnumpy._core.multiarray\n")
    assert old != new
    for some in (old, new):
        (train, labels), _, _ = decode_pickle(some)
        assert np.array_equal(train, arrays_of(0)["train-images-idx3-ubyte"][:10].reshape(10, 16))
        assert np.array_equal(labels, arrays_of(0)["train-labels-idx1-ubyte"][:10])


@pytest.mark.parametrize("data", [b"", b"\x80\x02", b"nonsense", pickle.dumps(5, protocol=3)])
def test_damaged_pickle_is_a_reason_not_a_crash(data: bytes) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        decode_pickle(data)


def test_images_that_are_no_grey_levels_are_refused() -> None:
    images, labels = np.full((1, 4), 0.3, np.float32), np.zeros(1, np.int64)
    with pytest.raises(SourceError, match="grey levels"):
        decode_pickle(pickle.dumps(((images, labels),), protocol=3))


_PROCESS = """
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
# in torchvision's place, which takes long to import
sys.modules["torchvision"] = ModuleType("torchvision")
sys.modules["torchvision.datasets"] = sys.modules["torchvision"].datasets = ModuleType("datasets")
sys.modules["torchvision.datasets"].MNIST = SimpleNamespace(mirrors=[sys.argv[1]])
from ganctl.data import mnist
from ganctl.data.idx import IdxFile
mnist.SYSTEM_DIR = Path("/nonexistent")
files = eval(sys.argv[2])
spec = mnist.IdxSet("tiny", "tiny-set", "MNIST", *(IdxFile(*f) for f in files), package=None, advice="")
print("ready", flush=True)
sys.stdin.readline()
train, test = mnist.load(spec)
print(int(train.images.long().sum()), int(test.labels.sum()))
"""


@pytest.mark.slow
def test_two_processes_fetch_once(tmp_path: Path, serve: Callable[[Path], tuple[str, list[str]]]) -> None:
    arrays = arrays_of(0)
    address, asked = serve(write(tmp_path / "good", arrays))
    spec = spec_of(arrays)
    files = [(file.name, file.md5, file.shape) for file in spec.files]
    processes = started_together(_PROCESS, address, repr(files))
    expected = [
        int(arrays["train-images-idx3-ubyte"].astype(int).sum()),
        int(arrays["t10k-labels-idx1-ubyte"].sum()),
    ]
    for process in processes:
        assert [int(word) for word in process.communicate()[0].split()] == expected
        assert process.returncode == 0
    assert len(asked) == 4
    assert {path.name for path in spec.cache.iterdir()} - {".lock"} == {f"{name}.gz" for name in SHAPES}
