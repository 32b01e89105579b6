"""Kept statistics: what comes back is what went in, or it is computed anew."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from two_processes import started_together

from ganctl.errors import GanctlError, UsageError
from ganctl.metrics import cache
from ganctl.metrics.cache import cached, entry_path, load_statistics, save_statistics
from ganctl.metrics.extract import Extracted
from ganctl.metrics.frechet import Moments

KEY: dict[str, str | int | None] = {
    "data": "a" * 64,
    "split": "test",
    "n": 40,
    "seed": 0,
    "extractor": "b" * 64,
    "kind": "features",
}


def statistics(seed: int = 0, features: bool = True, logits: bool = True) -> Extracted:
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(40, 6, generator=generator), torch.randn(40, 3, generator=generator)
    return Extracted(Moments.of(x), y if logits else None, x if features else None)


def same(a: Extracted, b: Extracted) -> bool:
    pairs = [(a.moments.count, b.moments.count), (a.moments.total, b.moments.total)]
    pairs += [(a.moments.outer, b.moments.outer)]
    kept = [(x, y) for x, y in ((a.logits, b.logits), (a.features, b.features)) if x is not y]
    return all(
        x is not None and y is not None and x.dtype == y.dtype and torch.equal(x, y) for x, y in pairs + kept
    )


class Computation:
    """Counts how often it was asked."""

    def __init__(self, result: Extracted) -> None:
        self.result = result
        self.calls = 0

    def __call__(self) -> Extracted:
        self.calls += 1
        return self.result


@pytest.mark.parametrize("features", [True, False])
@pytest.mark.parametrize("logits", [True, False])
def test_the_second_time_nothing_is_computed(features: bool, logits: bool) -> None:
    first = Computation(statistics(0, features, logits))
    second = Computation(statistics(1))
    assert cached(KEY, first) is first.result
    back = cached(dict(reversed(KEY.items())), second)
    assert (first.calls, second.calls) == (1, 0)
    assert same(back, first.result)
    assert (back.features is None, back.logits is None) == (not features, not logits)
    assert back.frechet_distance(first.result) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("part", KEY)
def test_every_part_of_the_key_counts(part: str) -> None:
    cached(KEY, lambda: statistics(0))
    other = Computation(statistics(1))
    assert cached(KEY | {part: "other"}, other) is other.result
    assert cached({k: v for k, v in KEY.items() if k != part}, other) is other.result
    assert other.calls == 2
    assert same(cached(KEY, other), statistics(0))


def test_without_use_nothing_is_read_or_written() -> None:
    computation = Computation(statistics(0))
    cached(KEY, computation, use=False)
    assert not entry_path(KEY).exists()
    cached(KEY, lambda: statistics(1))
    assert cached(KEY, computation, use=False) is computation.result
    assert computation.calls == 2
    assert same(cached(KEY, computation), statistics(1))


def age(path: Path, hours: int) -> None:
    """As if it had last been used then."""
    then = path.stat().st_mtime - 3600 * hours
    os.utime(path, (then, then))


def keep(n: int, hours: int = 0) -> Path:
    """The n-th entry; all have one size."""
    key = KEY | {"n": n}
    cached(key, lambda: statistics(n))
    age(entry_path(key), hours)
    return entry_path(key)


@pytest.mark.parametrize(("room", "left"), [(2.5, 2), (3, 3), (3.5, 3), (10, 4), (0.5, 1)])
def test_beyond_the_limit_what_was_used_least_recently_goes(
    room: float, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [keep(n, hours) for n, hours in ((1, 3), (2, 2), (3, 4))]
    monkeypatch.setattr(cache, "MAX_BYTES", int(room * paths[0].stat().st_size))
    newest = keep(4)
    by_use = [newest, paths[1], paths[0], paths[2]]
    assert sorted(newest.parent.iterdir()) == sorted(by_use[:left])


def test_reading_is_using(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = keep(1, hours=3), keep(2, hours=2)
    cached(KEY | {"n": 1}, lambda: pytest.fail("it is there"))
    monkeypatch.setattr(cache, "MAX_BYTES", int(2.5 * first.stat().st_size))
    third = keep(3)
    assert sorted(first.parent.iterdir()) == sorted([first, third])
    assert not second.exists()


def test_what_a_killed_run_left_counts_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = keep(1, hours=1)
    half = first.with_name(f".{first.name}.0123abcd")
    half.write_bytes(bytes(first.stat().st_size))
    age(half, hours=2)
    monkeypatch.setattr(cache, "MAX_BYTES", int(2.5 * first.stat().st_size))
    assert sorted(first.parent.iterdir()) == sorted([first, half])
    second = keep(2)
    assert sorted(first.parent.iterdir()) == sorted([first, second])


def test_a_file_of_the_user_removes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_BYTES", 1)
    for name in ("a", "b"):
        save_statistics(tmp_path / f"{name}.safetensors", statistics(), KEY)
    assert len(list(tmp_path.iterdir())) == 2


def edit(path: Path, note: dict | None = None, **tensors: np.ndarray | None) -> None:
    """Writes the file again with other tensors (None: without) or another note; the checksum stays."""
    kept = load_file(path) | tensors
    size = int.from_bytes(path.read_bytes()[:8], "little")
    metadata = json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]
    metadata = {"ganctl": json.dumps(json.loads(metadata["ganctl"]) | (note or {}))}
    save_file({name: t for name, t in kept.items() if t is not None}, path, metadata)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "empty": lambda p: p.write_bytes(b""),
    "other": lambda p: p.write_bytes(b"no statistics at all"),
    "cut": cut,
    "bit": flip,
    "claims": lambda p: p.write_bytes((1 << 60).to_bytes(8, "little") + p.read_bytes()[8:]),
    "no moments": lambda p: edit(p, total=None),
    "strange tensor": lambda p: edit(p, more=np.zeros(3, np.float32)),
    "dtype": lambda p: edit(p, features=np.zeros((40, 6))),
    "width": lambda p: edit(p, outer=np.zeros((6, 5))),
    "logits": lambda p: edit(p, logits=np.zeros(40, np.float32)),
    "too wide": lambda p: edit(p, logits=np.zeros((1, 20_000), np.float32)),
    "values": lambda p: edit(p, total=np.ones(6)),
    "format": lambda p: edit(p, {"format": 99}),
    "no key": lambda p: edit(p, {"key": "no key"}),
    "no note": lambda p: save_file(load_file(p), p, {}),
    "folder": lambda p: (p.unlink(), p.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_computed_anew_and_kept(damage: str, caplog: pytest.LogCaptureFixture) -> None:
    path = entry_path(KEY)
    cached(KEY, lambda: statistics(0))
    DAMAGES[damage](path)
    with pytest.raises(UsageError, match=path.name):
        load_statistics(path)
    again = Computation(statistics(0))
    assert cached(KEY, again) is again.result
    assert again.calls == 1
    assert "anew" in caplog.text
    if damage != "folder":
        assert same(cached(KEY, again), again.result)
        assert again.calls == 1


@pytest.mark.parametrize("damage", ["no moments", "strange tensor", "dtype", "width", "logits", "too wide"])
def test_foreign_tensors_are_refused_before_they_are_read(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    save_statistics(path, statistics(), KEY)
    DAMAGES[damage](path)
    monkeypatch.setattr("ganctl.metrics.cache._digest", lambda t: pytest.fail("tensors were read"))
    with pytest.raises(UsageError, match="other tensors"):
        load_statistics(path)


@pytest.mark.parametrize(
    ("tensors", "count"),
    [
        ({"total": np.full(6, np.nan)}, 40.0),
        ({"features": np.full((40, 6), np.inf, np.float32)}, 40.0),
        ({}, 39.0),
        ({}, 0.0),
    ],
    ids=["NaN", "infinite", "count", "none"],
)
def test_impossible_values_are_refused_also_with_a_checksum(
    tmp_path: Path, tensors: dict[str, np.ndarray], count: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    save_statistics(path, statistics(), KEY)
    edit(path, {"sha256": "0" * 64}, count=np.array(count), **tensors)
    monkeypatch.setattr("ganctl.metrics.cache._digest", lambda t: "0" * 64)
    with pytest.raises(UsageError, match="impossible"):
        load_statistics(path)


def test_an_entry_under_a_foreign_name_is_not_believed(caplog: pytest.LogCaptureFixture) -> None:
    cached(KEY, lambda: statistics(0))
    other = KEY | {"n": 41}
    entry_path(KEY).rename(entry_path(other))
    again = Computation(statistics(1))
    assert cached(other, again) is again.result
    assert "other images" in caplog.text


def test_a_cache_that_cannot_be_written_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("GANCTL_CACHE_DIR", str(tmp_path / "file"))
    computation = Computation(statistics(0))
    assert cached(KEY, computation) is computation.result
    assert "not kept" in caplog.text


def test_infinite_statistics_are_returned_but_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    bad = replace(statistics(0), logits=torch.full((40, 3), torch.inf))
    assert cached(KEY, lambda: bad) is bad
    assert "not finite" in caplog.text
    assert not entry_path(KEY).exists()
    with pytest.raises(GanctlError, match="finite"):
        save_statistics(Path("nowhere.safetensors"), bad, KEY)


def test_a_file_of_the_user_comes_back_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "real.safetensors"
    save_statistics(path, statistics(), KEY)
    back, key = load_statistics(path)
    assert same(back, statistics())
    assert key == KEY
    assert [p.name for p in tmp_path.iterdir()] == ["real.safetensors"]
    first = path.read_bytes()
    save_statistics(path, statistics(), KEY)
    assert path.read_bytes() == first


def test_a_missing_file_of_the_user_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.safetensors: No such file"):
        load_statistics(tmp_path / "nowhere.safetensors")


def test_a_view_is_written_as_its_values(tmp_path: Path) -> None:
    x = torch.randn(6, 40, generator=torch.Generator().manual_seed(0)).T
    save_statistics(tmp_path / "a.safetensors", Extracted(Moments.of(x), None, x), KEY)
    back, _ = load_statistics(tmp_path / "a.safetensors")
    assert back.features is not None
    assert torch.equal(back.features, x)


@pytest.mark.slow
def test_two_processes_may_write_the_same_entry() -> None:
    program = (
        "import torch; torch.set_num_threads(1)\n"
        "from ganctl.metrics import cache\n"
        "from ganctl.metrics.extract import Extracted\n"
        "from ganctl.metrics.frechet import Moments\n"
        "x = torch.arange(60000.).reshape(1000, 60) % 7\n"
        "print('ready', flush=True); input()\n"
        "for i in range(60):\n"
        "    path = cache.entry_path({'n': i % 3})\n"
        "    cache.save_statistics(path, Extracted(Moments.of(x), None, x), {'n': i % 3})\n"
        "    back, key = cache.load_statistics(path)\n"
        "    assert key == {'n': i % 3} and torch.equal(back.features, x)\n"
        "print('done')\n"
    )
    both = started_together(program)
    for process in both:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "done\n", "")
    folder = entry_path({"n": 0}).parent
    assert sorted(folder.iterdir()) == sorted(entry_path({"n": n}) for n in range(3))
