"""`sweep` and `sweep show`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ganctl.commands.options import ConfigDir
from ganctl.errors import UsageError
from ganctl.terminal import note, result, verb

Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Where trials are recorded: a database (postgresql://…) or journal:FILE; by default sweep.db in "
        "the sweep's folder.",
    ),
]


@verb(
    "ganctl sweep +experiment=quick 'model.lr=choice(1e-4,3e-4)' 'loss.r1_gamma=interval(0.1,9)' --trials 20",
    "ganctl sweep -m data=digits loss=hinge,relativistic seed=0,1,2 --workers 2",
    "ganctl sweep show",
)
def sweep(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[OVERRIDES]...",
            help="Of ganctl train; what varies is choice(a,b) or a,b, range(1,9,2), interval(0.1,10), "
            "int(interval(1,9)), tag(log,interval(1e-4,1e-2)).",
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Trials to finish in all, pruned ones included.", min=1)
    ] = None,
    multirun: Annotated[
        bool, typer.Option("--multirun", "-m", help="Every combination once, instead of --trials.")
    ] = False,
    objective: Annotated[
        str | None,
        typer.Option(metavar="ROW", help="A row of metrics.jsonl; its last value counts. [val/…_fd]"),
    ] = None,
    maximize: Annotated[
        bool | None,
        typer.Option("--maximize/--minimize", help="Whether higher is better, if the name does not say."),
    ] = None,
    pruner: Annotated[
        str, typer.Option(help="median: stop trials worse than the median at that moment; none.")
    ] = "median",
    workers: Annotated[int, typer.Option(help="Trainings at once on this machine.", min=1)] = 1,
    name: Annotated[
        str | None,
        typer.Option(help="Of the folder below runs/sweeps; by default the same for the same sweep."),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="NAME|FOLDER", help="Go on with this sweep; --trials may be more."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the points tried; trainings have seed=.", min=0)] = 0,
    storage: Storage = None,
    config_dir: ConfigDir = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the space and the first commands, start nothing.")
    ] = False,
) -> None:
    """Train many times to find good settings; killed or not, the same command goes on.

    Each trial is a training of its own below runs/sweeps/NAME; poor ones are stopped early. See ganctl sweep
    show.
    """
    from ganctl.sweeps import storage as storages
    from ganctl.sweeps import sweep as sweeping

    storages.require_optuna()
    if resume is not None:
        given = (overrides, multirun, objective, maximize is not None, name, seed, config_dir)
        if any(given) or pruner != "median":
            raise UsageError(
                "a sweep that goes on has its settings",
                "give --resume with --trials, --workers and --storage",
            )
        plan = sweeping.going_on(resume, storage, trials)
    else:
        plan = sweeping.plan(
            overrides or [],
            grid=multirun,
            objective=objective,
            maximize=maximize,
            pruner=pruner,
            seed=seed,
            name=name,
            target=trials,
            config_dir=config_dir,
        )
    if dry_run:
        rehearsed = sweeping.rehearse(plan)
        result(sweeping.rehearsal_text(rehearsed), rehearsed)
        return
    note(f"sweep {plan.folder}, {plan.target} trials")
    report = sweeping.run(plan, workers, storage)
    _print(report)


@verb(
    "ganctl sweep show",
    "ganctl sweep show quick_1a2b3c4d --json",
)
def show(
    sweep: Annotated[
        str | None,
        typer.Argument(metavar="[NAME|FOLDER]", help="By default the newest one below runs/sweeps."),
    ] = None,
    storage: Storage = None,
) -> None:
    """Show a sweep: its trials, best first, which parameters matter, and sweep.png in its folder."""
    from ganctl.sweeps import storage as storages
    from ganctl.sweeps import sweep as sweeping

    storages.require_optuna()
    _print(sweeping.show(sweep, storage))


def _print(report: dict[str, Any]) -> None:
    import shlex

    from ganctl.sweeps import report as sweep_report

    result(sweep_report.table(report), report)
    if report["picture"]:
        note(f"picture      {report['picture']}")
    if report["train"]:
        note(f"train that   {shlex.join(report['train'])}")
