"""What `ganctl info` tells of files and runs, ours and others."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from run_folders import END, make, rows
from typer.testing import CliRunner

from ganctl import checkpoint, config, describe
from ganctl.cli import app
from ganctl.data.dataset import DatasetFacts
from ganctl.errors import UsageError
from ganctl.networks.dcgan import Discriminator, Generator
from ganctl.snapshot import entry

FACTS = DatasetFacts("digits", tuple("0123456789"), 1, 8, (120,) * 10)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def content(seed: int = 0, target: str = "ganctl.networks.dcgan.Generator", **changes: Any) -> dict[str, Any]:
    torch.manual_seed(seed)
    G = Generator(latent_dim=4, num_classes=10, channels=1, resolution=8, width=4)
    kept: dict[str, Any] = {
        "config": config.compose(["experiment=quick", "data=digits", "model.lr=0.002"]).model_dump(),
        "facts": FACTS,
        "latent_dim": 4,
        "generator": {"_target_": target, "width": 4},
        "ema": dict(G.state_dict()),
        "nimg": 64,
        "steps": 4,
        "wandb_id": "0123abcd",
    }
    return entry(**(kept | changes))


def save(path: Path, seed: int = 0, **changes: Any) -> Path:
    D = Discriminator(num_classes=10, channels=1, resolution=8, width=4)
    weights = {f"D.{name}": w for name, w in D.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {
        checkpoint.KEY: content(seed, **changes),
        "state_dict": weights,
        "optimizer_states": [],
        "training": {},
    }
    torch.save(whole, path)
    return path


def learned(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def told(what: str | None) -> tuple[dict[str, str], dict[str, Any]]:
    found = describe.describe(what)
    json.dumps(found.data, allow_nan=False)
    return dict(found.rows), found.data


def test_a_checkpoint_of_a_training() -> None:
    path = save(Path("last.ckpt"))
    said, data = told("last.ckpt")
    assert data["digest"] == checkpoint.read(path).digest
    G = Generator(latent_dim=4, num_classes=10, channels=1, resolution=8, width=4)
    D = Discriminator(num_classes=10, channels=1, resolution=8, width=4)
    assert data["networks"]["generator"]["parameters"] == learned(G)
    assert data["networks"]["discriminator"]["parameters"] == learned(D)
    assert (data["resumable"], data["needs_trust_code"], data["images_seen"]) == (True, False, 64)
    assert "8 × 8 grey, 1,200 images with 10 labels" in said["data"]
    assert said["go on"] == "ganctl resume last.ckpt"
    assert data["wandb_id"] == said["W&B id"] == "0123abcd"


def test_the_command_to_train_again_gives_the_same_configuration() -> None:
    save(Path("last.ckpt"))
    words = shlex.split(told("last.ckpt")[0]["train again"])
    assert words[:3] == ["ganctl", "train", "+experiment=quick"]
    assert config.compose(words[2:]).model_dump() == checkpoint.read(Path("last.ckpt")).config


def test_a_generator_alone_holds_no_training() -> None:
    checkpoint.write(Path("g.safetensors"), checkpoint.read(save(Path("last.ckpt"))))
    said, data = told("g.safetensors")
    assert (data["kind"], data["resumable"], data["wandb_id"]) == ("generator", False, None)
    assert data["digest"] == told("last.ckpt")[1]["digest"]
    assert "go on" not in said


def test_a_foreign_class_is_named_and_never_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("evil.py").write_text("open('ran', 'w')\nclass Generator: pass\n")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    save(Path("foreign.ckpt"), target="evil.Generator")
    said, data = told("foreign.ckpt")
    assert data["needs_trust_code"]
    assert "evil.Generator" in said["generator"]
    assert "--trust-code" in said["generator"]
    assert said["sample"].endswith("--trust-code")
    assert not Path("ran").exists()


@pytest.mark.parametrize("strange", [{}, {"name": 5, "model": [], "data": None}, {"name": "${oc.env:HOME}"}])
def test_a_configuration_of_others_costs_the_command_alone(strange: dict[str, Any]) -> None:
    save(Path("last.ckpt"), config=strange)
    _, data = told("last.ckpt")
    assert data["digest"]
    assert os.environ.get("HOME", "/root") not in str(data["command"])


def picture(ckpt: Path, labels: list[int], seeds: list[int], out: Path) -> None:
    asked = ("--label", ",".join(map(str, labels)), "--seeds", ",".join(map(str, seeds)))
    done = CliRunner().invoke(app, ["sample", "--ckpt", str(ckpt), *asked, "--out", str(out)])
    assert done.exit_code == 0


def test_a_picture_leads_back_to_its_checkpoint_and_is_drawn_again_bit_for_bit() -> None:
    for i, name in enumerate(("a", "b", "c")):
        make(Path("runs") / name, age=i, saved=False)
        save(Path("runs") / name / "checkpoints" / "last.ckpt", seed=i)
    ours = Path("runs/b/checkpoints/last.ckpt")
    picture(ours, [3, 5], [0, 1, 2, 7], Path("grid.png"))
    said, data = told("grid.png")
    assert data["made_by"] == str(ours)
    assert data["provenance"]["ganctl:checkpoint"] == checkpoint.read(ours).digest
    assert (data["provenance"]["ganctl:label"], data["provenance"]["ganctl:seed"]) == ("3,5", "0-2,7")
    done = CliRunner().invoke(app, shlex.split(said["draw again"])[1:])
    assert done.exit_code == 0
    assert Path("again.png").read_bytes() == Path("grid.png").read_bytes()


def test_pictures_without_a_known_origin_say_so() -> None:
    Image.new("L", (8, 8)).save("plain.png")
    assert told("plain.png")[0]["provenance"].startswith("none")
    picture(save(Path("gone.ckpt")), [1], [0], Path("orphan.png"))
    Path("gone.ckpt").unlink()
    said, data = told("orphan.png")
    assert data["made_by"] is None
    assert "draw again" not in said


def test_a_run_its_scores_files_and_commands() -> None:
    cfg = config.compose(["experiment=mlp", "data=digits", "seed=3"]).model_dump()
    scored = rows((0.3, 0.5), (0.1, 0.8), (0.2, 0.9))
    folder = make(Path("runs/a b"), *scored, END, config=yaml.safe_dump(cfg))
    said, data = told("a b")
    assert data["best"] == {"steps": 4, "val/digit_fd": 0.1, "val/label_accuracy": 0.8}
    assert data["last"]["steps"] == 6
    assert set(data["checkpoints"]) == {"last.ckpt"}
    assert said["sample"] == f"ganctl sample --ckpt '{folder}' --n 64"
    assert said["go on"].startswith(f"ganctl resume '{folder}' ")
    assert config.compose(shlex.split(said["train again"])[2:]).model_dump() == cfg
    assert told(None)[1]["run"] == str(folder)


def test_arrays_and_the_bundled_generator() -> None:
    np.savez("some.npz", images=np.zeros((5, 8, 8, 1), np.uint8), labels=np.arange(5))
    _, data = told("some.npz")
    assert (data["images"], data["resolution"], data["labels"]) == (5, 8, True)
    assert told(None)[1]["path"].endswith("generator_mnist.safetensors")  # there is no run


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("quick/2026-01-01_00-00-0", "quick/2026-01-01_00-00-01"),
        ("lst.ckpt", "last.ckpt"),
        ("folder/lst.ckpt", "folder/last.ckpt"),
    ],
)
def test_a_wrong_name_gets_the_nearest(name: str, meant: str) -> None:
    make(Path("runs/quick/2026-01-01_00-00-01"), saved=False)
    save(Path("last.ckpt"))
    save(Path("folder/last.ckpt"))
    done = CliRunner().invoke(app, ["info", name])
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"did you mean {meant}?" in done.stderr


def test_files_of_others_are_refused() -> None:
    Path("folder").mkdir()
    os.mkfifo("pipe")
    files = {
        "a.ckpt": b"PK\x03\x04junk",
        "b.safetensors": b"\xff" * 20,
        "c.png": b"\x89PNGjunk",
        "d.json": b"{}",
    }
    for name, data in {**files, "e.npz": b"PK\x03\x04junk", "empty": b""}.items():
        Path(name).write_bytes(data)
    for name in [*files, "e.npz", "empty", "folder", "pipe"]:
        with pytest.raises(UsageError):
            describe.describe(name)
