"""Kills a training with SIGKILL at random moments, resumes it, compares it with the same one left alone.

    python scripts/prove_resume.py                          # 100 kills
    python scripts/prove_resume.py --kills 20 --real 20     # each in a Python process of its own

One small training runs to its end. Then the same command runs again and again in a new folder, is killed, and
is continued by `ganctl resume`; every tenth run is killed once or twice more while it resumes. Two thirds of
the kills fall at a uniformly random moment after the training's start; the others are aimed at what is hit
too seldom: the writing of a checkpoint (its temporary file is there) and the evaluation at an epoch's end.
Where a kill fell is read from the folder that it left. A run that has ended must be the one left alone: every
tensor and number of last.ckpt and best.ckpt bit for bit, the rows of metrics.jsonl in their order (but for
speeds), the same files, their bytes (but for train.log). The exit code is 1 where one differs; its folder
stays.

A training takes seconds, and so do Python's imports. Most runs are therefore forked off this process, which
has imported everything and trained nothing; `--real` runs start Python anew. One that was left alone in each
way is compared first.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compare_runs import differences, rows_of

ROOT = Path(__file__).parents[1]
RUN = "run"  # the run folder, relative: the same command and the same configuration everywhere

# Batch normalisation, dropout, a schedule, a G step every other batch: the states of all must survive.
TRAIN = (
    "train",
    "data=digits",
    "model=mlp",
    "model.generator.widths=[32,64]",
    "model.discriminator.width=64",
    "model.d_steps_per_g=2",
    # grows until the scores get worse, so that best.ckpt is not last.ckpt
    "model.lr=5e-3",
    "schedules.lr={final: 0.05, begin: 0.3, end: 1.0, shape: cosine}",
    "model.ema_half_life_kimg=0.2",
    "data.batch_size=16",
    "trainer=cpu",
    "trainer.max_epochs=3",
    "callbacks.progress_bar=false",
    "callbacks.evaluate.num_gen=500",
    "checkpoint.every_s=0.2",
    "logger=none",
    f"run.dir={RUN}",
)
RESUME = ("resume", RUN)


# -- processes ---------------------------------------------------------------------------------------------


def start(arguments: Sequence[str], folder: Path, real: bool) -> int:
    """Runs `ganctl` in `folder`, its output appended to `output.txt` there.

    Args:
        real: in a Python of its own; otherwise in a fork of this process.

    Returns:
        The process id.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if real:
            program = [sys.executable, "-m", "ganctl", *arguments]
            os.execve(sys.executable, program, os.environ | {"PYTHONPATH": str(ROOT)})
        from ganctl import cli

        sys.argv = ["ganctl", *arguments]
        cli.main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(arguments: Sequence[str], folder: Path, real: bool, moment: Callable[[], bool] | None = None) -> int:
    """Runs `ganctl`, and kills it once `moment` has come; the exit code, -9 where it was killed."""
    pid = start(arguments, folder, real)
    while moment is not None and not moment():
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.0003)
    if moment is not None:
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# -- moments -----------------------------------------------------------------------------------------------


def after(start: Callable[[], bool], seconds: float) -> Callable[[], bool]:
    """So long after something was first the case."""
    at: list[float] = []

    def moment() -> bool:
        if not at:
            if not start():
                return False
            at.append(time.monotonic())
        return time.monotonic() >= at[0] + seconds

    return moment


def training(folder: Path) -> Callable[[], bool]:
    return (folder / RUN / "metrics.jsonl").exists


def writing(folder: Path, times: int) -> Callable[[], bool]:
    """A checkpoint's temporary file is there, for the so-many-th time."""
    seen: set[str] = set()

    def begun() -> bool:
        seen.update(temporaries(folder / RUN))
        return len(seen) >= times

    return begun


def evaluating(folder: Path, times: int) -> Callable[[], bool]:
    """The epoch's validation row is there for the so-many-th time: pictures and scores come next."""

    def begun() -> bool:
        return sum("val/d_loss" in row for row in rows_of(folder / RUN)) >= times

    return begun


def temporaries(run: Path) -> list[str]:
    try:
        return [name for name in os.listdir(run / "checkpoints") if name.startswith(".")]
    except FileNotFoundError:
        return []


def place(run: Path, epoch_ends: Sequence[int]) -> str:
    """Where a kill fell, from what it left."""
    if temporaries(run):
        return "checkpoint write"
    rows = rows_of(run)
    last = rows[-1] if rows else {"step": 0}
    # The rows that are kept back are written when the epoch ends; its scores are the last row of it.
    if last["step"] in epoch_ends and not any(key.endswith("_fd") for key in last):
        return "evaluation"
    return "step" if (run / "checkpoints" / "last.ckpt").exists() else "before the first checkpoint"


# -- the proof ---------------------------------------------------------------------------------------------


