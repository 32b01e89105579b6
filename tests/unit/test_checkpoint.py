"""A checkpoint holds all that is needed, runs nothing, and is whole or not there."""

from __future__ import annotations

import errno
import json
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from ganctl import checkpoint
from ganctl.checkpoint_io import AtomicCheckpointIO
from ganctl.data.dataset import DatasetFacts
from ganctl.errors import UsageError
from ganctl.networks.mlp import Generator
from ganctl.snapshot import entry

FACTS = DatasetFacts("digits", ("zero", "one", "two"), 1, 8, (5, 6, 7))
SPEC = {"_target_": "ganctl.networks.mlp.Generator", "widths": [16, 32]}


def _generator() -> Generator:
    torch.manual_seed(0)
    return Generator(4, num_classes=3, channels=1, resolution=8, widths=(16, 32))


def _content(**changes: Any) -> dict[str, Any]:
    content = entry(
        config={"name": "x"},
        facts=FACTS,
        latent_dim=4,
        generator=SPEC,
        ema=dict(_generator().state_dict()),
        nimg=640,
        steps=10,
        wandb_id=None,
    )
    return {checkpoint.KEY: content | changes, "state_dict": {}}


def _saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    snapshot = checkpoint.read(_saved(tmp_path / "a.ckpt", _content()))
    assert (snapshot.facts, snapshot.latent_dim, snapshot.nimg, snapshot.steps) == (FACTS, 4, 640, 10)
    z, y = torch.randn(3, 4), torch.tensor([0, 1, 2])
    assert torch.equal(snapshot.build()(z, y), _generator().eval()(z, y))


def test_the_rebuilt_generator_is_for_use_not_for_training(tmp_path: Path) -> None:
    G = checkpoint.read(_saved(tmp_path / "a.ckpt", _content())).build()
    assert not G.training
    assert not any(p.requires_grad for p in G.parameters())


def test_the_digest_names_the_weights_and_not_the_file(tmp_path: Path) -> None:
    one = checkpoint.read(_saved(tmp_path / "a.ckpt", _content(nimg=1)))
    other = checkpoint.read(_saved(tmp_path / "b.ckpt", _content(nimg=2)))
    assert one.digest == other.digest
    changed = _content()
    next(iter(changed[checkpoint.KEY]["ema"].values()))[0] += 1
    assert checkpoint.read(_saved(tmp_path / "c.ckpt", changed)).digest != one.digest


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="could run code"):
        checkpoint.read(_saved(tmp_path / "a.ckpt", _content(config={"x": _Evil()})))
    assert not Path("executed").exists()


def test_a_foreign_class_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stranger.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    snapshot = checkpoint.read(
        _saved(tmp_path / "a.ckpt", _content(generator={"_target_": "stranger.Generator"}))
    )
    with pytest.raises(UsageError, match="stranger"):
        snapshot.build()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 99}, "format 99"),
        ({"format_version": "1"}, "format '1'"),
        ({"nimg": -1}, "nimg"),
        ({"ema": {"w": 1}}, "ema"),
        ({"latent_dim": 10**12}, "latent_dim"),
        ({"surprise": 1}, "surprise"),
        ({"data": vars(FACTS) | {"name": "\x1b[2Jx", "label_names": [], "class_counts": []}}, "data.name"),
    ],
)
def test_an_altered_entry_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        checkpoint.read(_saved(tmp_path / "a.ckpt", _content(**changes)))


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    content = _content(generator=SPEC | {"widths": [16, 48]})
    with pytest.raises(UsageError, match="do not fit"):
        checkpoint.read(_saved(tmp_path / "a.ckpt", content)).build()


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2], torch.zeros(3), {checkpoint.KEY: 5}])
def test_a_file_of_another_program_is_said_to_be_one(tmp_path: Path, content: Any) -> None:
    with pytest.raises(UsageError, match="another program"):
        checkpoint.read(_saved(tmp_path / "a.ckpt", content))


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: float) -> None:
    path = _saved(tmp_path / "a.ckpt", _content())
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(UsageError, match=r"a\.ckpt"):
        checkpoint.read(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.ckpt", tmp_path):
        with pytest.raises(UsageError, match="cannot read"):
            checkpoint.read(path)


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint({"a": 1}, path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    io.save_checkpoint({"a": 2}, path)
    assert io.failure is not None
    assert "No space left" in io.failure.what
    assert torch.load(path, weights_only=True) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]

    monkeypatch.undo()
    io.save_checkpoint({"a": 3}, path)
    assert io.failure is None
    assert torch.load(path, weights_only=True) == {"a": 3}


# -- the portable form ---------------------------------------------------------------------------------------


def _written(path: Path, **changes: Any) -> Path:
    source = checkpoint.read(_saved(path.with_suffix(".ckpt"), _content(**changes)))
    checkpoint.write(path, source)
    return path


def _altered(path: Path, **changes: Any) -> Path:
    """A portable file whose description was changed, its tensors kept."""
    data = _written(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    note = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][checkpoint.KEY])
    note = {k: v for k, v in (note | changes).items() if v is not ...}
    path.write_bytes(save(load(data), {checkpoint.KEY: json.dumps(note)}))
    return path


