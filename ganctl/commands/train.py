"""`train` and `resume`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from ganctl import completion
from ganctl.commands.options import ConfigDir, Overrides, TrustCode
from ganctl.errors import UsageError
from ganctl.terminal import note, result, verb

if TYPE_CHECKING:
    from ganctl.train import RunResult


@verb(
    "ganctl train +experiment=quick",
    "ganctl train experiment=dcgan model.lr=1e-4 trainer.max_epochs=20",
    "ganctl train data=fashion model=mlp loss=hinge trainer=ddp",
)
def train(
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be trained and how long that may take."),
    ] = False,
) -> None:
    """Train a conditional GAN; the run folder explains itself.

    augment=preview writes a picture of what D would see instead.
    """
    from ganctl import config

    words = overrides or []
    kept = [word for word in words if word.lstrip("+") != "augment=preview"]
    cfg = config.compose(kept, config_dir)
    if len(kept) < len(words):
        if dry_run:
            raise UsageError(
                "augment=preview writes a picture, and --dry-run nothing", "leave one of them out"
            )
        from ganctl.preview import preview

        shown = preview(cfg)
        if shown is not None:
            result(str(shown), {"path": str(shown), "augment": cfg.augment.name})
        return
    if dry_run:
        from ganctl.dry_run import plan

        planned = plan(cfg)
        if planned is not None:
            result(planned.text(), planned.to_dict())
        return
    from ganctl.train import train as run_training

    _print_run(run_training(cfg))


@verb(
    "ganctl resume",
    "ganctl resume runs/dcgan/2026-01-31_12-00-00 trainer.max_epochs=40",
    "ganctl resume runs/dcgan/2026-01-31_12-00-00/checkpoints/best.ckpt",
)
def resume(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN|CKPT",
            help="A run folder or a checkpoint of it; by default the newest run.",
            autocompletion=completion.checkpoints,
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="OVERRIDE",
            help="key=value, as in trainer.max_epochs=40.",
            autocompletion=completion.overrides,
        ),
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Go on with a run, exactly where it was, in the same folder and the same W&B run."""
    from ganctl import config
    from ganctl import resume as resuming

    changes = list(overrides or [])
    if run is not None and "=" in run and not os.path.exists(run):
        changes.insert(0, run)
        run = None
    found = resuming.find(run)
    cfg = config.changed(found.config, changes)
    from ganctl.train import train as run_training

    _print_run(run_training(cfg, found, trust_code=trust_code))


def _print_run(done: RunResult | None) -> None:
    if done is None:  # rank 0 alone speaks
        return
    folder, checkpoint = done.run.path, done.run.checkpoint("last.ckpt")
    lines = [f"run          {folder}", f"checkpoint   {checkpoint}", f"images seen  {done.nimg}"]
    lines += [f"{name:<20} {value:.4g}" for name, value in done.scores.items()]
    data = {"run": str(folder), "checkpoint": str(checkpoint), "nimg": done.nimg, "scores": done.scores}
    result("\n".join(lines), data)
    label = " --label 0" if done.labelled else ""
    note(f"next         ganctl sample --ckpt {folder}{label} --n 64")
