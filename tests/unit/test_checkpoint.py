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
from ganctl.networks.dcgan import Generator as DcganGenerator
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
    if changes:  # as who forges one would do
        content |= {"checksum": None} | changes
    return {checkpoint.KEY: content, "state_dict": {}}


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
    changed = _content(nimg=1)
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


# -- strangers' files ----------------------------------------------------------------------------------------


def test_load_gives_the_state_of_the_training_too(tmp_path: Path) -> None:
    content = _content() | {"optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}], "epoch": 4}
    found = checkpoint.load(_saved(tmp_path / "a.ckpt", content))
    assert found["epoch"] == 4
    assert torch.equal(found["optimizer_states"][0]["state"][0]["exp_avg"], torch.ones(3))
    assert found[checkpoint.KEY]["nimg"] == 640
    with pytest.raises(UsageError, match="state of a training"):
        checkpoint.load(_written(tmp_path / "a.safetensors"))
    with pytest.raises(UsageError, match="another program"):
        checkpoint.load(_saved(tmp_path / "b.ckpt", [1]))


@pytest.mark.parametrize(("place", "bit"), [("first", 0), ("middle", 3), ("last", 7)])
@pytest.mark.parametrize("form", ["ckpt", "safetensors"])
def test_no_bit_of_the_weights_can_flip_unseen(tmp_path: Path, form: str, place: str, bit: int) -> None:
    path = _saved(tmp_path / "a.ckpt", _content()) if form == "ckpt" else _written(tmp_path / "a.safetensors")
    weights = checkpoint.read(path).ema["layers.0.weight"]
    data = bytearray(path.read_bytes())
    start = data.index(weights.numpy().tobytes())
    offset = {"first": 0, "middle": weights.nbytes // 2, "last": weights.nbytes - 1}[place]
    data[start + offset] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(UsageError, match="damaged"):
        checkpoint.read(path)


def test_no_letter_of_the_description_can_change_unseen(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.safetensors")
    data = path.read_bytes()
    for old, new in ((b'nimg\\": 640', b'nimg\\": 641'), (b"[16, 32]", b"[16, 48]"), (b"zero", b"hero")):
        assert data.count(old) == 1
        path.write_bytes(data.replace(old, new))
        with pytest.raises(UsageError, match="checksum"):
            checkpoint.read(path)


def test_exchanged_records_are_seen(tmp_path: Path) -> None:
    # Two biases of one size: the zip's own checksums move with them.
    content = _content()
    state = content[checkpoint.KEY]["ema"]
    names = [name for name, w in state.items() if w.shape == (32,)][:2]
    a, b = (state[name] for name in names)
    state |= {names[0]: b + 1, names[1]: a}
    with pytest.raises(UsageError, match="checksum"):
        checkpoint.read(_saved(tmp_path / "a.ckpt", content))


def test_a_file_of_before_checksums_is_read(tmp_path: Path) -> None:
    content = _content()
    del content[checkpoint.KEY]["checksum"]
    assert checkpoint.read(_saved(tmp_path / "a.ckpt", content)).nimg == 640


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generator": SPEC | {"widths": [1] * 10_000}}, "too much"),
        ({"generator": SPEC | {"widths": [2**63]}}, "too large"),
        ({"data": vars(FACTS) | {"label_names": ["a", "b", "a"]}}, "one name"),
        ({"data": vars(FACTS) | {"class_counts": [1, 2]}}, "as many"),
        ({"data": vars(FACTS) | {"class_counts": [0, 0, 0]}}, "no class"),
        ({"nimg": 2**63 - 1, "steps": 2**64}, "damaged"),
    ],
)
def test_facts_that_cannot_be_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        checkpoint.read(_saved(tmp_path / "a.ckpt", _content(**changes)))


def test_a_configuration_that_grows_when_it_is_copied_is_refused(tmp_path: Path) -> None:
    laughing: Any = [0] * 10
    for _ in range(40):
        laughing = [laughing] * 10
    with pytest.raises(UsageError, match="too much"):
        checkpoint.read(_saved(tmp_path / "a.ckpt", _content(config={"x": laughing})))


@pytest.mark.parametrize(
    ("own", "facts", "message"),
    [
        ({"tanh_gain": "wide"}, {}, "does not draw"),
        ({}, {"resolution": 12}, r"\(64, 1, 12, 12\)|do not fit"),
        ({"width": 2}, {"resolution": 4096}, "2,147,483,648 numbers"),
    ],
)
def test_what_a_network_would_draw_is_known_before_it_draws(
    tmp_path: Path, own: dict[str, Any], facts: dict[str, Any], message: str
) -> None:
    # A few kilobytes of convolutions can draw images of any size.
    side = facts.get("resolution", 8)
    spec = {"_target_": "ganctl.networks.dcgan.Generator", "width": 2}
    with torch.device("meta"):
        shapes = DcganGenerator(4, 3, 1, 8 if side == 12 else side, width=2).state_dict()
    ema = {name: torch.zeros(w.shape, dtype=w.dtype) for name, w in shapes.items()}
    content = _content(generator=spec | own, ema=ema, data=vars(FACTS) | facts)
    path = _saved(tmp_path / "a.ckpt", content)
    assert path.stat().st_size < 100_000
    with pytest.raises(UsageError, match=message):
        checkpoint.read(path).build()


def test_trusted_code_is_named_before_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "stranger_2.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = {"_target_": "stranger_2.Generator"}
    snapshot = checkpoint.read(_saved(tmp_path / "a.ckpt", _content(generator=spec)))
    with pytest.raises(SystemExit, match="imported"):
        snapshot.build(trust_code=True)
    assert "--trust-code: importing stranger_2.Generator" in caplog.text
    caplog.clear()
    checkpoint.read(_saved(tmp_path / "b.ckpt", _content())).build(trust_code=True)
    assert caplog.text == ""


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
    note = {k: v for k, v in (note | {"checksum": None} | changes).items() if v is not ...}
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