@dataclass
class Proof:
    """What was killed and what became of it."""

    runs: int = 0
    real: int = 0  # of them, in processes of their own
    kills: Counter[str] = field(default_factory=Counter)  # by place
    resumes: int = 0
    late: int = 0  # moments that came after the end
    mismatches: list[str] = field(default_factory=list)

    def table(self) -> str:
        lines = ["| SIGKILL fell | kills |", "|---|---|"]
        lines += [f"| {name} | {count} |" for name, count in sorted(self.kills.items())]
        lines.append(f"| in all | {self.kills.total()} |")
        lines += [
            "",
            f"{self.runs} runs, {self.real} of them in processes of their own; {self.resumes} resumes",
        ]
        lines += [f"{self.late} moments came after the end and killed nothing"]
        return "\n".join([*lines, f"{len(self.mismatches)} mismatches", *self.mismatches])


@dataclass(frozen=True)
class Reference:
    """The training left alone: its folder, how long it took from the start and from the first step on."""

    folder: Path
    seconds: float
    training_seconds: float

    @property
    def epoch_ends(self) -> list[int]:
        """The steps at which they were."""
        return [row["step"] for row in rows_of(self.folder / RUN) if "val/d_loss" in row]


def left_alone(folder: Path, real: bool) -> Reference:
    folder.mkdir(parents=True)
    started, begun = time.monotonic(), after(training(folder), 0)
    at: list[float] = []

    def never() -> bool:
        if not at and begun():
            at.append(time.monotonic())
        return False

    code = run(TRAIN, folder, real, never)
    ended = time.monotonic()
    if code:
        raise SystemExit(f"the training itself failed:\n{(folder / 'output.txt').read_text()}")
    return Reference(folder, ended - started, ended - at[0])


def one_run(
    proof: Proof, folder: Path, reference: Reference, kind: str, more: int, rng: random.Random, real: bool
) -> None:
    """Trains in `folder`, kills, resumes and kills `more` times, resumes, compares."""
    folder.mkdir()
    if kind == "write":
        first = after(writing(folder, rng.randint(1, 12)), rng.uniform(0, 0.004))
    elif kind == "evaluation":
        first = after(evaluating(folder, rng.randint(1, len(reference.epoch_ends))), rng.uniform(0, 0.1))
    else:
        first = after(training(folder), rng.uniform(0, reference.training_seconds))
    moments = [first, *(after(lambda: True, rng.uniform(0, reference.seconds)) for _ in range(more)), None]
    command: tuple[str, ...] = TRAIN
    suffix = ""
    code = 0
    for moment in moments:
        code = run(command, folder, real, moment)
        proof.resumes += command is not TRAIN
        if code != -signal.SIGKILL:
            proof.late += moment is not None
            break
        proof.kills[place(folder / RUN, reference.epoch_ends) + suffix] += 1
        command, suffix = RESUME, ", of a resumed run"
    found = [f"exit code {code}"] if code else differences(folder / RUN, reference.folder / RUN)
    proof.mismatches += [f"{folder.name}: {'; '.join(found[:4])}"] if found else []
    if command is RESUME:  # a moment that came too late is drawn anew
        proof.runs += 1
        proof.real += real


def prove(work: Path, kills: int, seed: int, real: int) -> Proof:
    """As many runs as `kills`, each killed at least once; the first `real` in processes of their own."""
    import ganctl.train  # noqa: F401  before the forks, so that none of them has to

    forked = left_alone(work / "forked", real=False)
    proof = Proof()
    if real:
        own = left_alone(work / "real", real=True)
        proof.mismatches += [f"left alone: {p}" for p in differences(own.folder / RUN, forked.folder / RUN)]
    kinds = ("any", "any", "write", "any", "any", "evaluation")
    for number in range(3 * kills):
        if proof.runs == kills:
            break
        rng, folder, before = random.Random(f"{seed}/{number}"), work / f"{number:04d}", len(proof.mismatches)
        more = rng.randint(1, 2) if number % 10 == 9 else 0
        alone = own if proof.runs < real else forked
        one_run(proof, folder, alone, kinds[number % 6], more, rng, alone is not forked)
        if len(proof.mismatches) == before:
            shutil.rmtree(folder)
        print(f"{proof.runs} of {kills}, {len(proof.mismatches)} mismatches", file=sys.stderr)
    return proof


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100, help="runs to kill")
    parser.add_argument("--real", type=int, default=10, help="of them, in Python processes of their own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="where the folders are made; default: the system's place")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))  # this checkout, whatever is installed
    # One thread, and no pool of them: pools do not survive a fork. Torch is not imported yet.
    os.environ.update({f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL")})
    work = Path(tempfile.mkdtemp(prefix="prove_resume_", dir=args.work))
    proof = prove(work, args.kills, args.seed, args.real)
    print(proof.table())
    if proof.mismatches or proof.runs < args.kills:
        sys.exit(f"failed: see {work}")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
