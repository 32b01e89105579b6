"""`ganctl.load` and what it returns."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_generator import CLOTHES, CPU, snapshot_of
from torch import nn

import ganctl
from ganctl import checkpoint, generator, latents, runs
from ganctl.errors import UsageError
from ganctl.generator import Generator
from ganctl.networks import dcgan
from ganctl.networks.conditioning import ConcatLabel


@pytest.fixture(scope="module")
def g() -> Generator:
    return Generator(snapshot_of(), CPU)


def test_a_file_is_loaded_and_says_what_it_is(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "a.safetensors", snapshot_of())
    g = ganctl.load(tmp_path / "a.safetensors", "cpu")
    assert (g.label_names, g.num_classes, g.channels, g.resolution, g.latent_dim) == (CLOTHES, 3, 1, 8, 4)
    assert g.digest == snapshot_of().digest
    assert "1 × 8 × 8" in repr(g)
    assert torch.equal(g.sample(1, 2), Generator(snapshot_of(), CPU).sample(1, 2))


def test_without_a_run_it_is_the_bundled_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ganctl.load().digest == checkpoint.read(runs.BUNDLED).digest
    with pytest.raises(UsageError, match=r"nowhere/x\.ckpt"):
        ganctl.load("nowhere/x.ckpt")
    with pytest.raises(UsageError, match="tpu"):
        ganctl.load(device="tpu")


@pytest.mark.slow
def test_the_package_is_imported_without_torch() -> None:
    code = "import sys, ganctl; assert 'torch' not in sys.modules; ganctl.load; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert not hasattr(ganctl, "laod")


def test_labels_and_seeds_are_paired_as_numpy_broadcasts(g: Generator) -> None:
    one = {(y, s): g.sample(y, s)[0] for y in range(3) for s in range(4)}
    assert len({image.numpy().tobytes() for image in one.values()}) == 12
    calls = [
        (g.sample([1, 2], [3, 0]), [(1, 3), (2, 0)]),
        (g.sample([1], range(4)), [(1, s) for s in range(4)]),
        (g.sample([2, 0, 1], [3]), [(2, 3), (0, 3), (1, 3)]),
        (g.sample(range(3)), [(0, 0), (1, 0), (2, 0)]),
        (g.sample(["trouser", 0], np.array([1, 2])), [(1, 1), (0, 2)]),
        (g.sample(torch.tensor([2, 1]), 3), [(2, 3), (1, 3)]),
        (g.sample([], []), []),
        (g.sample([], 1), []),
    ]
    for drawn, pairs in calls:
        assert (drawn.dtype, drawn.shape) == (torch.uint8, (len(pairs), 1, 8, 8))
        for image, pair in zip(drawn, pairs, strict=True):
            assert torch.equal(image, one[pair])


def test_pictures_are_the_same_images(g: Generator) -> None:
    (picture,) = g.pil("trouser", 7, truncation=0.5)
    assert np.array_equal(np.asarray(picture), g.sample(1, 7, truncation=0.5)[0, 0].numpy())
    assert picture.mode == "L"


@pytest.mark.parametrize(
    ("labels", "seeds", "what"),
    [
        ([0, 1], [0, 1, 2], "2 labels and 3 seeds"),
        ("trowser", 0, "no label 'trowser'\ndid you mean trouser"),
        (3, 0, "no label 3\nlabels are 0 to 2"),
        (-1, 0, "no label -1"),
        (None, 0, "no labels are given"),
        (0, -1, "seed -1 is too small"),
        (0, 2**32, "seed 4294967296 is too large"),
    ],
)
def test_wrong_labels_and_seeds_are_refused(g: Generator, labels: object, seeds: int, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        g.sample(labels, seeds)  # type: ignore[arg-type]


def test_without_labels_seeds_are_enough() -> None:
    g = Generator(snapshot_of(()), CPU)
    assert g.sample(seeds=[1, 2]).shape == (2, 1, 8, 8)
    with pytest.raises(UsageError, match="without labels"):
        g.sample(0, 1)
    assert torch.equal(g.interpolate((0, 1), (0, 2), 3)[[0, 2]], g.sample(seeds=[1, 2]))


# -- interpolation -------------------------------------------------------------------------------------------


def conv() -> Generator:
    """An untrained convolutional generator."""
    torch.manual_seed(1)
    spec = {"_target_": "ganctl.networks.dcgan.Generator", "width": 4}
    state = dict(dcgan.Generator(4, 3, 1, 8, width=4).state_dict())
    state[list(state)[-2]] *= 30  # of the last layer: black and white
    return Generator(replace(snapshot_of(), generator=spec, ema=state), CPU)


@pytest.mark.parametrize("family", ["mlp", "dcgan"])
@pytest.mark.parametrize("b", [(1, 4), (2, 3), (2, 4)])
def test_the_ends_are_the_images_themselves(g: Generator, family: str, b: tuple[int, int]) -> None:
    drawer = g if family == "mlp" else conv()
    frames = drawer.interpolate((1, 3), b, 70, truncation=0.8)
    assert frames.shape == (70, 1, 8, 8)
    ends = drawer.sample([1, b[0]], [3, b[1]], truncation=0.8)
    assert torch.equal(frames[[0, -1]], ends)
    steps = (frames[1:].int() - frames[:-1].int()).abs().amax((1, 2, 3))
    assert steps.max() < (ends[0].int() - ends[1].int()).abs().max() / 4, "no jump"


def test_a_frame_depends_on_its_place_alone(g: Generator) -> None:
    """And halfway the network is told half of each label, at the middle of the arc."""
    three, many = (g.interpolate((0, 3), (2, 4), frames) for frames in (3, 129))
    assert torch.equal(three[1], many[64])
    a, b = latents.from_seeds([3, 4], 4)
    angle = torch.acos(a @ b / (a.norm() * b.norm()))
    z = (a + b) * torch.sin(angle / 2) / torch.sin(angle)
    table = next(m for m in g.network.modules() if isinstance(m, nn.Embedding))
    vector = (table.weight[0] + table.weight[2]) / 2
    with torch.no_grad():
        expected = g.network.layers(torch.cat([z, vector])[None]).view(8, 8)
    assert (three[1, 0] - (expected + 1) * 127.5).abs().max() <= 1


def test_shares_of_labels_mix_their_vectors() -> None:
    module = ConcatLabel(2, num_classes=3, embedding_dim=5)
    x, table = torch.randn(3, 2), module.embedding
    assert table is not None
    assert torch.equal(module(x, torch.eye(3)), module(x, torch.arange(3)))
    mixed = module(x[:1], torch.tensor([[0.25, 0.0, 0.75]]))[0, 2:]
    assert torch.allclose(mixed, 0.25 * table.weight[0] + 0.75 * table.weight[2])


def test_a_network_that_takes_one_label_is_refused_only_between_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    g = Generator(snapshot_of(), CPU)
    monkeypatch.setattr(generator, "can_mix_labels", lambda network: False)
    assert len(g.interpolate((1, 3), (1, 4), 2)) == 2
    with pytest.raises(UsageError, match="cannot draw between two labels"):
        g.interpolate((1, 3), (2, 3), 2)


def test_which_networks_mix_labels_is_seen() -> None:
    own = SimpleNamespace(with_labels=dcgan.Generator(4, 3, 1, 8), without=dcgan.Generator(4, 0, 1, 8))
    assert generator.can_mix_labels(own.with_labels)
    assert not generator.can_mix_labels(own.without)
    assert not generator.can_mix_labels(nn.Sequential(nn.Embedding(3, 4)))


@pytest.mark.parametrize(
    ("b", "frames", "what"), [((3, 0), 2, "no label 3"), ((1, -1), 2, "too small"), ((1, 1), 1, "1 frames")]
)
def test_a_wrong_interpolation_is_refused(g: Generator, b: tuple[int, int], frames: int, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        g.interpolate((0, 0), b, frames)
