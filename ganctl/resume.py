"""How a training goes on: which checkpoint, what it holds of the training, and how that is put back."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from ganctl import checkpoint, config, config_tree, runs
from ganctl.config_schema import differences
from ganctl.errors import UsageError
from ganctl.gan import GAN
from ganctl.runs import RunFolder
from ganctl.snapshot import Snapshot, from_entry

log = logging.getLogger("ganctl")

# Beside `checkpoint.KEY`, in the checkpoints of a run.
KEY = "training"

# What cannot change while a run goes on; the rest can, and is recorded.
_FIXED = ("name", "seed", "debug", "data.", "model.latent_dim", "model.generator.", "model.discriminator.")
_FREE = ("ckpt_path", "run.", "data.root", "data.stream")


class Progress(BaseModel, extra="forbid", frozen=True):
    """What a training knows beside its weights, optimizers and counters.

    Args:
        best: the best Fréchet distance so far, of the averaged generator after `best_steps` batches.
        scores: the latest ones.
        metrics_bytes: length of `metrics.jsonl` when the checkpoint was written.
        world_size: ranks that trained.
        rollbacks: how often the watchdog went back.
    """

    best: float | None = None
    best_steps: int = Field(default=0, ge=0)
    scores: dict[str, float] = Field(default_factory=dict)
    metrics_bytes: int = Field(default=0, ge=0)
    world_size: int = Field(default=1, ge=1)
    rollbacks: int = Field(default=0, ge=0)


class _Content(BaseModel):
    """The parts of a checkpoint that a training goes on from; Lightning's own counters are not among them."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    state_dict: dict[str, Tensor]
    optimizer_states: list[dict[str, Any]] = Field(min_length=2, max_length=2)
    training: Progress


@dataclass(frozen=True)
class TrainingState:
    """All of a training at one step.

    Args:
        path: the checkpoint that it was read from.
        snapshot: its averaged generator, configuration and counters.
        weights: of `GAN.state_dict()`.
        optimizers: the states of D's and G's.
    """

    path: Path
    snapshot: Snapshot
    weights: dict[str, Tensor]
    optimizers: list[dict[str, Any]]
    progress: Progress


@dataclass(frozen=True)
class Resumed:
    """Where a training goes on.

    Args:
        run: its folder; None where the checkpoint lies in none, and a new one is made.
        state: None where the run ended before its first checkpoint: it begins anew.
        config: the run's own, as plain values.
    """

    run: RunFolder | None
    state: TrainingState | None
    config: dict[str, Any]


def read(path: Path) -> TrainingState:
    """Reads a checkpoint of a run, running none of it.

    Raises:
        UsageError: it is missing, damaged, or holds a generator without the state of its training.
    """
    content = checkpoint.load(path)
    if not isinstance(content.get(checkpoint.KEY), dict) or KEY not in content:
        raise UsageError(
            f"{path} holds no state of a training", "give last.ckpt, previous.ckpt or best.ckpt of a run"
        )
    snapshot = from_entry(content[checkpoint.KEY], path)
    try:
        found = _Content.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"{path} is damaged: {where!r:.100}: {first['msg']}", "give another checkpoint of the run"
        ) from error
    return TrainingState(path, snapshot, found.state_dict, found.optimizer_states, found.training)


def find(where: str | None, root: Path = Path("runs")) -> Resumed:
    """What to go on from: a run folder, a checkpoint, or with None the newest run below `root`.

    A damaged `last.ckpt` is passed over for `previous.ckpt`, and the log says so.

    Raises:
        UsageError: there is nothing to go on from.
    """
    if where is None:
        run = runs.newest_run(root)
        if run is None:
            raise UsageError(f"there is no run below {root}/", "start one: ganctl train +experiment=quick")
        return _of_run(run)
    path = Path(where)
    if os.path.isdir(path):  # unlike Path.is_dir, False for what no folder can be called
        if not RunFolder(path).config.is_file():
            raise UsageError(f"{path} is no run folder", f"give one below {root}/, or a checkpoint")
        return _of_run(RunFolder(path))
    path = runs.find_checkpoint(where, root)
    run = runs.run_of(path)
    if run is not None and path == run.checkpoint("last.ckpt"):
        return _of_run(run)
    state = read(path)
    return Resumed(run, state, _config(run, state))


