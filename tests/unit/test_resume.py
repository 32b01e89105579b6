"""A run that was stopped anywhere and goes on ends as if it had never been stopped."""

from __future__ import annotations

import copy
import logging
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from compare_runs import files, row_differences, rows_of
from torch import Tensor

from ganctl import build, config, data, resume
from ganctl.errors import UsageError
from ganctl.gan import GAN
from ganctl.stop_signals import InterruptedRunError, StopSignals
from ganctl.train import RunResult, train

# torch warns of Lightning's own use of torch's pytree
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")

PER_EPOCH = 6  # batches of 200 images
RECIPE = [
    "experiment=quick",
    "data=digits",
    "data.batch_size=200",
    "logger=none",
    "callbacks.progress_bar=false",
    "callbacks.evaluate.num_gen=64",
    "callbacks.samples.per_class=1",
    "trainer.accelerator=cpu",
    "model.generator.width=8",
    "model.discriminator.width=8",
    # what changes with the progress must follow the counters too
    "+schedules.lr={final: 0.0, begin: 0.2, end: 1.0, shape: linear}",
]


def run(folder: Path, *overrides: str) -> RunResult:
    result = train(config.compose([*RECIPE, f"run.dir={folder}", *overrides]))
    assert result is not None
    return result


def go_on(where: Path | str | None, *overrides: str) -> RunResult:
    """As `ganctl resume` does."""
    found = resume.find(None if where is None else str(where))
    result = train(config.changed(found.config, overrides), found, trust_code=False)
    assert result is not None
    return result


def tensors(node: Any, path: str = "") -> dict[str, Tensor]:
    if isinstance(node, Tensor):
        return {path: node}
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return {k: t for key, child in items for k, t in tensors(child, f"{path}/{key}").items()}


def state(folder: Path, name: str = "last.ckpt") -> dict[str, Tensor]:
    content = torch.load(folder / "checkpoints" / name, weights_only=True)
    kept = tensors({"nets": content["state_dict"], "adam": content["optimizer_states"]})
    assert len(kept) > 50
    return kept | {"steps": torch.tensor([content["ganctl"]["steps"], content["ganctl"]["nimg"]])}


def assert_same(folder: Path, other: Path) -> None:
    for name in ("last.ckpt", "best.ckpt"):
        mine, theirs = state(folder, name), state(other, name)
        assert mine.keys() == theirs.keys()
        differing = [key for key in mine if not torch.equal(mine[key], theirs[key])]
        assert differing == [], name
    assert row_differences(rows_of(folder), rows_of(other)) == []
    assert files(folder) == files(other)


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], object]) -> None:
    """Something happens in the middle of that step (from 1), once."""
    trained = GAN.training_step
    happened: list[int] = []

    def training_step(gan: GAN, batch: tuple[Tensor, Tensor], batch_idx: int) -> Any:
        if gan.steps == step - 1 and not happened:
            happened.append(step)
            act()
        return trained(gan, batch, batch_idx)

    monkeypatch.setattr(GAN, "training_step", training_step)


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    """Notices as well as warnings."""
    caplog.set_level(logging.INFO, "ganctl")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three epochs, uninterrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(folder, "trainer.max_epochs=3")
    return folder


@pytest.mark.slow
def test_a_run_is_deterministic(whole: Path, tmp_path: Path) -> None:
    torch.manual_seed(123)
    run(tmp_path / "again", "trainer.max_epochs=3")
    assert_same(tmp_path / "again", whole)
    run(tmp_path / "other", "trainer.max_epochs=3", "seed=1")
    mine, theirs = state(tmp_path / "other"), state(whole)
    assert any(not torch.equal(mine[key], theirs[key]) for key in mine)


