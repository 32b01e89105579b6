"""What a training would be: its parts, how long it may take, what memory it may want. Nothing is started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import nn

from ganctl import build, config_tree, data, loggers, probe, ranks, resume, runs
from ganctl.config_schema import Config
from ganctl.data import module

NOT_COUNTED = "loading, validation, grids, scores and checkpoints"


@dataclass(frozen=True)
class Plan:
    """What `ganctl train` would do.

    Args:
        config: resolved; what it runs in (`trainer.precision`) as well.
        parameters: of G and D.
        device: of one process.
        world_size: processes.
        steps: of the whole training; `steps_done` of them lie behind the checkpoint that it goes on from.
        measured: None where torchrun or srun starts the processes.
        resident: images that would lie in memory; the others are read when they are due.
    """

    config: Config
    parameters: dict[str, int]
    outline: data.Outline
    device: str
    world_size: int
    steps: int
    steps_done: int
    measured: probe.Measured | None
    resident: int

    @property
    def seconds(self) -> float | None:
        """Of all steps that are left."""
        return (self.steps - self.steps_done) * self.measured.seconds_per_step if self.measured else None

    @property
    def memory(self) -> dict[str, int]:
        """Bytes of each part in one process: arithmetic, in float32."""
        weights = 4 * sum(self.parameters.values())
        o, facts = self.outline, self.outline.facts
        pixels = facts.channels * facts.resolution**2
        return {
            "weights": weights,
            "gradients": weights,
            "adam": 2 * weights,
            "ema": 4 * self.parameters["G"],
            # uint8, and an int64 label
            "data": self.resident * pixels + (o.num_train + o.num_val + o.num_test) * 8,
        }

    @property
    def peak_bytes(self) -> int | None:
        """Of one process: measured without the data set, which is added."""
        return self.measured.peak_bytes + self.memory["data"] if self.measured else None

    def text(self) -> str:
        """The configuration, and a line for each part."""
        cfg, o, facts = self.config, self.outline, self.outline.facts
        G, D = self.parameters["G"], self.parameters["D"]
        size = f"{facts.channels} × {facts.resolution} × {facts.resolution}"
        labels = f"{facts.num_classes} labels" if facts.num_classes else "no labels"
        where = f"in {o.place}" if o.place else "not here yet: training would fetch or prepare it first"
        streamed = "" if self.resident >= o.num_train else "; training reads it batch by batch"
        batch = cfg.data.batch_size
        going_on = f", {self.steps_done} of them done" if self.steps_done else ""
        rows = {
            "networks": f"G {G:,} and D {D:,} parameters, {G + D:,} together",
            "data": f"{facts.name}: {o.num_train:,} training, {o.num_val:,} validation, {o.num_test:,} test "
            f"images, {size}, {labels}; {where}{streamed}",
            "device": f"{self.device}, precision {cfg.trainer.precision}, {self.world_size} "
            f"process{'es' if self.world_size > 1 else ''}",
            "steps": f"{self.steps:,} of {batch} images, {self.steps * batch:,} images{going_on}",
            "time": self._time(),
            "memory": self._memory(),
            "run folder": cfg.run.dir or f"{cfg.run.root}/{cfg.name}/<date>_<time>",
        }
        lines = [f"{name:<12} {text}" for name, text in rows.items()]
        return "\n".join(
            [config_tree.to_yaml(cfg.model_dump()), "", *lines, "", "dry run: nothing was started"]
        )

    def _time(self) -> str:
        if self.measured is None or self.seconds is None:
            return "no estimate where torchrun or srun starts the processes"
        m = self.measured
        alone = ", one process without the others" if self.world_size > 1 else ""
        return (
            f"about {_duration(self.seconds)}, without {NOT_COUNTED}\n"
            f"{'':12} estimate: the median of {m.steps} steps on random images, on this machine now{alone}: "
            f"{1000 * m.seconds_per_step:.3g} ms"
        )

    def _memory(self) -> str:
        counted = ", ".join(f"{name} {_size(amount)}" for name, amount in self.memory.items())
        if self.measured is None or self.peak_bytes is None:
            return counted
        what = "of a GPU" if self.device.startswith("cuda") else "of a whole process"
        return (
            f"about {_size(self.peak_bytes)} {what}\n"
            f"{'':12} estimate: the peak of those steps, and the data; of it {counted}"
        )

    def to_dict(self) -> dict[str, Any]:
        o, facts = self.outline, self.outline.facts
        return {
            "config": self.config.model_dump(),
            "networks": {**self.parameters, "total": sum(self.parameters.values())},
            "data": {
                "name": facts.name,
                "train": o.num_train,
                "val": o.num_val,
                "test": o.num_test,
                "channels": facts.channels,
                "resolution": facts.resolution,
                "labels": list(facts.label_names),
                "place": str(o.place) if o.place else None,
                "streamed": self.resident < o.num_train,
            },
            "device": self.device,
            "precision": self.config.trainer.precision,
            "world_size": self.world_size,
            "steps": self.steps,
            "steps_done": self.steps_done,
            "images": self.steps * self.config.data.batch_size,
            "estimate": None
            if self.measured is None
            else {
                "seconds": self.seconds,
                "seconds_per_step": self.measured.seconds_per_step,
                "timed_steps": self.measured.steps,
                "not_counted": NOT_COUNTED,
                "peak_bytes": self.peak_bytes,
            },
            "bytes": self.memory,
        }


def plan(cfg: Config) -> Plan | None:
    """Builds what `ganctl train` would build, and times a few steps on random images.

    Makes no folder, starts no logger and no other process, fetches nothing.

    Returns:
        The plan; None on every rank but the first, where torchrun or srun has started several.

    Raises:
        UsageError: what would keep the training from starting, as far as that shows without the data.
    """
    job = ranks.current()
    if job.rank:
        return None
    pl.seed_everything(cfg.seed, verbose=False)
    cfg = build.resolve_precision(cfg)
    resumed = resume.find(cfg.ckpt_path, Path(cfg.run.root)) if cfg.ckpt_path is not None else None
    cfg = cfg.model_copy(update={"ckpt_path": None})
    if resumed is not None:
        resume.changes(resumed.config, cfg.model_dump())
    elif cfg.run.dir is not None:
        runs.require_free(Path(cfg.run.dir))
    loggers.check(cfg.model_dump()["logger"])
    outline = data.outline(data.Source.of_config(cfg.data.model_dump()), cfg.data.val_size, cfg.data.val_seed)
    build.load_classifier(cfg, outline.facts)
    with build.quiet_lightning():
        steps = build.total_steps(cfg, outline.num_train)
        trainer = build.build_trainer(cfg, steps)
        batch = build.batch_per_device(cfg, outline.num_train, trainer.world_size)
        gan = build.build_gan(cfg, outline.facts, steps * cfg.data.batch_size)
        measured = None if job.launcher else probe.measure(cfg, gan, outline.facts, batch)
    return Plan(
        config=cfg,
        parameters={"G": _parameters(gan.G), "D": _parameters(gan.D)},
        outline=outline,
        device=str(trainer.strategy.root_device),
        world_size=trainer.world_size,
        steps=steps,
        steps_done=resumed.state.snapshot.steps if resumed and resumed.state else 0,
        measured=measured,
        resident=_resident(cfg, outline, trainer),
    )


def _resident(cfg: Config, outline: data.Outline, trainer: pl.Trainer) -> int:
    """Images that would not stay in a file."""
    stream, facts = cfg.data.stream, outline.facts
    if stream is True and not outline.mapped:
        raise module.cannot_stream(facts.name)
    device = trainer.strategy.root_device
    processes = module.sharing(device, trainer.num_devices)
    kept = outline.num_val
    for num in (outline.num_train, outline.num_test):
        num_bytes = num * facts.channels * facts.resolution**2
        if not (outline.mapped and module.streams(num_bytes, stream, device, processes)):
            kept += num
    return kept


def _parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def _size(amount: int) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if amount >= unit:
            return f"{amount / unit:.3g} {name}"
    return f"{amount / 1e3:.3g} kB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2g} s"
    if seconds < 5400:
        return f"{seconds / 60:.2g} min"
    return f"{seconds / 3600:.2g} h"