def _of_run(run: RunFolder) -> Resumed:
    state = newest_state(run)
    return Resumed(run, state, _config(run, state))


def newest_state(run: RunFolder) -> TrainingState | None:
    """`last.ckpt`, or `previous.ckpt` where that is damaged, which is said; None where there is neither.

    Raises:
        UsageError: both are damaged.
    """
    damaged: UsageError | None = None
    for name in ("last.ckpt", "previous.ckpt"):
        path = run.checkpoint(name)
        if not path.is_file():
            continue
        try:
            state = read(path)
        except UsageError as error:
            log.warning("%s", error.what)
            damaged = damaged or error
            continue
        if damaged is not None:
            log.warning("going on from %s, %d images into the run", path, state.snapshot.nimg)
        return state
    if damaged is not None:
        raise damaged
    return None


def _config(run: RunFolder | None, state: TrainingState | None) -> dict[str, Any]:
    """Of the run folder, where it is newer than that in a checkpoint; else of the checkpoint."""
    if run is None:
        assert state is not None
        # A stranger's says how to train, but not where to write, what to read, nor whom to tell.
        ours = config.compose([]).model_dump()
        theirs = state.snapshot.config | {"run": ours["run"], "logger": ours["logger"]}
        if isinstance(theirs.get("data"), dict):
            theirs["data"] = theirs["data"] | {"root": ours["data"]["root"]}
        callbacks = theirs.get("callbacks")
        if isinstance(callbacks, dict) and isinstance(callbacks.get("evaluate"), dict):
            theirs["callbacks"] = callbacks | {"evaluate": callbacks["evaluate"] | {"classifier": None}}
        return theirs
    return config_tree.read(run.config)


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What a resumed run does differently: {key: (before, after)}.

    Raises:
        UsageError: a difference that would make it another run.
    """
    differing = {k: v for k, v in differences(before, after).items() if not k.startswith(_FREE)}
    # Configurations of before there was the key: whether there are labels is among the facts of the data.
    if differing.get("data.conditional", ("", ""))[0] is None:
        del differing["data.conditional"]
    for key, (old, new) in differing.items():
        if key.startswith(_FIXED):
            raise UsageError(
                f"{key} is {new!r}, but the run began with {old!r}",
                f"leave it at {key}={old}, or start a new run without ckpt_path",
            )
    return differing


def load_weights(gan: GAN, state: TrainingState) -> None:
    """Into `gan`, on whatever device it is.

    Raises:
        UsageError: they do not fit.
    """
    device = next(gan.G.parameters()).device
    try:
        gan.load_state_dict({name: w.to(device) for name, w in state.weights.items()})
    except RuntimeError as error:
        raise UsageError(
            f"the weights of {state.path} do not fit the networks: {str(error).splitlines()[-1].strip()}",
            "go on with the configuration that the run began with",
        ) from error


def restore(trainer: pl.Trainer, gan: GAN, state: TrainingState) -> None:
    """Puts `gan`, both optimizers and the counters where they were. Between two steps, or ahead of the first.

    Noise and the order of the data follow from the counters.

    Raises:
        UsageError: the checkpoint does not fit the networks.
    """
    load_weights(gan, state)
    for optimizer, saved in zip(trainer.optimizers, state.optimizers, strict=True):
        try:
            optimizer.load_state_dict(saved)
            fits = all(
                value.shape == p.shape
                for p, moments in optimizer.state.items()
                for name, value in moments.items()
                if name != "step"
            )
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError):
            fits = False
        if not fits:
            raise UsageError(
                f"the optimizer states of {state.path} do not fit the networks",
                "the file was altered: give another checkpoint of the run",
            )
    gan.nimg = state.snapshot.nimg
    gan.rollbacks = state.progress.rollbacks
    # D's steps are the batches; the rest of Lightning's progress follows from the data that is left.
    trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total.completed = state.snapshot.steps
