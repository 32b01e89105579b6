"""Two ranks train one model: the same weights at the end, from other noise and other images."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from compare_runs import row_differences, rows_of

from ganctl import checkpoint, data, generate
from ganctl.callbacks import FIRST_SEED
from ganctl.metrics import classifier
from ganctl.metrics.extract import extract, in_batches
from ganctl.metrics.features import ClassifierExtractor

pytestmark = pytest.mark.slow

STEPS = 20  # of 18 an epoch, so that the second epoch begins
NUM_GEN = 160  # three passes: two for one rank, one for the other

# A user's networks: each rank writes down what it saw and which weights it had.
SPY = """
import atexit, os, pathlib, signal
import torch
from ganctl.networks import dcgan

FOLDER = pathlib.Path(os.environ["SPY_DIR"])


class Spied:
    def watch(self, name):
        self.__dict__["notes"] = {"first": self.weights(), "seen": []}
        atexit.register(self.dump, name)

    def weights(self):
        return {name: p.detach().clone() for name, p in self.named_parameters()}

    def note(self, seen):
        # While it trains: the test after the training begins with rank 0's weights for all.
        self.notes["last"] = self.weights()
        if seen is not None:
            self.notes["seen"].append(seen.detach().clone())

    def dump(self, name):
        rank = os.environ.get("LOCAL_RANK", "0")
        torch.save(self.notes | {"end": self.weights()}, FOLDER / f"{name}{rank}.pt")


class Generator(Spied, dcgan.Generator):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.watch("G")

    def forward(self, z, y):
        if self.training:
            self.note(z)
            if os.environ.get("STOP_AT") == str(len(self.notes["seen"])):
                os.kill(os.getpid(), signal.SIGTERM)
        return super().forward(z, y)