def test_the_portable_form_is_the_same_generator(tmp_path: Path) -> None:
    # A memory format is of the machine that trained, a W&B run of the person who did: neither is passed on.
    ema = {
        name: w.t().contiguous().t() if w.ndim == 2 else w for name, w in _generator().state_dict().items()
    }
    full = checkpoint.read(
        _saved(tmp_path / "a.ckpt", _content(ema=ema, wandb_id="abc", versions={"x": "1"}))
    )
    checkpoint.write(tmp_path / "a.safetensors", full)
    portable = checkpoint.read(tmp_path / "a.safetensors")
    assert full.wandb_id == "abc"
    for field in ("config", "facts", "latent_dim", "generator", "nimg", "steps", "versions", "digest"):
        assert getattr(portable, field) == getattr(full, field), field
    assert portable.wandb_id is None
    z, y = torch.randn(3, 4), torch.tensor([0, 1, 2])
    assert torch.equal(portable.build()(z, y), _generator().eval()(z, y))
    weights = sum(w.nbytes for w in ema.values())
    assert weights < (tmp_path / "a.safetensors").stat().st_size < weights + 3000


def test_the_same_snapshot_gives_the_same_bytes(tmp_path: Path) -> None:
    first = _written(tmp_path / "a.safetensors").read_bytes()
    for i in range(5):
        checkpoint.write(tmp_path / f"{i}.safetensors", checkpoint.read(tmp_path / "a.safetensors"))
        assert (tmp_path / f"{i}.safetensors").read_bytes() == first
    assert _written(tmp_path / "b.safetensors", nimg=641).read_bytes() != first


def test_the_form_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.safetensors").rename(tmp_path / "b.ckpt")
    assert checkpoint.read(path).facts == FACTS
    path = _saved(tmp_path / "c.safetensors", _content())
    assert checkpoint.read(path).facts == FACTS


def test_tied_weights_are_written_under_both_names(tmp_path: Path) -> None:
    w = torch.randn(3, 2)
    snapshot = replace(checkpoint.read(_saved(tmp_path / "a.ckpt", _content())), ema={"a": w, "b": w})
    checkpoint.write(tmp_path / "a.safetensors", snapshot)
    assert checkpoint.read(tmp_path / "a.safetensors").digest == snapshot.digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2, "versions": {"ganctl": "7.8.9"}}, r"format 2,(.|\n)*7\.8\.9"),
        ({"nimg": -1}, "nimg"),
        ({"nimg": float("inf")}, "nimg"),
        ({"generator": ...}, "generator"),
        ({"latent_dim": 10**12}, "latent_dim"),
        ({"\x1b[2J": 1}, r"\\x1b"),
        ({"format_version": ...}, "another program"),
    ],
)
def test_an_altered_description_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        checkpoint.read(_altered(tmp_path / "a.safetensors", **changes))
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("text", [None, "{", "[1]", "5", "[" * 100_000, '{"format": 1, "key": {}}'])
def test_a_foreign_description_is_refused(tmp_path: Path, text: str | None) -> None:
    data = save({"w": torch.zeros(2)}, {"classifier" if text is None else checkpoint.KEY: text or "{}"})
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(UsageError, match=r"another program|damaged"):
        checkpoint.read(tmp_path / "a.safetensors")


@pytest.mark.parametrize("keep", [0, 1, 8, 9, 100, 0.5, 0.99])
def test_a_truncated_portable_file_is_refused(tmp_path: Path, keep: float) -> None:
    path = _written(tmp_path / "a.safetensors")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(UsageError, match=r"a\.safetensors"):
        checkpoint.read(path)


@pytest.mark.parametrize(
    ("shape", "offsets"), [([10**6, 10**6], [0, 8]), ([10**6, 10**6], [0, 4 * 10**12]), ([2**62, 8], [0, 8])]
)
def test_tensors_larger_than_the_file_are_refused(
    tmp_path: Path, shape: list[int], offsets: list[int]
) -> None:
    header = {"w": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(UsageError, match="damaged"):
        checkpoint.read(tmp_path / "a.safetensors")


def test_a_network_larger_than_its_weights_is_refused_without_memory(tmp_path: Path) -> None:
    vast = 10**7  # 400 TB in the layer between two of them
    path = _altered(tmp_path / "a.safetensors", generator=SPEC | {"widths": [vast, vast]})
    with pytest.raises(UsageError, match="do not fit"):
        checkpoint.read(path).build()


def test_a_configuration_that_json_cannot_hold_is_named(tmp_path: Path) -> None:
    for value in (torch.zeros(2), float("nan")):
        with pytest.raises(UsageError, match="configuration"):
            _written(tmp_path / "a.safetensors", config={"x": value})
    assert not (tmp_path / "a.safetensors").exists()
