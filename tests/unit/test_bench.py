"""What the benchmark computes, and that its bare loop does the work of `ganctl train`."""

from __future__ import annotations

import functools
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml
from bench import time_to
from bench_loops import Bare, Clock
from bench_measure import speeds, summary, training_windows

from ganctl import data
from ganctl.build import build_gan
from ganctl.config import compose
from ganctl.data.batches import Batches
from ganctl.latents import step_seed
from ganctl.train import train

STEPS = 3


def window(first: int, rows: int, speed: float) -> list[dict[str, float]]:
    return [{"step": first + i, "train/images_per_s": speed} for i in range(rows)]


def test_speed_is_all_images_by_all_seconds_of_whole_windows_after_the_warm_up() -> None:
    scores = [{"step": 80, "val/label_accuracy": 0.5}]
    warm, last = window(1, 20, 5.0) + window(21, 20, 7.0), window(81, 6, 1.0)
    rows = [*warm, *window(41, 20, 100.0), *window(61, 20, 300.0), *scores, *last]
    assert training_windows(rows, warm_up=40) == [100.0, 300.0]
    # 1 image at 100/s and 1 at 300/s: 2 images in 4/300 s
    assert speeds([100.0, 300.0], 32)["images_per_s"] == pytest.approx(150.0)
    with pytest.raises(SystemExit, match="more --steps"):
        training_windows(warm, warm_up=40)


def test_the_clock_counts_whole_windows_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(warm_up=3, window=2)
    for step in range(1, 10):  # step n is done at n² seconds
        monkeypatch.setattr("time.perf_counter", lambda step=step: float(step**2))
        clock.step_done(step)
    assert clock.seconds() == [5**2 - 3**2, 7**2 - 5**2, 9**2 - 7**2]


def test_ratios_are_of_the_same_round_and_of_the_fastest_windows() -> None:
    samples = {"theirs": [5.0, 20.0, 10.0], "ours": [10.0, 20.0, 30.0]}
    found = {name: [speeds([s], 32) for s in values] for name, values in samples.items()}
    # One slow minute in either: a tenth of the windows is as fast as ever.
    found["theirs"][0]["windows"] = [50.0] * 10 + [10.0] * 30
    found["ours"][2]["windows"] = [40.0] * 20 + [80.0] * 1
    theirs, ours = summary(found, {"theirs": None, "ours": "theirs"})
    assert (theirs["p90"], ours["p90"]) == (50.0, 40.0)
    assert ours["p90_ratio"] == pytest.approx(0.8)
    assert (theirs["images_per_s"], ours["images_per_s"]) == (10.0, 20.0)
    assert "ratio" not in theirs
    assert ours["ratios"] == [2.0, 1.0, 3.0]
    assert ours["ratio"] == 2.0
    assert ours["against"] == "theirs"


SCORES = [(0.94, 0.2), (0.95, 0.0648), (0.985, 0.05), (0.97, 0.03)]  # 8 × 0.0081 = 0.0648


def run_folder(path: Path, name: str = "mnist") -> Path:
    """Scores at 100 s, 200 s, … after a start shortly before midnight."""
    rows: list[dict[str, Any]] = [{"step": 1, "train/d_loss": 1.0, "images_seen": 64}]
    for i, (accuracy, fd) in enumerate(SCORES, 1):
        rows.append({"step": i, "val/d_loss": 1.0, "images_seen": 1000 * i})
        scores = {"val/label_accuracy": accuracy, "val/digit_fd": fd}
        rows.append({"step": i, **scores, "images_seen": 1000 * i})
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path / "config.yaml").write_text(yaml.safe_dump({"name": "x", "data": {"name": name}}))
    lines = [
        "2025-12-31 23:58:20,500 INFO run folder x",
        "2025-12-31 23:58:22,000 INFO W&B is offline",
        "2026-01-01 00:00:00,500 INFO epoch 1, 1 kimg: …",
        "2026-01-01 00:01:40,500 INFO epoch 2, 2 kimg: …",
        "2026-01-01 00:03:20,500 INFO epoch 3, 3 kimg: …",
        "2026-01-01 00:05:00,500 INFO epoch 4, 4 kimg: …",
    ]
    (path / "train.log").write_text("\n".join(lines) + "\n")
    return path


def test_time_to_quality(tmp_path: Path) -> None:
    found = {row["goal"]: (row["seconds"], row["images_seen"]) for row in time_to(run_folder(tmp_path))}
    assert found == {
        "label accuracy 95 %": (200.0, 2000),
        "label accuracy 98 %": (300.0, 3000),
        "label accuracy 99 %": (None, None),
        "digit_fd 8 × floor": (200.0, 2000),
        "digit_fd 4 × floor": (400.0, 4000),
        "digit_fd 2 × floor": (None, None),
    }


def test_the_floor_is_that_of_mnist(tmp_path: Path) -> None:
    goals = [row["goal"] for row in time_to(run_folder(tmp_path, "digits"))]
    assert goals == ["label accuracy 95 %", "label accuracy 98 %", "label accuracy 99 %"]


def test_a_log_of_two_starts_has_no_wall_clock(tmp_path: Path) -> None:
    log = run_folder(tmp_path) / "train.log"
    log.write_text(log.read_text() + "2026-01-01 01:00:00,000 INFO run folder x\n")
    with pytest.raises(SystemExit, match="one start"):
        time_to(tmp_path)


NARROW = ["model.generator.width=8", "model.discriminator.width=8"]
SMALL = {
    "dcgan, no class loss": ["+experiment=dcgan", *NARROW, "model.discriminator.head=projection"],
    "dcgan, class loss": [
        "+experiment=dcgan",
        *NARROW,
        "model.discriminator.head=projection_acgan",
        "loss.class_weight=0.5",
    ],
    "lazy penalties": ["+experiment=dcgan", *NARROW, "loss.reg_interval=2"],
    "mlp": ["+experiment=mlp", "model.generator.widths=[16,32]", "model.discriminator.width=32"],
}


@pytest.mark.parametrize("recipe", SMALL)
def test_the_bare_loop_does_the_same_work(recipe: str, tmp_path: Path) -> None:
    # mlp has dropout: the noise must be drawn in the same order as well
    quiet = ["logger=none", "callbacks=none", "callbacks.progress_bar=false", f"run.dir={tmp_path / 'run'}"]
    short = ["trainer.accelerator=cpu", "trainer.precision=32", f"trainer.max_steps={STEPS}"]
    cfg = compose([*SMALL[recipe], "data=digits", *short, *quiet])
    train(cfg)
    trained = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]

    pl.seed_everything(cfg.seed, verbose=False)
    dataset = data.load(data.Source("digits"), cfg.data.val_size, cfg.data.val_seed)
    gan = build_gan(cfg, dataset.facts, STEPS * cfg.data.batch_size)
    start = {name: value.clone() for name, value in gan.state_dict().items()}
    loop = Bare(gan, bf16=False)
    batches = Batches(dataset.train, cfg.data.batch_size, cfg.seed)
    for step, (pixels, y) in enumerate(itertools.islice(batches, STEPS)):
        torch.manual_seed(step_seed(cfg.seed, step, 0))
        loop.step(pixels, y)

    assert set(trained) == set(start)
    for name, value in gan.state_dict().items():
        torch.testing.assert_close(
            value, trained[name], atol=1e-6, rtol=1e-5, msg=functools.partial("{}: {}".format, name)
        )
        assert value.dtype == torch.int64 or not torch.equal(value, start[name])
