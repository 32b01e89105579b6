"""Kills a sweep with SIGKILL, its trainings with it, goes on with it, and counts what there is.

    python scripts/prove_sweep.py                                # 20 trials, two at once
    python scripts/prove_sweep.py --trials 4 --picture sweep.png

The kill falls while two trainings run, one of which at least has a checkpoint. Then the same command runs to
its end. What is asserted is read from the SQLite file and the run folders, not asked of ganctl: every trial
number once and finished; trials that were finished at the kill untouched, and started once; in each run
folder the rows of the steps 1, 2, … without a gap or a double; the settings of each run those of its trial.
The exit code is 1 where one of these does not hold; the folder stays.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml
from compare_runs import rows_of

ROOT = Path(__file__).parents[1]
NAME = "proof"
EPOCHS = 8

SWEEP = (
    "data=digits",
    "model=mlp",
    "model.generator.widths=[32,64]",
    "model.discriminator.width=64",
    "trainer=cpu",
    f"trainer.max_epochs={EPOCHS}",
    "callbacks.samples=null",
    "callbacks.evaluate.num_gen=200",
    "logger=none",
    "model.lr=tag(log,interval(1e-4,3e-2))",
    "loss.r1_gamma=choice(0,0.1,1)",
    *("--name", NAME, "--workers", "2"),
)


@dataclass(frozen=True)
class Recorded:
    """A trial in the database."""

    number: int
    state: str
    lr: float
    value: float | None


def recorded(folder: Path) -> list[Recorded]:
    """All trials, by number."""
    database = sqlite3.connect(f"file:{folder / 'sweep.db'}?mode=ro", uri=True, timeout=60)
    try:
        rows = database.execute(
            "SELECT t.number, t.state, p.param_value, v.value FROM trials t "
            "LEFT JOIN trial_params p ON p.trial_id = t.trial_id AND p.param_name = 'model.lr' "
            "LEFT JOIN trial_values v ON v.trial_id = t.trial_id ORDER BY t.number, t.trial_id"
        ).fetchall()
    finally:
        database.close()
    return [Recorded(*row) for row in rows]


def start(work: Path, trials: int) -> subprocess.Popen[bytes]:
    """The sweep, in a process group of its own, its output appended to output.txt."""
    program = [sys.executable, "-m", "ganctl", "sweep", *SWEEP, "--trials", str(trials)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (work / "output.txt").open("ab") as output:
        return subprocess.Popen(
            program, cwd=work, env=environment, stdout=output, stderr=output, start_new_session=True
        )


def running(folder: Path) -> list[int]:
    return [t.number for t in recorded(folder) if t.state == "RUNNING"]


def kill_in_the_middle(work: Path, trials: int, rng: random.Random) -> None:
    """Kills the whole group once a good part is finished, and a training has a checkpoint and goes on."""
    folder = work / "runs" / "sweeps" / NAME
    sweep = start(work, trials)
    wanted = max(1, round(trials * rng.uniform(0.3, 0.6)))
    while True:
        if sweep.poll() is not None:
            raise SystemExit(f"the sweep ended before it was killed: see {work / 'output.txt'}")
        time.sleep(0.02)
        if not (folder / "sweep.db").exists():
            continue
        try:
            done = sum(t.state in ("COMPLETE", "PRUNED") for t in recorded(folder))
        except sqlite3.OperationalError:  # its tables are being made
            continue
        alive = running(folder)
        saved = [n for n in alive if (run_of(folder, n) / "checkpoints" / "last.ckpt").exists()]
        if (
            done >= wanted
            and len(alive) == 2
            and any(len(steps(run_of(folder, n))) < EPOCHS * 18 for n in saved)
        ):
            break
    os.killpg(sweep.pid, signal.SIGKILL)
    sweep.wait()


def run_of(folder: Path, number: int) -> Path:
    return folder / f"trial_{number:04d}"


def steps(run: Path) -> list[int]:
    """Of the training rows of a run, in their order."""
    return [row["step"] for row in rows_of(run) if "train/d_loss" in row]


def starts(folder: Path, number: int) -> int:
    """How often the training of a trial began or went on."""
    log = (folder / f"trial_{number:04d}.log").read_text(encoding="utf-8")
    return log.count("run folder ")


def problems(folder: Path, trials: int, before: dict[int, bytes]) -> list[str]:
    """What does not hold.

    Args:
        before: of the trials that were finished at the kill, their metrics.jsonl.
    """
    found = recorded(folder)
    wrong = []
    if [t.number for t in found] != list(range(trials)):
        wrong.append(f"trial numbers are {[t.number for t in found]}")
    runs = sorted(p.parent.name for p in folder.glob("*/config.yaml"))
    if runs != [f"trial_{n:04d}" for n in range(trials)]:
        return [*wrong, f"run folders are {runs}"]
    for trial in found:
        run, who = run_of(folder, trial.number), f"trial {trial.number}"
        if trial.state not in ("COMPLETE", "PRUNED"):
            wrong.append(f"{who} is {trial.state}")
        made = steps(run)
        if made != list(range(1, len(made) + 1)):
            wrong.append(f"{who} has the steps {made}")
        if trial.state == "COMPLETE":
            scores = [row["val/digit_fd"] for row in rows_of(run) if "val/digit_fd" in row]
            if len(scores) != EPOCHS or scores[-1] != trial.value:
                wrong.append(f"{who} has the scores {scores}, recorded is {trial.value}")
        settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        if settings["model"]["lr"] != trial.lr:
            wrong.append(f"{who} was trained with lr {settings['model']['lr']}, recorded is {trial.lr}")
        if trial.number in before:
            if (run / "metrics.jsonl").read_bytes() != before[trial.number]:
                wrong.append(f"{who} was finished at the kill, and has changed since")
            if starts(folder, trial.number) != 1:
                wrong.append(f"{who} was finished at the kill, but started again")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="where the folder is made; default: the system's place")
    parser.add_argument("--picture", type=Path, help="keep sweep.png there")
    args = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="prove_sweep_", dir=args.work))
    folder = work / "runs" / "sweeps" / NAME
    kill_in_the_middle(work, args.trials, random.Random(args.seed))
    at_kill = {t.number: t.state for t in recorded(folder)}
    finished = [n for n, state in at_kill.items() if state != "RUNNING"]
    before = {n: (run_of(folder, n) / "metrics.jsonl").read_bytes() for n in finished}
    cut = {n: len(steps(run_of(folder, n))) for n, state in at_kill.items() if state == "RUNNING"}
    code = start(work, args.trials).wait()
    wrong = problems(folder, args.trials, before) + ([f"exit code {code}"] if code else [])
    print(f"killed with {len(finished)} of {args.trials} trials finished; running, with steps made: {cut}")
    states = [t.state for t in recorded(folder)]
    print(f"in the end {json.dumps({state: states.count(state) for state in sorted(set(states))})}")
    print(f"{sum(starts(folder, n) for n in range(args.trials))} starts of trainings")
    if args.picture is not None:
        shutil.copyfile(folder / "sweep.png", args.picture)
    if wrong:
        print("\n".join(wrong))
        sys.exit(f"failed: see {work}")
    print("0 problems")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