class Discriminator(Spied, dcgan.Discriminator):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.watch("D")

    def forward(self, x, y):
        if self.training:
            # The D step hands over real images, then as many fakes; the G step finds D frozen.
            d_step = next(self.parameters()).requires_grad
            self.note(((x[: len(x) // 2] + 1) * 127.5).round().to(torch.uint8) if d_step else None)
        return super().forward(x, y)
"""


def recipe(loss: str) -> list[str]:
    return [
        "train",
        "+experiment=quick",
        "data=digits",
        f"loss={loss}",
        "trainer=ddp_cpu",
        f"trainer.max_steps={STEPS}",
        "logger=none",
        f"callbacks.evaluate.num_gen={NUM_GEN}",
        "model.generator._target_=spy_networks.Generator",
        "model.discriminator._target_=spy_networks.Discriminator",
    ]


def spies(cwd: Path) -> dict[str, str]:
    (cwd / "lib").mkdir()
    (cwd / "lib" / "spy_networks.py").write_text(SPY)
    (cwd / "spied").mkdir()
    return {"PYTHONPATH": str(cwd / "lib"), "SPY_DIR": str(cwd / "spied")}


@pytest.fixture(scope="module", params=["relativistic", "hinge"])
def finished(
    request: pytest.FixtureRequest, command: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """A training by two ranks, with R1 and R2 (relativistic) and without any penalty (hinge)."""
    cwd = tmp_path_factory.mktemp(request.param)
    done = command(*recipe(request.param), cwd=cwd, env=spies(cwd))
    assert done.returncode == 0, done.stderr
    spied = {p.stem: torch.load(p, weights_only=True) for p in (cwd / "spied").iterdir()}
    assert sorted(spied) == ["D0", "D1", "G0", "G1"]
    return SimpleNamespace(cwd=cwd, loss=request.param, stdout=done.stdout, spied=spied)


def test_ranks_end_with_the_same_weights(finished: SimpleNamespace) -> None:
    for net in "GD":
        mine, other = finished.spied[f"{net}0"], finished.spied[f"{net}1"]
        assert mine["last"].keys() == other["last"].keys()
        for name, weights in mine["last"].items():
            apart = (weights - other["last"][name]).abs().max()
            assert apart == 0, f"{net}: {name} differs between the ranks by {apart}"
        learned = [not torch.equal(mine["first"][name], weights) for name, weights in mine["last"].items()]
        assert any(learned)


def test_what_is_saved_is_what_the_ranks_agree_on(finished: SimpleNamespace) -> None:
    (run,) = (finished.cwd / "runs" / "quick").iterdir()
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    for net in "GD":
        for name, weights in finished.spied[f"{net}0"]["end"].items():
            assert torch.equal(saved["state_dict"][f"{net}.{name}"], weights)
    assert saved["ganctl"]["nimg"] == 64 * STEPS


def test_ranks_draw_different_noise(finished: SimpleNamespace) -> None:
    noise = [z for rank in (0, 1) for z in finished.spied[f"G{rank}"]["seen"]]
    assert [tuple(z.shape) for z in noise] == [(32, 64)] * (2 * STEPS)
    assert len({z.numpy().tobytes() for z in noise}) == 2 * STEPS
    rows = torch.cat(noise)
    assert len(torch.unique(rows, dim=0)) == len(rows)


def test_ranks_share_an_epoch_without_overlap(finished: SimpleNamespace) -> None:
    per_epoch = 1200 // 64
    images = [
        [
            image.numpy().tobytes()
            for batch in finished.spied[f"D{rank}"]["seen"][:per_epoch]
            for image in batch
        ]
        for rank in (0, 1)
    ]
    assert [len(rank) for rank in images] == [32 * per_epoch] * 2
    assert not set(images[0]) & set(images[1])
    assert [len(set(rank)) for rank in images] == [32 * per_epoch] * 2


def test_there_is_one_run_and_each_step_is_logged_once(finished: SimpleNamespace) -> None:
    assert {p.name for p in finished.cwd.iterdir()} == {"lib", "spied", "runs"}
    (experiment,) = (finished.cwd / "runs").iterdir()
    (run,) = experiment.iterdir()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    training = [row for row in rows if "train/d_loss" in row]
    assert [row["step"] for row in training] == list(range(1, STEPS + 1))
    assert [row["images_seen"] for row in training] == [64 * step for step in range(1, STEPS + 1)]
    for key in ("train/r1", "train/r2"):
        assert all((key in row) == (finished.loss == "relativistic") for row in training)


def test_ranks_that_share_an_evaluation_find_what_one_process_does(finished: SimpleNamespace) -> None:
    (run,) = (finished.cwd / "runs" / "quick").iterdir()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = [row for row in rows if "val/digit_fd" in row][-1]
    saved = checkpoint.read(run / "checkpoints" / "last.ckpt")
    bare = saved.generator | {"_target_": "ganctl.networks.dcgan.Generator"}
    counts, seeds = saved.facts.class_counts, range(FIRST_SEED, FIRST_SEED + NUM_GEN)
    labels = generate.proportional_labels(counts, NUM_GEN)
    cpu = torch.device("cpu")
    fakes = generate.all_at_once(replace(saved, generator=bare).build(), saved.latent_dim, labels, seeds, cpu)
    loaded, cut = classifier.load("digits"), saved.config["data"]
    assert loaded is not None
    val = data.load(data.Source("digits"), cut["val_size"], cut["val_seed"]).val
    extractor = ClassifierExtractor(loaded, cpu)
    fake, real = (extract(extractor, in_batches(images)) for images in (fakes, val.images))
    assert last["val/digit_fd"] == pytest.approx(fake.frechet_distance(real), rel=1e-5)
    accuracy = (fake.predicted == torch.tensor(labels)).double().mean().item()
    assert last["val/label_accuracy"] == pytest.approx(accuracy)


def test_one_rank_prints_the_result(finished: SimpleNamespace) -> None:
    (run,) = (finished.cwd / "runs" / "quick").iterdir()
    named = [line.split()[1] for line in finished.stdout.splitlines() if line.startswith("run ")]
    assert named == [str(run.relative_to(finished.cwd))]
    assert finished.stdout.count("images seen") == 1


def test_ranks_stop_together_and_go_on_exactly(
    finished: SimpleNamespace, command: Callable[..., Any], tmp_path: Path
) -> None:
    if finished.loss != "relativistic":
        pytest.skip("once is enough")
    env = spies(tmp_path)
    stopped = command(*recipe("relativistic"), cwd=tmp_path, env=env | {"STOP_AT": "7"})
    assert stopped.returncode == 143, stopped.stderr
    assert stopped.stderr.count("interrupted after") == 1
    (run,) = (tmp_path / "runs" / "quick").iterdir()
    # all ranks were told in step 7, and agreed at the next question
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["ganctl"]["nimg"] == 64 * 10

    refused = command("resume", cwd=tmp_path, env=env)
    assert refused.returncode == 2
    assert "--trust-code" in refused.stderr
    done = command("resume", "--trust-code", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    (whole,) = (finished.cwd / "runs" / "quick").iterdir()
    saved, expected = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (run, whole)
    )
    for name, weights in expected["state_dict"].items():
        assert torch.equal(saved["state_dict"][name], weights), name
    assert row_differences(rows_of(run), rows_of(whole)) == []
