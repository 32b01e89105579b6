"""A sweep from its command to its report. Its trainings are a few lines that write what a training writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ganctl import config
from ganctl.errors import GanctlError, UsageError
from ganctl.sweeps import grammar, scheduler, sweep, trials
from ganctl.sweeps import report as sweep_report
from ganctl.sweeps.scheduler import InterruptedSweepError
from ganctl.sweeps.storage import require_optuna

pytest.importorskip("optuna")

# Learning rates say what happens: the last score is the rate, the one before is better, and some end in their
# own way.
TRAINING = """
import json, os, signal, sys, time
verb, *rest = sys.argv[1:]
if verb == "resume":
    run = rest[0]
    given = json.load(open(f"{run}/config.yaml"))
else:
    given = dict(o.split("=", 1) for o in rest if "=" in o)
    run = given["run.dir"]
    json.dump(given, open(f"{run}/config.yaml", "w"))
print("run folder", run, verb, os.environ.get("OMP_NUM_THREADS"), "SLURM_JOB_ID" in os.environ, flush=True)
lr = float(given["model.lr"])
epochs = int(given["trainer.max_epochs"])
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
done = len(open(f"{run}/metrics.jsonl").readlines()) if os.path.exists(f"{run}/metrics.jsonl") else 0
with open(f"{run}/metrics.jsonl", "a") as rows:
    for epoch in range(done + 1, epochs + 1):
        time.sleep(float(os.environ.get("STEP_S", "0.0")))
        held = epoch == 3 and lr >= float(os.environ.get("HOLD_FROM", "inf"))
        give_up = time.monotonic() + 60
        while held and not told and time.monotonic() < give_up:
            time.sleep(0.01)
        if told:
            sys.exit(143)
        if lr == 0.5:
            print("Error: out of luck", file=sys.stderr)
            sys.exit(1)
        if lr == 0.6:
            print("Error: losses are not finite", file=sys.stderr)
            sys.exit(3)
        if lr == 0.9:
            sys.exit(143)
        if lr == 0.7:
            os.kill(os.getpid(), 9)
        value = None if lr == 0.8 else lr * (0.5 if epoch == epochs - 1 else 1 + epochs - epoch)
        row = {"step": epoch, "val/digit_fd": value, "val/label_accuracy": 0.5, "images_seen": 64 * epoch}
        print(json.dumps(row), file=rows, flush=True)
