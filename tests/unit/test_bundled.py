"""The generator that ships with the package, and the script that makes it."""

from __future__ import annotations

import hashlib
import json
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from ganctl import checkpoint, config, generate, reproduce, runs
from ganctl.data.dataset import DatasetFacts
from ganctl.errors import UsageError
from ganctl.images import to_float
from ganctl.metrics import classifier
from ganctl.networks.dcgan import Generator
from ganctl.sharing import recipe
from ganctl.snapshot import entry

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "bundle_generator.py"))
bundle = SCRIPT["bundle"]


def rows(card: Path) -> dict[str, str]:
    """The first table of a card."""
    cells = [line.strip("| ").split(" | ", 1) for line in card.read_text().splitlines() if line[:2] == "| "]
    return {cell[0]: cell[1] for cell in cells if len(cell) == 2}


def test_the_card_is_of_the_file() -> None:
    snapshot, card = checkpoint.read(runs.BUNDLED), rows(runs.BUNDLED.with_suffix(".md"))
    content = runs.BUNDLED.read_bytes()
    assert len(content) <= 2_000_000
    assert f"`{snapshot.digest}`" in card["digest"]
    assert f"`{hashlib.sha256(content).hexdigest()}`" in card["sha256"]
    assert f"{len(content) / 1000:,.0f} kB" in card["file"]
    assert f"{sum(p.numel() for p in snapshot.build().parameters()):,} parameters" in card["network"]
    assert f"{snapshot.nimg:,} " in card["images seen"]
    assert "CC BY-SA 3.0" in card["data licence"]
    assert snapshot.wandb_id is None


def test_the_card_has_scores_with_floors() -> None:
    lines = runs.BUNDLED.with_suffix(".md").read_text().splitlines()
    (label_accuracy,) = (line.split() for line in lines if line.startswith("label_accuracy "))
    assert 0.95 < float(label_accuracy[1]) <= 1
    assert 0.99 < float(label_accuracy[2]) <= 1
    assert any("against 10,000 of mnist: official test images" in line for line in lines)


def test_what_it_draws_shows_its_label() -> None:
    snapshot, judge = checkpoint.read(runs.BUNDLED), classifier.load("mnist")
    assert judge is not None
    assert snapshot.facts.name == "mnist"
    labels = [k % 10 for k in range(200)]
    device = torch.device("cpu")
    images = generate.all_at_once(snapshot.build(), snapshot.latent_dim, labels, range(200), device)
    seen = judge.module(to_float(images))[0].argmax(1)
    right = (seen == torch.tensor(labels)).float().mean().item()
    wrong = (seen == torch.tensor(labels).roll(1)).float().mean().item()
    assert right > 0.95
    assert wrong < 0.05
    assert images.unique(dim=0).shape[0] == 200


# -- the script ----------------------------------------------------------------------------------------------


@pytest.fixture
def last(tmp_path: Path) -> Path:
    """`last.ckpt` of an untrained small generator of 28 × 28 digits."""
    torch.manual_seed(0)
    overrides = ["experiment=quick", "model.lr=2e-3", "model.generator.width=4", "logger=none"]
    content = entry(
        config=config.compose(overrides).model_dump(),
        facts=DatasetFacts("mnist", tuple("0123456789"), 1, 28, (5500,) * 10),
        latent_dim=64,
        generator={"_target_": "ganctl.networks.dcgan.Generator", "width": 4},
        ema=dict(Generator(64, 10, 1, 28, width=4).state_dict()),
        nimg=1234567,
        steps=1,
        wandb_id="abc",
    )
    torch.save({checkpoint.KEY: content}, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def report(path: Path, digest: str) -> Path:
    content: dict[str, Any] = {
        "schema": 1,
        "metrics": {
            "fid": {"value": 4.25, "floor": 1.5},
            "is_mean": {"value": None, "floor": None, "reason": "no"},
        },
        "protocol": {
            "data": "mnist",
            "real": "some images",
            "num_real": 70,
            "floor": "others",
            "num_gen": 60,
            "labels": "at random",
            "extractors": {},
            "checkpoint": digest,
            "seed": 5,
            "device": "cpu",
            "versions": {},
            "timings": {},
        },
    }
    path.write_text(json.dumps(content))
    return path


def test_both_files_are_made(last: Path, tmp_path: Path) -> None:
    digest = checkpoint.read(last).digest
    reports = [report(tmp_path / "a.json", digest), report(tmp_path / "b.json", digest)]
    path = bundle(last, reports, tmp_path)
    assert path == tmp_path / "generator_mnist.safetensors"
    text = path.with_suffix(".md").read_text()
    assert checkpoint.read(path).digest == digest
    assert digest in text
    assert "1,234,567" in text
    assert text.count("fid                        4.25        1.5") == 2
    assert "60 generated images, seeds from 5" in text
    assert str(tmp_path) not in text
    assert rows(path.with_suffix(".md"))["training"].startswith("`ganctl train +experiment=quick ")
    before = path.read_bytes(), text
    bundle(last, reports, tmp_path)
    assert (path.read_bytes(), path.with_suffix(".md").read_text()) == before


def test_a_report_of_other_weights_is_refused(last: Path, tmp_path: Path) -> None:
    digest = checkpoint.read(last).digest
    reports = [report(tmp_path / "a.json", digest), report(tmp_path / "b.json", digest[::-1])]
    with pytest.raises(UsageError, match=r"b\.json is of other weights"):
        bundle(last, reports, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_the_last_checkpoint_is_taken(last: Path, tmp_path: Path) -> None:
    best = last.rename(tmp_path / "best.ckpt")
    with pytest.raises(UsageError, match="not the last"):
        bundle(best, [], tmp_path)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["seed=3", "data.batch_size=1", "model.beta1=0.5", "loss=hinge", "trainer.max_steps=7"],
        ["schedules.lr={final: 0.1, begin: 0.25, end: 1.0, shape: cosine}", "model.generator.width=48"],
        ["schedules.lr=null", "trainer.precision=bf16"],
    ],
)
def test_the_command_on_the_card_makes_the_same_configuration(overrides: list[str]) -> None:
    trained = config.compose(["experiment=dcgan", *overrides]).model_dump()
    words = shlex.split(reproduce.command(recipe.effective(trained)))
    assert words[:3] == ["ganctl", "train", "+experiment=dcgan"]
    assert (len(words) == 3) == (not overrides)
    assert config.compose(words[2:]).model_dump() == trained


def test_what_has_no_effect_is_not_on_the_card() -> None:
    trained = config.compose(["experiment=dcgan", "logger=none", "run.root=x", "data.root=y"]).model_dump()
    assert reproduce.command(recipe.effective(trained)) == "ganctl train +experiment=dcgan"
