"""What the verbs share: errors become exit codes, notices go to stderr, reports become tables."""

from __future__ import annotations

import functools
import inspect
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganctl import ranks
from ganctl.errors import GanctlError, PrintableFormatter, UsageError, printable

if TYPE_CHECKING:
    from pathlib import Path

    from ganctl.report import Metric, Report
    from ganctl.snapshot import Snapshot


def examples(*commands: str) -> str:
    """The end of a help text; \\b keeps its lines as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)


_Function = Callable[..., None]

# What every verb takes besides its own options.
_EVERYWHERE = {
    "as_json": typer.Option("--json", help="Print the result as one JSON document."),
    "quiet": typer.Option("--quiet", "-q", help="No notices, no progress: results, warnings and errors."),
    "verbose": typer.Option("--verbose", "-v", help="Say more of what is done."),
    "debug": typer.Option("--debug", help="Show the traceback of a failure."),
}

_as_json = False


def verb(*examples: str) -> Callable[[_Function], _Function]:
    """Makes a function a verb: `--json`, `--quiet`, `--verbose` and `--debug` join its options, errors
    become two lines on stderr and an exit code.

    Args:
        examples: two or three, for the end of its help.
    """

    def decorate(function: _Function) -> _Function:
        own = inspect.signature(function, eval_str=True)
        kind = inspect.Parameter.KEYWORD_ONLY
        added = [
            inspect.Parameter(name, kind, default=False, annotation=Annotated[bool, option])
            for name, option in _EVERYWHERE.items()
        ]

        @functools.wraps(function)
        def run(
            *args: Any,
            as_json: bool = False,
            quiet: bool = False,
            verbose: bool = False,
            debug: bool = False,
            **kwargs: Any,
        ) -> None:
            global _as_json
            _as_json = as_json
            level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
            with _exit_code(debug) as job, ranks.quiet(job.rank > 0):
                _configure_logging(level)
                function(*args, **kwargs)

        together = own.replace(parameters=[*own.parameters.values(), *added])
        run.__signature__ = together  # type: ignore[attr-defined]
        run.__annotations__ = {name: p.annotation for name, p in together.parameters.items()}
        run.examples = examples  # type: ignore[attr-defined]
        return run

    return decorate


@contextmanager
def _exit_code(debug: bool) -> Iterator[ranks.Job]:
    job = ranks.Job()
    try:
        job = ranks.current()
        yield job
    except (typer.Exit, typer.Abort):  # a verb's own way to end, not a failure
        raise
    except GanctlError as error:
        if debug:
            raise
        _complain(error, job)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except Exception as error:
        if debug:
            raise
        first = (str(error).strip() or "no message").splitlines()[0]
        fix = "run it again with --debug to see the traceback"
        _complain(GanctlError(f"{type(error).__name__}: {first}", fix), job)
        raise typer.Exit(1) from None


def wants_json() -> bool:
    """Whether `--json` was given: nothing but `result` may then print on stdout."""
    return _as_json


def result(text: str, data: Any) -> None:
    """What a verb was called for, on stdout: `text` for people, or `data` as JSON with `--json`."""
    show(json.dumps(data, indent=2, allow_nan=False) if _as_json else text)


def metric_rows(metrics: dict[str, Metric]) -> str:
    """One line a metric: name, value, floor, and the spread or the reason why there is no value."""
    lines = []
    for name, metric in metrics.items():
        if metric.value is None:
            lines.append(f"{name:<20} {'-':>10} {'-':>10}   {metric.reason}")
        else:
            floor = "-" if metric.floor is None else f"{metric.floor:.4g}"
            if metric.std is not None:
                spread = f"   ± {metric.std:.2g} over {metric.repeats} seeds"
            elif metric.subset_std is not None:
                spread = f"   ± {metric.subset_std:.2g} within"
            else:
                spread = ""
            lines.append(f"{name:<20} {metric.value:>10.4g} {floor:>10}{spread}")
    return "\n".join(lines)


def report_footer(report: Report) -> str:
    """What stands below the rows: accuracy by class, and how the numbers were made."""
    lines = []
    if report.confusion is not None:
        per_class = report.to_dict()["per_class"]
        shown = "  ".join(f"{label} {scores['accuracy']:.1%}" for label, scores in per_class.items())
        lines.append(f"label accuracy by class: {shown}")
    p = report.protocol
    extractors = ", ".join(f"{name} {stamp['sha256'][:8]}" for name, stamp in p["extractors"].items())
    lines.append(
        f"{p['num_gen']} images against {p['num_real']} of {p['data']}: {p['real']}; "
        f"{extractors or 'pixels'}; seed {p['seed']}; {p['timings']['total']} s on {p['device']}"
    )
    return "\n".join(lines)


def open_checkpoint(ckpt: str | None) -> tuple[Path, Snapshot]:
    """The checkpoint that `--ckpt` means; says on stderr which one that is.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    from ganctl import checkpoint, runs

    path = runs.find_checkpoint(ckpt)
    snapshot = checkpoint.read(path)
    made = f"{snapshot.nimg / 1000:.0f} kimg of {snapshot.facts.name}"
    if ckpt is None and path == runs.BUNDLED:
        recipe = snapshot.config.get("name")
        note(
            f"no run below runs/: using the bundled {path.stem} {snapshot.digest[:8]} "
            f"(+experiment={recipe}, {made}); ganctl train +experiment={recipe} makes one of your own, "
            "which replaces it"
        )
    else:
        note(f"checkpoint {path}, {made}")
    return path, snapshot


def _configure_logging(level: int) -> None:
    """What the program has to say, one plain line each on stderr."""
    logging.raiseExceptions = False  # a log that cannot be written (disk full) costs itself, no traceback
    logger = logging.getLogger("ganctl")
    logger.setLevel(level)
    logger.propagate = False
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(PrintableFormatter("%(message)s"))
        logger.addHandler(handler)


def show(text: str) -> None:
    """A result, of one or several lines, that may hold names from files. On stdout."""
    typer.echo("\n".join(printable(line) for line in text.split("\n")))


def note(text: str) -> None:
    """A notice of one line, that may hold names from files. On stderr, unless `--quiet` was given."""
    if logging.getLogger("ganctl").isEnabledFor(logging.INFO):
        typer.echo(printable(text), err=True)


def _complain(error: GanctlError, job: ranks.Job) -> None:
    # Wrong input is found by every rank: the first of each machine says it.
    if not error.told and not (isinstance(error, UsageError) and job.local_rank):
        typer.echo(error.report(f"rank {job.rank}: " if job.rank else ""), err=True)