@pytest.mark.parametrize(
    ("step", "signum", "code"),
    [
        (1, signal.SIGINT, 130),
        pytest.param(PER_EPOCH - 1, signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(PER_EPOCH + 2, signal.SIGINT, 130, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_goes_on_exactly(
    step: int, signum: int, code: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signum)
    at_step(monkeypatch, step, lambda: signal.raise_signal(signum))
    with pytest.raises(InterruptedRunError, match="interrupted") as stopped:
        run(tmp_path / "run", "trainer.max_epochs=3")
    assert stopped.value.exit_code == code
    assert f"ganctl resume {tmp_path / 'run'}" in stopped.value.fix
    assert signal.getsignal(signum) == before
    # the step was finished, and nothing after it was begun
    assert state(tmp_path / "run")["steps"].tolist() == [step, 200 * step]
    assert rows_of(tmp_path / "run")[-1]["step"] == step

    assert go_on(tmp_path / "run").nimg == 3 * PER_EPOCH * 200
    assert_same(tmp_path / "run", whole)


@pytest.mark.slow
def test_what_augmentation_and_lecam_remember_goes_on_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # p rises by a fifth of 4 kimg every four batches, as r_t is above -1 on the first day
    ada = [
        "augment=ada",
        "augment.target=-0.99",
        "augment.speed_kimg=4",
        "loss=hinge",
        "loss.lecam_weight=0.1",
    ]
    recipe = [*ada, "trainer.max_epochs=2", "callbacks.evaluate=null", "callbacks.samples=null"]
    run(tmp_path / "whole", *recipe)
    at_step(monkeypatch, PER_EPOCH + 1, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(InterruptedRunError):
        run(tmp_path / "run", *recipe)
    stopped = state(tmp_path / "run")
    assert float(stopped["/nets/augment.p"]) == pytest.approx(0.2)
    assert float(stopped["/nets/augment.seen"][1]) == 600  # three batches of four
    go_on(tmp_path / "run")
    mine, theirs = state(tmp_path / "run"), state(tmp_path / "whole")
    assert [key for key in theirs if not torch.equal(mine[key], theirs[key])] == []
    assert row_differences(rows_of(tmp_path / "run"), rows_of(tmp_path / "whole")) == []
    p = [row["train/augment_p"] for row in rows_of(tmp_path / "run") if "train/augment_p" in row]
    assert p == pytest.approx([0.0] * 4 + [0.2] * 4 + [0.4] * 4)
    assert float(mine["/nets/augment.p"]) == pytest.approx(0.6)
    assert bool(mine["/nets/lecam_anchors"].all())


def test_a_run_of_before_a_key_was_there_goes_on(tmp_path: Path) -> None:
    now = config.compose([*RECIPE]).model_dump()
    old = config.compose([*RECIPE]).model_dump()
    del old["augment"], old["data"]["flip"], old["loss"]["lecam_weight"], old["loss"]["reg_interval"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(old))
    before = resume.find(str(tmp_path)).config
    assert config.changed(before, []).model_dump() == now
    assert resume.changes(before, now) == {}
    with_ada = config.changed(before, ["augment.name=ada"]).model_dump()
    assert resume.changes(before, with_ada) == {"augment.name": ("none", "ada")}
    with pytest.raises(UsageError, match=r"data\.flip is True"):
        resume.changes(before, config.changed(before, ["data.flip=true"]).model_dump())


def test_augmentation_may_begin_and_end_while_a_run_goes_on() -> None:
    def gan(*overrides: str) -> GAN:
        facts = data.DatasetFacts("digits", ("a", "b"), 1, 8, (1, 1))
        return build.build_gan(config.compose([*RECIPE, *overrides]), facts, 100)

    plain, ada = gan("seed=1"), gan("augment=ada", "loss=hinge", "loss.lecam_weight=1")
    ada.state_dict()["augment.p"].fill_(0.3)
    saved: Any = SimpleNamespace(path=Path("last.ckpt"), weights=dict(plain.state_dict()))
    resume.load_weights(ada, saved)
    assert float(ada.state_dict()["augment.p"]) == pytest.approx(0.3)
    assert all(torch.equal(ada.state_dict()[name], value) for name, value in plain.state_dict().items())
    saved.weights = dict(ada.state_dict())
    resume.load_weights(gan(), saved)
    del saved.weights["D." + next(iter(ada.D.state_dict()))]
    with pytest.raises(UsageError, match="do not fit"):
        resume.load_weights(gan(), saved)


@pytest.mark.slow
def test_a_signal_in_an_epochs_last_step(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(monkeypatch, PER_EPOCH, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(InterruptedRunError):
        run(tmp_path / "run", "trainer.max_epochs=3")
    # the epoch's end belongs to its last step: validated, scored and drawn once
    assert state(tmp_path / "run")["steps"][0] == PER_EPOCH
    go_on(tmp_path / "run")
    assert_same(tmp_path / "run", whole)


def test_a_second_ctrl_c_leaves_at_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    stops = StopSignals()
    stops.on_train_start(None, None)  # type: ignore[arg-type]
    try:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert (stops.received, left) == (signal.SIGTERM, [])
        signal.raise_signal(signal.SIGINT)
        assert left == [130]
        assert "left at once" in capfd.readouterr().err
    finally:
        stops.on_train_end(None, None)  # type: ignore[arg-type]


class KilledError(BaseException):
    """Nothing handles it: like kill -9, but that files are closed."""


def kill() -> None:
    raise KilledError


@pytest.mark.slow
@pytest.mark.parametrize(
    "step", [PER_EPOCH + 4, *(pytest.param(step, marks=pytest.mark.slow) for step in (2, PER_EPOCH + 1))]
)
def test_a_killed_run_goes_on_from_its_last_save(
    step: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(monkeypatch, step, kill)
    with pytest.raises(KilledError):
        run(tmp_path / "run", "trainer.max_epochs=3")
    checkpoints = tmp_path / "run" / "checkpoints"
    assert checkpoints.exists() == (step > PER_EPOCH)
    if checkpoints.exists():
        assert state(tmp_path / "run")["steps"][0] == PER_EPOCH
        # killed after `last` was written and before `best` was, and inside another writing
        (checkpoints / "best.ckpt").unlink()
        (checkpoints / ".last.ckpt.0a1b2c3d").write_bytes(b"half")
    go_on(tmp_path / "run")
    assert_same(tmp_path / "run", whole)


@pytest.mark.slow
def test_saved_by_the_clock_between_two_steps(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(monkeypatch, PER_EPOCH + 4, kill)
    with pytest.raises(KilledError):
        run(tmp_path / "run", "trainer.max_epochs=3", "checkpoint.every_s=1e-9")
    # saved ahead of every step: the newest two
    assert state(tmp_path / "run")["steps"][0] == PER_EPOCH + 3
    assert state(tmp_path / "run", "previous.ckpt")["steps"][0] == PER_EPOCH + 2
    go_on(tmp_path / "run", "checkpoint.every_s=300")
    assert_same(tmp_path / "run", whole)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    at_step(monkeypatch, PER_EPOCH + 4, kill)
    with pytest.raises(KilledError):
        run(tmp_path / "run", "trainer.max_epochs=3", "checkpoint.every_s=1e-9")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-1000])
    go_on(last, "checkpoint.every_s=300")
    assert "last.ckpt is damaged" in caplog.text
    assert f"going on from {last.with_name('previous.ckpt')}" in caplog.text
    assert_same(tmp_path / "run", whole)

    for name in ("last.ckpt", "previous.ckpt"):
        last.with_name(name).write_bytes(b"PK\x03\x04nothing")
    with pytest.raises(UsageError, match=r"last\.ckpt is damaged"):
        go_on(tmp_path / "run")


@pytest.mark.slow
def test_more_epochs_are_trained_and_recorded(whole: Path, tmp_path: Path) -> None:
    constant = "schedules.lr=null"  # else the end of the training is part of each step
    run(tmp_path / "long", "trainer.max_epochs=3", constant)
    run(tmp_path / "run", "trainer.max_epochs=1", constant)
    go_on(tmp_path / "run", "trainer.max_epochs=3")
    mine, theirs = state(tmp_path / "run"), state(tmp_path / "long")
    assert [key for key in theirs if not torch.equal(mine[key], theirs[key])] == []
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["trainer"]["max_epochs"] == 3
    assert "changed: trainer.max_epochs from 1 to 3" in (tmp_path / "run" / "train.log").read_text()


@pytest.mark.slow
def test_more_steps_go_on_inside_an_epoch(tmp_path: Path) -> None:
    constant = "schedules.lr=null"
    run(tmp_path / "long", "trainer.max_steps=9", constant)
    run(tmp_path / "run", "trainer.max_steps=4", constant)
    assert state(tmp_path / "run")["steps"][0] == 4
    go_on(tmp_path / "run", "trainer.max_steps=9")
    mine, theirs = state(tmp_path / "run"), state(tmp_path / "long")
    assert [key for key in theirs if not torch.equal(mine[key], theirs[key])] == []


@pytest.mark.slow
def test_ckpt_path_goes_on_in_the_same_folder(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(monkeypatch, 8, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(InterruptedRunError):
        run(tmp_path / "run", "trainer.max_epochs=3")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    result = train(config.compose([*RECIPE, "trainer.max_epochs=3", f"ckpt_path={last}"]))
    assert result is not None
    assert result.run.path == tmp_path / "run"
    assert_same(tmp_path / "run", whole)


@pytest.mark.slow
def test_a_finished_run_is_finished_again_and_no_more(whole: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", "trainer.max_epochs=3")
    go_on(tmp_path / "run")
    assert_same(tmp_path / "run", whole)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["seed=5", "data.batch_size=100", "model.generator.width=16"])
def test_what_would_make_it_another_run_is_refused(change: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder, "trainer.max_steps=1")
    before = (folder / "config.yaml").read_text(), rows_of(folder)
    with pytest.raises(UsageError, match=change.split("=")[0]):
        go_on(folder, change)
    assert ((folder / "config.yaml").read_text(), rows_of(folder)) == before


def test_a_run_older_than_an_argument_of_its_networks_goes_on() -> None:
    now = config.compose(["model=dcgan"]).model_dump()
    before = copy.deepcopy(now)
    assert before["model"]["discriminator"].pop("head") == "projection"
    assert resume.changes(before, now) == {}
    now["model"]["discriminator"]["head"] = "acgan"
    with pytest.raises(UsageError, match="began with 'projection'"):
        resume.changes(before, now)


@pytest.mark.parametrize(
    "text", ["trainer.max_epochs", "+new=1", "~seed", "trainer=gpu", "seed=1,2", "a=[", "seed=" + "9" * 5000]
)
def test_overrides_that_make_no_sense_for_a_resume(text: str) -> None:
    with pytest.raises(UsageError):
        config.changed(config.compose([]).model_dump(), [text])


def test_a_config_in_a_file_cannot_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "abc")
    plain = config.compose([]).model_dump() | {"name": "x"}
    plain["data"]["root"] = "${oc.env:SECRET}"
    assert config.changed(plain, []).data.root == "${oc.env:SECRET}"


@pytest.mark.slow
def test_nobody_else_trains_in_the_folder(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", "trainer.max_steps=1").run
    with folder.locked(), pytest.raises(UsageError, match="another process"):
        go_on(folder.path)
    go_on(folder.path)


def test_the_newest_run_and_what_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no run"):
        resume.find(None)
    for age, name in ((10, "debug/old"), (50, "quick/a"), (20, "quick/b")):
        config_file = tmp_path / "runs" / name / "config.yaml"
        config_file.parent.mkdir(parents=True)
        config_file.write_text(yaml.safe_dump({"name": name}))
        os.utime(config_file, (1e9 - age, 1e9 - age))
    found = resume.find(None)
    assert found.run is not None
    assert found.run.path.name == "b"
    assert (found.state, found.config) == (None, {"name": "quick/b"})
    for what in (tmp_path, tmp_path / "nothing", "runs/quick/a/checkpoints/last.ckpt", "a" * 5000):
        with pytest.raises(UsageError):
            resume.find(str(what))


@pytest.mark.slow
def test_slurm_requeues_and_finds_its_run_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = tmp_path / "called"
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {called}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")  # for Lightning: this process was not started by srun
    command = config.compose([*RECIPE, "trainer.max_epochs=3", f"run.root={tmp_path / 'runs'}"])
    at_step(monkeypatch, 8, lambda: signal.raise_signal(signal.SIGUSR1))
    with pytest.raises(InterruptedRunError, match="queue again") as stopped:
        train(command)
    assert stopped.value.exit_code == 128 + signal.SIGUSR1
    assert called.read_text() == "requeue 4711\n"

    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    result = train(command)
    assert result is not None
    (folder,) = (tmp_path / "runs" / "quick").iterdir()
    assert result.run.path == folder
    (folder / "slurm_job").unlink()
    assert_same(folder, whole)


@pytest.mark.slow
def test_a_strangers_checkpoint_says_neither_where_to_write_nor_whom_to_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "run", "trainer.max_steps=2", "logger=csv")
    sent = tmp_path / "sent.ckpt"
    sent.write_bytes((tmp_path / "run" / "checkpoints" / "last.ckpt").read_bytes())
    found = resume.find(str(sent))
    assert found.run is None
    assert found.config["run"] == {"root": "runs", "dir": None}
    assert found.config["logger"] == config.compose([]).model_dump()["logger"]
    result = train(
        config.changed(found.config, ["trainer.max_steps=3", "logger.wandb=null"]), found, trust_code=False
    )
    assert result is not None
    assert result.run.path.parent == Path("runs/quick")
    assert state(result.run.path)["steps"][0] == 3
    # its rows begin where it goes on
    assert [row["step"] for row in rows_of(result.run.path) if "train/d_loss" in row] == [3]


def test_a_strangers_checkpoint_does_not_say_which_classifier_to_read() -> None:
    theirs = config.compose(["callbacks.evaluate.classifier=/home/them/x.safetensors"]).model_dump()
    sent: Any = SimpleNamespace(snapshot=SimpleNamespace(config=theirs))
    evaluate = resume._config(None, sent)["callbacks"]["evaluate"]
    assert evaluate == theirs["callbacks"]["evaluate"] | {"classifier": None}


@pytest.mark.slow
def test_networks_larger_than_the_weights_are_refused_without_memory(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder, "trainer.max_steps=1")
    last = folder / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    content["ganctl"]["config"]["model"]["discriminator"]["features"] = 10**10
    content["ganctl"]["checksum"] = None
    torch.save(content, last)
    (folder / "config.yaml").write_text(yaml.safe_dump(content["ganctl"]["config"]))
    with pytest.raises(UsageError, match="do not fit"):
        go_on(folder)


@pytest.mark.slow
def test_the_same_wandb_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    own = ["logger=wandb", "logger.wandb.mode=offline", "schedules.lr=null"]
    run(folder, "trainer.max_steps=2", *own)
    go_on(folder, "trainer.max_steps=3")
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    names = [path.name for path in (folder / "wandb").glob("offline-run-*")]
    # Where both begin in one second, W&B numbers the second.
    ids = [re.sub(r"-\d$", "", name).rpartition("-")[2] for name in names]
    assert ids == [content["ganctl"]["wandb_id"]] * 2
