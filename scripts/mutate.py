"""Good files, and damage of any file: what `fuzz_files.py` begins with."""

from __future__ import annotations

import io
import random
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ganctl import arrays, checkpoint, generator, images, sample, singles
from ganctl.data.dataset import DatasetFacts
from ganctl.data.decode import Recipe
from ganctl.data.prepare import prepare
from ganctl.networks.dcgan import Generator
from ganctl.sample import Layout, Product
from ganctl.snapshot import entry

CANARY = "executed"  # what a payload that runs leaves in the current folder


@dataclass(frozen=True)
class Good:
    """Files as the tool wrote them.

    Args:
        ckpt, other_ckpt: of two generators of one shape.
        safetensors, other_safetensors: the same two.
        npz: images, labels and seeds.
        png: one image.
        sheet: a grid of the second generator, with the names of the labels.
        jpeg: a picture of noise.
        zip: two labelled pictures, and the file of their labels.
        own: a prepared data set.
    """

    ckpt: bytes
    other_ckpt: bytes
    safetensors: bytes
    other_safetensors: bytes
    npz: bytes
    png: bytes
    sheet: bytes
    jpeg: bytes
    zip: bytes
    own: bytes


def good_files(folder: Path) -> Good:
    """What the tool writes of two small untrained generators of 8 × 8 digits."""
    facts = DatasetFacts("digits", tuple("0123456789"), 1, 8, (120,) * 10)
    for i in range(2):
        torch.manual_seed(i)
        G = Generator(latent_dim=4, num_classes=10, channels=1, resolution=8, width=4)
        for buffer in G.buffers():  # of a trained network no two are alike
            buffer.copy_(torch.rand(buffer.shape) * 9)
        content = entry(
            config={"name": "quick", "seed": i, "model": {"lr": 1e-3}},
            facts=facts,
            latent_dim=4,
            generator={"_target_": "ganctl.networks.dcgan.Generator", "width": 4},
            ema=dict(G.state_dict()),
            nimg=640,
            steps=10,
            wandb_id=None,
        )
        optimizer = {
            "state": {0: {"exp_avg": torch.rand(9)}},
            "param_groups": [{"lr": 1e-3, "betas": (0.0, 0.99)}],
        }
        training = {
            "epoch": 0,
            "global_step": 10,
            "state_dict": G.state_dict(),
            "optimizer_states": [optimizer],
        }
        with open(folder / f"{i}.ckpt", "wb") as file:  # as training does
            torch.save(training | {checkpoint.KEY: content}, file)
        snapshot = checkpoint.read(folder / f"{i}.ckpt")
        checkpoint.write(folder / f"{i}.safetensors", snapshot)
    drawer = generator.Generator(snapshot, torch.device("cpu"))
    arrays.write(drawer, Product([3, 7], [0, 1]), folder / "0.npz", ".npz")
    singles.write(drawer, Product([3], [0]), folder)
    (folder / "3_seed000000.png").rename(folder / "0.png")
    asked, layout = Product([3, 7], range(3), 0.5), Layout(3, captions=True)
    sheet = sample.picture(snapshot, asked, layout, sample.pixels(drawer, asked))
    images.save_png(sheet, folder / "sheet.png", sample.provenance(drawer, asked, layout))
    (folder / "pictures").mkdir()
    for k in range(12):
        class_folder = folder / "pictures" / ("cat", "dog")[k % 2]
        class_folder.mkdir(exist_ok=True)
        Image.new("L", (8, 8), 20 * k).save(class_folder / f"{k}.png")
    prepare(folder / "pictures", folder / "own.npz", Recipe(8))
    shutil.rmtree(folder / "pictures")
    noise = images.to_pil((torch.rand(3, 24, 24) * 255).to(torch.uint8))
    noise.save(folder / "0.jpeg")
    png = (folder / "0.png").read_bytes()
    labelled = {"a.png": png, "b.jpg": (folder / "0.jpeg").read_bytes(), "labels.csv": b"a.png,x\nb.jpg,y\n"}
    (folder / "0.zip").write_bytes(zipped(labelled))
    names = (
        "0.ckpt",
        "1.ckpt",
        "0.safetensors",
        "1.safetensors",
        "0.npz",
        "0.png",
        "sheet.png",
        "0.jpeg",
        "0.zip",
        "own.npz",
    )
    return Good(*((folder / name).read_bytes() for name in names))


# From a random source and the good files one variant: to be refused, unless it means what the original means.
Mutation = Callable[[random.Random, Good], bytes]


def flipped(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def truncated(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def overwritten(rng: random.Random, data: bytes) -> bytes:
    """A run of bytes lost, zeroed, doubled or replaced by noise."""
    start = rng.randrange(len(data))
    stop = min(start + rng.choice((1, 4, 16, 512)), len(data))
    middle = rng.choice((b"", bytes(stop - start), data[start:stop] * 2, rng.randbytes(stop - start)))
    return data[:start] + middle + data[stop:]


def spliced(rng: random.Random, one: bytes, other: bytes) -> bytes:
    """The start of one file and the end of another."""
    cut = rng.randrange(min(len(one), len(other)))
    return one[:cut] + other[cut:]


def damages(form: str) -> dict[str, Mutation]:
    """What chance does to a file of `Good`, by the name of its field."""
    return {
        "bits flipped": lambda rng, good: flipped(rng, getattr(good, form)),
        "truncated": lambda rng, good: truncated(rng, getattr(good, form)),
        "bytes lost, zeroed, doubled or noise": lambda rng, good: overwritten(rng, getattr(good, form)),
    }


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {m.filename: archive.read(m) for m in archive.infolist()}


def zipped(content: Mapping[str, bytes], **options: Any) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **options) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return out.getvalue()