"""


@pytest.fixture(autouse=True)
def _stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    program = tmp_path / "training.py"
    program.write_text(TRAINING)
    monkeypatch.setattr(trials, "PROGRAM", (sys.executable, "-S", "-E", str(program)))
    monkeypatch.setattr(scheduler, "POLL_S", 0.02)
    monkeypatch.setattr(scheduler, "CLAIM_EVERY_S", 0.1)
    monkeypatch.chdir(tmp_path)
    require_optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # connections that live until the interpreter finds them
        yield


def plan(*overrides: str, epochs: int = 3, target: int | None = 4, **options: Any) -> sweep.Plan:
    settings: dict[str, Any] = {
        "grid": target is None,
        "objective": "val/digit_fd",
        "maximize": None,
        "pruner": "none",
        "seed": 0,
        "name": "s",
        "target": target,
    }
    fixed = ["data=digits", f"trainer.max_epochs={epochs}", "logger=none"]
    return sweep.plan([*fixed, *overrides], **settings | options)


def by_number(report: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return {row["number"]: row for row in report["trials"]}


# -- before anything starts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "options", "what"),
    [
        (["model.lr=1,2"], {"target": None, "grid": False}, "how many"),
        (["model.lr=1,2"], {"grid": True}, "all 2 combinations"),
        (["model.lr=interval(1,2)"], {"target": None}, "grid"),
        (["model.lr=1,2"], {"objective": "test/digit_fd"}, "honest"),
        (["model.lr=1,2"], {"pruner": "media"}, "'media'"),
        (["model.lr=1,2"], {"name": "../x"}, "'../x'"),
        (["model.lr=1,2"], {"name": ".."}, "'..'"),
        (["model.lrr=1,2"], {}, "model.lrr"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_made(
    overrides: list[str], options: dict[str, Any], what: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=what):
        plan(*overrides, **options)
    assert not (tmp_path / "runs").exists()


def test_the_same_sweep_has_the_same_name_and_another_another() -> None:
    def name(*overrides: str, **options: Any) -> str:
        return plan(*overrides, name=None, **options).folder.name

    first = name("model.lr=1e-3,1e-4")
    assert name("model.lr=choice(0.001,0.0001)") == first
    assert name("model.lr=1e-3,1e-4", target=9) == first, "more trials of one sweep"
    assert len({first, name("model.lr=1e-3,1e-5"), name("model.lr=1e-3,1e-4", seed=1)}) == 3


def test_the_objective_is_by_default_the_distance_of_the_data_set() -> None:
    assert plan("model.lr=1,2", objective=None).settings.objective == "val/digit_fd"
    cfg = config.compose(["data=fashion"])
    assert sweep.default_objective(cfg) == "val/fashion_fd"
    with pytest.raises(UsageError, match="nothing scores"):
        sweep.default_objective(config.compose(["data=digits", "callbacks=none"]))


def test_a_rehearsal_makes_nothing_and_says_what_will_be(tmp_path: Path) -> None:
    rehearsed = sweep.rehearse(plan("model.lr=1e-3,1e-4", "seed=range(2)", target=None))
    commands = rehearsed["commands"]
    assert [(c[-2], c[-1]) for c in commands] == [
        ("model.lr=0.001", "seed=0"),
        ("model.lr=0.001", "seed=1"),
        ("model.lr=0.0001", "seed=0"),
    ]
    assert all(f"run.dir=runs/sweeps/s/trial_{i:04d}" in command for i, command in enumerate(commands))
    assert not (tmp_path / "runs").exists()


def test_a_trial_s_w_and_b_run_is_in_the_sweep_s_group_unless_the_user_says_another() -> None:
    fixed = ["data=digits", "logger=wandb"]
    for own, group in (([], "s"), (["logger.wandb.group=mine"], "mine")):
        space = grammar.parse([*fixed, *own, "model.lr=1e-3,1e-4", "loss=hinge,lsgan"])
        cfg = space.check()
        point = space.point(1)
        made = config.compose(trials.arguments(space, point, Path("runs/sweeps/s"), 7, cfg))
        assert made.logger.wandb is not None
        assert made.logger.wandb.group == group
        assert made.logger.wandb.name == "trial_0007 model.lr=0.001 loss=lsgan"
        assert made.logger.wandb.tags == ["sweep", "model.lr=0.001", "loss=lsgan"]
        assert made.run.dir == "runs/sweeps/s/trial_0007"


def test_options_of_the_user_s_own_are_tried_by_every_trial(tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "loss"
    mine.mkdir(parents=True)
    (mine / "tiny.yaml").write_text("defaults: [hinge, _self_]\nr1_gamma: 0.25\n")
    wanted = ["model.lr=0.1", "loss=tiny,hinge"]
    with pytest.raises(UsageError, match="tiny"):
        plan(*wanted, target=None)
    made = plan(*wanted, target=None, name=None, config_dir=Path("mine"))
    commands = sweep.rehearse(made)["commands"]
    assert [command[:4] for command in commands] == [["ganctl", "train", "--config-dir", "mine"]] * 2
    assert [command[-1] for command in commands] == ["loss=tiny", "loss=hinge"]
    report = sweep.run(made, 1, None)
    assert report["counts"]["complete"] == 2
    assert report["train"][:4] == ["ganctl", "train", "--config-dir", "mine"]
    with pytest.raises(UsageError, match="config_dir differ"):
        sweep.run(replace(made, settings=replace(made.settings, config_dir=None)), 1, None)


# -- trials ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_combination_is_trained_once_whatever_becomes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")  # a trial would take itself for the batch job's training
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    report = sweep.run(plan("model.lr=0.3,0.2,0.5,0.6,0.7,0.8", target=None), 2, None)
    rows = by_number(report)
    assert [rows[i]["parameters"]["model.lr"] for i in range(6)] == [0.3, 0.2, 0.5, 0.6, 0.7, 0.8]
    states = [rows[i]["state"] for i in range(6)]
    assert states == ["complete", "complete", "failed", "pruned", "failed", "pruned"]
    assert [rows[i]["objective"] for i in range(2)] == [0.3, 0.2], "the last value, not the best"
    assert report["best"]["number"] == 1
    assert report["train"][-1] == "model.lr=0.2"
    assert rows[2]["reason"] == "out of luck"
    assert "SIGKILL" in rows[4]["reason"]
    assert "not finite" in rows[3]["reason"]
    assert "not finite" in rows[5]["reason"]
    assert rows[0]["images_seen"] == 192
    half = str(max(1, len(os.sched_getaffinity(0)) // 2))
    log = Path("runs/sweeps/s/trial_0000.log").read_text().split()
    assert log[-2:] == [half, "False"]
    before = {file: file.read_bytes() for file in Path("runs").rglob("trial_*/*")}
    assert (
        sweep.run(plan("model.lr=0.3,0.2,0.5,0.6,0.7,0.8", target=None), 1, None)["counts"]
        == report["counts"]
    )
    assert {file: file.read_bytes() for file in Path("runs").rglob("trial_*/*")} == before


@pytest.mark.slow
def test_more_trials_go_on_with_the_sweep() -> None:
    space = "model.lr=interval(0.1,0.4)"
    assert sweep.run(plan(space, target=2), 1, None)["counts"]["complete"] == 2
    report = sweep.run(sweep.going_on("s", None, 4), 2, None)
    assert sorted(by_number(report)) == [0, 1, 2, 3]
    assert report["counts"]["complete"] == 4
    assert sweep.going_on("runs/sweeps/s", None, None).target == 4


@pytest.mark.slow
def test_a_space_in_which_all_fail_ends_soon_and_says_why() -> None:
    with pytest.raises(GanctlError, match="3 trials in a row failed, the last: out of luck"):
        sweep.run(plan("model.lr=choice(0.5)"), 1, None)
    assert len(list(Path("runs/sweeps/s").glob("*/config.yaml"))) == 3
    with pytest.raises(GanctlError, match="no trial was completed: diverged"):
        sweep.run(plan("model.lr=choice(0.6)", name="t", target=2), 1, None)


@pytest.mark.slow
def test_a_training_that_others_stop_goes_on_but_not_for_ever() -> None:
    report = sweep.run(plan("model.lr=0.9,0.1", target=None), 1, None)
    rows = by_number(report)
    assert (rows[0]["state"], rows[1]["state"]) == ("failed", "complete")
    assert Path("runs/sweeps/s/trial_0000.log").read_text().count("resume") == 3


@pytest.mark.slow
def test_an_objective_that_no_row_has_ends_the_sweep_with_the_names() -> None:
    with pytest.raises(UsageError) as caught:
        sweep.run(plan("model.lr=0.1,0.2", objective="val/digit_fdd", maximize=False), 1, None)
    assert caught.value.fix == "did you mean val/digit_fd? (known: val/digit_fd, val/label_accuracy)"


@pytest.mark.slow
def test_poor_trials_are_stopped_but_not_at_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLD_FROM", "1")
    rates = [0.1, 0.11, 0.12, 0.13, 0.14, 9.0, 0.05]  # the pruner begins after five
    overrides = f"model.lr={','.join(map(str, rates))}"
    report = sweep.run(plan(overrides, target=None, epochs=4, pruner="median"), 1, None)
    rows = by_number(report)
    assert [rows[i]["state"] for i in range(7)] == ["complete"] * 5 + ["pruned", "complete"]
    assert rows[5]["images_seen"] < 4 * 64
    report = sweep.run(plan(overrides, target=None, epochs=1, pruner="median", name="t"), 1, None)
    assert report["counts"]["complete"] == 7, "the only evaluation is the last one"


def stop_soon(signum: int) -> None:
    """Once both trials that run have made a step; HOLD_FROM keeps them from their end."""

    def run() -> None:
        while sum(p.stat().st_size > 0 for p in Path("runs").rglob("trial_*/metrics.jsonl")) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signum)

    threading.Thread(target=run, daemon=True).start()


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_sweep_says_how_it_goes_on_and_does(
    signum: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLD_FROM", "0")
    stop_soon(signum)
    with pytest.raises(InterruptedSweepError) as caught:
        sweep.run(plan("model.lr=interval(0.1,0.4)", epochs=6, target=3), 2, None)
    assert caught.value.exit_code == code
    assert caught.value.fix == "to go on: ganctl sweep --resume runs/sweeps/s --workers 2"
    monkeypatch.delenv("HOLD_FROM")
    report = sweep.run(sweep.going_on("runs/sweeps/s", None, None), 2, None)
    assert report["counts"] == {"complete": 3, "pruned": 0, "failed": 0, "running": 0}
    for number in range(3):
        rows = trials.rows(trials.folder_of(Path("runs/sweeps/s"), number), "val/digit_fd")
        assert [row.step for row in rows] == [1, 2, 3, 4, 5, 6]
    assert "resume" in Path("runs/sweeps/s/trial_0000.log").read_text()


@pytest.mark.slow
def test_a_training_that_outlives_its_sweep_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEP_S", "0.3")
    made = plan("model.lr=interval(0.1,0.4)", target=1, epochs=5)
    folder = str(made.folder)
    code = f"""
