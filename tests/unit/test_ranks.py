"""What the environment says of the processes of a job, and who speaks for them."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest
import typer

from ganctl import ranks
from ganctl.errors import GanctlError, UsageError
from ganctl.ranks import Job
from ganctl.terminal import verb

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
SRUN = {
    "SLURM_JOB_NAME": "train",
    "SLURM_STEP_ID": "0",
    "SLURM_NTASKS": "6",
    "SLURM_NTASKS_PER_NODE": "3",
    "SLURM_PROCID": "4",
    "SLURM_LOCALID": "1",
}


@pytest.mark.parametrize(
    ("environ", "job"),
    [
        ({}, Job()),
        (TORCHRUN, Job("torchrun", 5, 8, 1, 4)),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, Job("torchrun", 1, 2, 1, 2)),
        (SRUN, Job("srun", 4, 6, 1, 3)),
        (TORCHRUN | SRUN, Job("torchrun", 5, 8, 1, 4)),  # torchrun in a SLURM job
        # Shells: an interactive job, and a batch script, which has the variables of its first task.
        (SRUN | {"SLURM_JOB_NAME": "bash"}, Job()),
        (SRUN | {"SLURM_JOB_NAME": "interactive"}, Job()),
        ({k: v for k, v in SRUN.items() if k != "SLURM_STEP_ID"}, Job()),
        (SRUN | {"SLURM_NTASKS": "1"}, Job()),
        # Of Lightning's nodes only Lightning knows how many processes each has.
        ({"NODE_RANK": "1", "LOCAL_RANK": "1"}, Job()),
    ],
)
def test_the_job_is_read_from_the_environment(environ: dict[str, str], job: Job) -> None:
    assert ranks.current(environ) == job


def test_what_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="RANK='one'"):
        ranks.current(TORCHRUN | {"RANK": "one"})
    tasks = {k: v for k, v in SRUN.items() if k != "SLURM_NTASKS_PER_NODE"}
    with pytest.raises(UsageError, match="6 tasks") as caught:
        ranks.current(tasks)
    assert "--ntasks-per-node" in caught.value.fix
    for name in ("WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("RANK", "-1")
    with pytest.raises(typer.Exit):
        verb()(lambda: None)()
    assert capsys.readouterr().err == "Error: RANK='-1' in the environment is no number\nTry:   unset RANK\n"


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu[07-09,12],login", "gpu07"), ("gpu7,gpu8", "gpu7"), ("gpu[3]", "gpu3"), ("n1-a", "n1-a")],
)
def test_slurm_jobs_meet_at_their_first_machine(
    nodes: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_JOB_NODELIST", nodes)
    monkeypatch.setenv("SLURM_JOB_ID", "1234567")
    ranks.meet_at_first_node()
    assert (ranks.os.environ["MASTER_ADDR"], ranks.os.environ["MASTER_PORT"]) == (first, "19567")
    monkeypatch.setenv("MASTER_PORT", "1")
    ranks.meet_at_first_node()
    assert ranks.os.environ["MASTER_PORT"] == "1"


@pytest.mark.parametrize(
    ("rank", "local_rank", "error", "said"),
    [
        ("0", "0", UsageError("wrong", "right"), "Error: wrong\nTry:   right\n"),
        ("1", "1", UsageError("wrong", "right"), ""),
        ("4", "0", UsageError("wrong", "right"), "Error: rank 4: wrong\nTry:   right\n"),
        ("1", "1", GanctlError("broken"), "Error: rank 1: broken\n"),
        ("1", "1", ValueError("odd\nindeed"), "Error: rank 1: ValueError: odd\n"),
    ],
)
def test_only_rank_0_speaks_but_for_the_reason_of_a_failure(
    rank: str,
    local_rank: str,
    error: Exception,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {"RANK": rank, "LOCAL_RANK": local_rank, "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(logging.getLogger("ganctl"), "handlers", [])

    @verb()
    def work() -> None:
        print("result")
        print("notice", file=sys.stderr)
        raise error

    with pytest.raises(typer.Exit) as caught:
        work()
    assert caught.value.exit_code == getattr(error, "exit_code", 1)
    shown = capsys.readouterr()
    loud = rank == "0"
    assert shown.out == ("result\n" if loud else "")
    assert shown.err.startswith(("notice\n" if loud else "") + said)
    if not said:
        assert shown.err == ""


LEAVING = """
import atexit
from ganctl import ranks
atexit.register(print, "called at exit")
print("unflushed", end=" ")
ranks.leave(3)
print("went on")
"""


@pytest.mark.parametrize(("env", "code", "said"), [(TORCHRUN, 3, ""), ({}, 0, "went on\n")])
def test_a_process_of_several_leaves_with_its_code_and_its_last_words(
    env: dict[str, str], code: int, said: str
) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RANK", "WORLD", "LOCAL", "SLURM"))}
    done = subprocess.run(
        [sys.executable, "-c", LEAVING], env=kept | env, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (code, f"unflushed {said}called at exit\n")
