"""Broken trainings raise the alarm that fits, whole ones none, and what follows is what was asked for."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ganctl import config, data, watchdog
from ganctl.data.batches import Batches
from ganctl.errors import DivergedError
from ganctl.gan import GAN, Hyperparameters
from ganctl.networks import mlp
from ganctl.train import train

pytestmark = [
    pytest.mark.slow,
    # torch warns of Lightning's own use of torch's pytree
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
]

EPOCH = 18  # steps of 64 digits


class IgnoresLabel(mlp.Generator):
    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return super().forward(z, torch.zeros_like(y))


class IgnoresNoise(mlp.Generator):
    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        # A trace of it, so that the pictures are not the same to the last bit.
        return super().forward(0.01 * z, y)


class Unteachable(mlp.Generator):
    """Draws blank images, whatever it is taught."""

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return 0 * super().forward(z, y) - 0.9 + 0.01 * torch.rand(len(z), 1, 8, 8)


class BreaksAtStep40(mlp.Discriminator):
    """Its weights turn to NaN in the third epoch of a first life."""

    steps = 0

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled() and next(self.parameters()).requires_grad:
            BreaksAtStep40.steps += 1
            if BreaksAtStep40.steps == 40:
                images = images * float("nan")
        return super().forward(images, y)


class BreaksFromStep40(BreaksAtStep40):
    """And in every life after it."""

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        BreaksAtStep40.steps = min(BreaksAtStep40.steps, 39)
        return super().forward(images, y)


@pytest.fixture(autouse=True)
def first_life() -> None:
    BreaksAtStep40.steps = 0


Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Run:
    """run("override", …) trains on digits, and returns the rows of metrics.jsonl."""
    caplog.set_level(logging.INFO, logger="ganctl")

    def go(*overrides: str, error: type[DivergedError] | None = None) -> list[dict[str, Any]]:
        cfg = config.compose(
            [
                *("model=mlp", "data=digits", "loss=lsgan", "logger=none", "callbacks=none"),
                *("model.generator.widths=[64]", "model.discriminator.width=64", "trainer=cpu"),
                *(f"run.dir={tmp_path / 'run'}", "trainer.precision=32", "trainer.max_epochs=4"),
                *("watchdog.warmup_kimg=2", "watchdog.saturated_kimg=1", *overrides),
            ]
        )
        if error is None:
            train(cfg)
        else:
            with pytest.raises(error) as caught:
                train(cfg)
            assert caught.value.exit_code == 3
            assert "model.lr" in caught.value.fix or "loss" in caught.value.fix
        lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    return go


def alarms(rows: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(key, row["step"]) for row in rows for key in row if key.startswith("watchdog/")]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "ganctl" and r.levelno == logging.WARNING]


def own(name: str, part: str = "generator") -> str:
    return f"model.{part}._target_={__name__}.{name}"


@pytest.mark.parametrize("loss", ["relativistic", "hinge", "lsgan", "nonsaturating", "wgan_gp"])
def test_a_whole_training_raises_no_alarm(loss: str, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    rows = run(f"loss={loss}", "trainer.max_epochs=5", "watchdog.warmup_kimg=4", "model.lr=1e-3")
    assert alarms(rows) == []
    assert warnings(caplog) == []
    assert rows[-1]["step"] == 5 * EPOCH


def test_non_finite_values_end_the_run_though_it_is_only_to_warn(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = run(own("BreaksAtStep40", "discriminator"), error=DivergedError)
    ((name, step),) = alarms(rows)
    assert name == "watchdog/non_finite"
    assert 40 <= step <= 3 * EPOCH
    what, remedy = warnings(caplog)
    assert "train/d_loss is nan" in what
    assert "model.lr (now 0.0002)" in remedy
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["ganctl"]["steps"] == 2 * EPOCH
    assert all(v.isfinite().all() for v in saved["state_dict"].values())


def test_an_absurd_learning_rate_is_an_alarm(run: Run) -> None:
    # Before the first epoch ends, so that nothing is saved.
    rows = run("model.lr=1e9", "watchdog.action=stop", error=DivergedError)
    assert alarms(rows)[0][0] in ("watchdog/non_finite", "watchdog/saturated")


@pytest.mark.parametrize("loss", ["relativistic", "hinge", "lsgan", "nonsaturating", "wgan_gp"])
def test_a_discriminator_that_has_won_is_seen(loss: str, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    # A critic that nothing holds; the others end at 0 by themselves.
    rows = run(
        f"loss={loss}",
        *("loss.r1_gamma=0", "loss.r2_gamma=0", "loss.gp_weight=0", "model.lr=2e-3", "trainer.max_epochs=14"),
        own("Unteachable"),
        "watchdog.warmup_kimg=1000",
    )
    ((name, _),) = alarms(rows)  # once, though it went on
    assert name == "watchdog/saturated"
    assert ("slope" if loss == "wgan_gp" else "without fail") in warnings(caplog)[0]


def test_a_generator_that_ignores_the_noise_is_seen(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    rows = run(own("IgnoresNoise"))
    # At the first epoch end after 2 000 images.
    assert alarms(rows) == [("watchdog/collapsed", 2 * EPOCH)]
    assert "nearly identical" in warnings(caplog)[0]


@pytest.mark.parametrize("with_classifier", [True, False])
def test_a_generator_that_ignores_its_label_is_seen(
    with_classifier: bool, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    evaluate = ["callbacks.evaluate={every_epochs: 1, num_gen: 200}"] if with_classifier else []
    rows = run(own("IgnoresLabel"), *evaluate, "watchdog.min_diversity=0", "model.lr=1e-3")
    assert alarms(rows) == [("watchdog/labels_ignored", 2 * EPOCH)]
    assert ("label accuracy" in warnings(caplog)[0]) == with_classifier


def test_an_alarm_ends_the_run_when_it_is_to_stop(run: Run, tmp_path: Path) -> None:
    rows = run(own("IgnoresLabel"), "watchdog.action=stop", "watchdog.min_diversity=0", error=DivergedError)
    assert alarms(rows) == [("watchdog/labels_ignored", 2 * EPOCH)]
    assert rows[-1]["step"] == 2 * EPOCH
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


@pytest.mark.parametrize("loss", config.options("loss"))
@pytest.mark.parametrize("name", ["non_finite", "saturated", "collapsed", "labels_ignored"])
def test_what_to_try_exists(loss: str, name: str) -> None:
    cfg = config.compose([f"loss={loss}"])
    numbers = Hyperparameters(64, 1e-3, 0.0, 0.99, cfg.loss.r1_gamma, cfg.loss.r2_gamma, 10, 10, 1)
    text = watchdog.advice(name, loss, numbers)
    keys = re.findall(r"\b(\w+)\.(\w+)", re.sub(r"[\d.]+[,)]", "", text))
    groups = re.findall(r"\b(\w+)=(\w+)", text)
    assert keys or groups
    for section, key in keys:
        assert hasattr(getattr(cfg, section), key)
    for group, option in groups:
        assert option in config.options(group)
        assert (group, option) != ("loss", loss)


def test_rollback_goes_back_once_and_the_run_ends_well(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = run(own("BreaksAtStep40", "discriminator"), "watchdog.action=rollback")
    # Back to the end of the second epoch. What came after it is forgotten, and the alarm is logged there.
    assert alarms(rows) == [("watchdog/non_finite", 2 * EPOCH)]
    assert "rollback 1 of 3" in warnings(caplog)[-1]
    losses = [(row["step"], row["train/d_loss"]) for row in rows if "train/d_loss" in row]
    assert [step for step, _ in losses] == list(range(1, 4 * EPOCH + 1))
    assert None not in [loss for _, loss in losses]
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert (saved["ganctl"]["steps"], saved["training"]["rollbacks"]) == (4 * EPOCH, 1)
    assert all(v.isfinite().all() for v in saved["state_dict"].values())


def test_a_run_that_goes_back_draws_other_noise(run: Run) -> None:
    seen: list[Tensor] = []

    class Noted(mlp.Generator):
        def forward(self, z: Tensor, y: Tensor) -> Tensor:
            if self.training:
                seen.append(z.detach().clone())
            return super().forward(z, y)

    globals()["Noted"] = Noted
    run(own("Noted"), own("BreaksAtStep40", "discriminator"), "watchdog.action=rollback")
    assert len(seen) > 4 * EPOCH  # some steps were taken twice
    assert len(torch.unique(torch.cat(seen), dim=0)) == sum(len(z) for z in seen)


@pytest.mark.parametrize("stream", ["false", "true"])
@pytest.mark.parametrize("every_s", ["600", "1e-9"])  # found at a step's end, and with the next batch in hand
def test_a_run_that_goes_back_sees_the_batches_of_that_place(
    every_s: str, stream: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = data.load(data.Source("digits"), val_size=0).train
    pixels = digits.images.permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "own.npz", images=pixels, labels=digits.labels.numpy())
    seen: list[tuple[int, Tensor]] = []
    step = GAN.training_step

    def training_step(gan: GAN, batch: tuple[Tensor, Tensor], batch_idx: int) -> Any:
        seen.append((gan.steps, batch[0].clone()))
        return step(gan, batch, batch_idx)

    monkeypatch.setattr(GAN, "training_step", training_step)
    run(
        *("data=npz", f"data.root={tmp_path / 'own.npz'}", f"data.stream={stream}", "data.val_size=150"),
        *(own("BreaksAtStep40", "discriminator"), "watchdog.action=rollback"),
        *(f"checkpoint.every_s={every_s}", "data.batch_size=32", "trainer.max_epochs=2"),
    )
    steps = [number for number, _ in seen]
    went_back = [i for i in range(1, len(steps)) if steps[i] != steps[i - 1] + 1]
    assert len(went_back) == 1
    # of 37 steps an epoch has: broken in the second, found in the middle of it
    left, back = steps[went_back[0] - 1], steps[went_back[0]]
    assert (left, back) == ((39, 39) if every_s == "1e-9" else (59, 37))
    train_set = data.load(data.Source("npz", tmp_path / "own.npz"), 150).train
    for number, images in seen:
        expected, _ = next(iter(Batches(train_set, 32, seed=0, first=number)))
        assert torch.equal(images, expected), number


def test_rollbacks_are_counted_and_then_it_stops(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    rows = run(
        own("BreaksFromStep40", "discriminator"),
        *("watchdog.action=rollback", "watchdog.max_rollbacks=2"),
        error=DivergedError,
    )
    said = [text for text in warnings(caplog) if text.startswith("rollback")]
    assert [text.split(":")[0] for text in said] == ["rollback 1 of 2", "rollback 2 of 2"]
    assert alarms(rows)[-1][0] == "watchdog/non_finite"
    assert rows[-1]["step"] > 2 * EPOCH


def test_with_nothing_to_go_back_to_it_stops(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    run("model.lr=1e18", "watchdog.action=rollback", error=DivergedError)
    assert not any("rollback" in text for text in warnings(caplog))


def test_bad_weights_are_never_saved_though_nobody_asked(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog.Watchdog, "check", lambda *args: True)
    monkeypatch.setattr(watchdog, "CHECK_EVERY_STEPS", 10**9)
    run(own("BreaksAtStep40", "discriminator"), error=DivergedError)
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["ganctl"]["steps"] == 2 * EPOCH