import sys
from ganctl.sweeps import sweep, trials
trials.PROGRAM = {trials.PROGRAM!r}
overrides = {list(made.settings.overrides)!r}
plan = sweep.plan(overrides, grid=False, objective="val/digit_fd", maximize=None, pruner="none", seed=0,
    name="s", target=1)
sweep.run(plan, 1, None)
"""
    root = str(Path(sweep.__file__).parents[1])
    other = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": root})
    rows = Path(folder) / "trial_0000" / "metrics.jsonl"
    try:
        while not (rows.exists() and rows.stat().st_size):
            assert other.poll() is None
            time.sleep(0.02)
    finally:
        other.kill()
        other.wait()
    report = sweep.run(made, 1, None)
    assert report["counts"]["complete"] == 1
    assert [json.loads(line)["step"] for line in rows.read_text().splitlines()] == [1, 2, 3, 4, 5]


# -- the report --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_show_lists_the_best_first_and_draws(caplog: pytest.LogCaptureFixture) -> None:
    rates = "model.lr=0.3,0.1,0.5,0.2,0.4,0.35"
    sweep.run(plan(rates, "loss=hinge,lsgan", target=None), 2, None)
    report = sweep.show(None, None)
    scores = [row["objective"] for row in report["trials"] if row["state"] == "complete"]
    assert scores == sorted(scores)
    assert scores[0] == 0.1
    assert report["trials"][-1]["state"] == "failed"
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert set(report["importances"]) == {"model.lr", "loss"}
    assert sum(report["importances"].values()) == pytest.approx(1.0)
    assert report["importances"]["model.lr"] > report["importances"]["loss"], "the loss plays no part here"
    assert Path(report["picture"]).read_bytes().startswith(b"\x89PNG")
    lines = sweep_report.table(report).splitlines()
    assert lines[1].split()[:4] == ["trial", "state", "val/digit_fd", "model.lr"]
    assert lines[2].split()[1:4] == ["complete", "0.1", "0.1"]
    upside_down = sweep.run(plan(rates, target=None, maximize=True, name="up"), 1, None)
    assert upside_down["best"]["objective"] == 0.4


def test_there_is_nothing_to_show() -> None:
    with pytest.raises(UsageError, match="no sweep below"):
        sweep.show(None, None)
    with pytest.raises(UsageError, match="none at 'x'"):
        sweep.show("x", None)
    (Path("runs/sweeps/quick_1")).mkdir(parents=True)
    (Path("runs/sweeps/quick_1/place")).touch()
    with pytest.raises(UsageError) as caught:
        sweep.show("quik_1", None)
    assert "did you mean quick_1?" in caught.value.fix
    with pytest.raises(UsageError, match=r"no sweep\.db"):
        sweep.show("quick_1", None)


def test_half_a_line_is_left_for_the_next_time(tmp_path: Path) -> None:
    whole = {"step": 1, "val/x": 2.0, "images_seen": 64}
    text = f"{json.dumps(whole)}\n" + json.dumps({"step": 1, "train/d_loss": 1.0, "images_seen": 64}) + "\n"
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 2, "val/x": 1.')
    assert trials.rows(tmp_path, "val/x") == [trials.Row(1, 64, 2.0, 1)]
    assert trials.names(tmp_path) == ["train/d_loss", "val/x"]
    assert trials.images_seen(tmp_path) == 64


def test_the_share_of_a_training_that_is_done() -> None:
    def done(epoch: int, step: int, *overrides: str, objective: str = "val/digit_fd") -> float:
        cfg = config.compose(["data=digits", "trainer.max_epochs=8", *overrides])
        return trials.Row(step, 64 * step, 1.0, epoch).progress(cfg, objective)

    assert done(2, 36) == 0.25
    assert done(2, 36, "callbacks.evaluate.every_epochs=2") == 0.5
    assert done(2, 36, "callbacks.evaluate.every_epochs=2", objective="val/d_loss") == 0.25
    assert done(3, 144, "callbacks.evaluate.every_epochs=3") == 1.0
    assert done(1, 18, "trainer.max_steps=20") == 0.9
    assert done(2, 20, "trainer.max_steps=20") == 1.0
