"""`sample` and `eval` started as several processes: the same pictures and scores as one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from launchers import MODULE, SRUN, TORCHRUN

from ganctl.metrics.extract import MICRO_BATCH

pytestmark = pytest.mark.slow

Invoke = Callable[..., SimpleNamespace]
TWO = [TORCHRUN, "--nproc-per-node=2", *MODULE, "--"]  # or torchrun takes --n for one of its own options


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# Two processes that run this find their mistakes by themselves.
EXCHANGE = """
import os, torch
from ganctl import collectives
from ganctl.errors import GanctlError, UsageError

rank = int(os.environ["RANK"])

def fails(error):
    raise error

def caught(function, call):
    try:
        function(call)
    except GanctlError as error:
        return type(error), error.what, error.fix

with collectives.together():
    assert collectives.place() == (rank, 2)
    assert list(collectives.share(7, 2)) == [[0, 1, 2, 3], [4, 5, 6]][rank]
    assert list(collectives.share(2, 2)) == [[0, 1], []][rank]
    rows = torch.arange(10.0).view(5, 2)
    assert torch.equal(collectives.gather([rows[:4], rows[4:]][rank]), rows)
    assert torch.equal(collectives.gather([rows, None][rank]), rows)
    assert collectives.gather(None) is None
    assert collectives.total(torch.tensor([1.0 + rank])).item() == 3.0
    assert collectives.from_first(lambda: rank) == 0
    assert collectives.agree(lambda: rank) == rank
    error = [UsageError("no file", "give one"), GanctlError("not finite")]
    assert caught(collectives.from_first, lambda: fails(error[rank])) == (UsageError, "no file", "give one")
    # One rank fails, and both know.
    expected = GanctlError, "not finite", ""
    assert caught(collectives.agree, lambda: fails(error[1]) if rank else "fine") == expected
print("done", flush=True)
"""


def test_processes_hand_each_other_what_they_have(several: Callable[..., Any], tmp_path: Path) -> None:
    envs = [{"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"} for rank in "01"]
    done = several("-c", EXCHANGE, cwd=tmp_path, program=[sys.executable], envs=envs)
    assert [each.stdout for each in done] == ["done\n"] * 2, [each.stderr for each in done]


def test_a_grid_has_the_same_bytes(several: Callable[..., Any], invoke: Invoke, tmp_path: Path) -> None:
    """Of the bundled generator."""
    each = str(MICRO_BATCH // 8)  # a pass and a part of one
    options = ("sample", "--label", "0-9", "--n", each, "--out")
    (done,) = several(*options, "two.png", cwd=tmp_path, program=TWO, envs=[{}])
    assert done.returncode == 0, done.stderr
    assert done.stdout == "two.png\n"
    assert done.stderr.count("bundled") == 1
    assert invoke(*options, "one.png").exit_code == 0
    assert Path("two.png").read_bytes() == Path("one.png").read_bytes()


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_an_array_has_the_same_bytes(
    several: Callable[..., Any], invoke: Invoke, tmp_path: Path, suffix: str
) -> None:
    """However many images are drawn at a time, and whoever draws them."""
    options = ("sample", "--label", "3,5", "--n", "90", "--out")
    (done,) = several(*options, f"two.{suffix}", "--batch-size", "70", cwd=tmp_path, program=TWO, envs=[{}])
    assert (done.returncode, done.stdout) == (0, f"two.{suffix}\n"), done.stderr
    assert invoke(*options, f"one.{suffix}").exit_code == 0
    assert Path(f"two.{suffix}").read_bytes() == Path(f"one.{suffix}").read_bytes()
    assert not list(tmp_path.glob("*.part*"))


def test_single_pictures_are_written_by_the_process_that_drew_them(
    several: Callable[..., Any], invoke: Invoke, tmp_path: Path
) -> None:
    options = ("sample", "--label", "3,5", "--n", "50", "--outdir")
    done = several(*options, "two", cwd=tmp_path, envs=SRUN)
    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]
    assert [each.stdout for each in done] == ["two\n", ""]
    assert done[1].stderr == ""
    assert invoke(*options, "one").exit_code == 0
    one, two = ({p.name: p.read_bytes() for p in Path(name).iterdir()} for name in ("one", "two"))
    assert len(one) == 100
    assert one == two


def test_scores_are_the_same(
    several: Callable[..., Any], invoke: Invoke, trained: SimpleNamespace, tmp_path: Path
) -> None:
    metrics = "label_accuracy,fid,is,kid,prdc,memorisation"
    options = ["eval", "--ckpt", str(trained.run), "--metrics", metrics, "--features", "classifier"]
    options += ["--n", "300", "--json", "--out", "x.json"]
    (done,) = several(*options, cwd=tmp_path, program=TWO, envs=[{}])
    assert done.returncode == 0, done.stderr
    alone = invoke(*options)
    assert alone.exit_code == 0, alone.stderr
    two, one = json.loads(done.stdout), json.loads(alone.stdout)
    assert two["per_class"] == one["per_class"]
    assert two["metrics"].keys() == one["metrics"].keys()
    assert len(one["metrics"]) >= 10
    for name, metric in one["metrics"].items():
        for part in ("value", "floor"):
            assert two["metrics"][name][part] == pytest.approx(metric[part], rel=1e-9, abs=1e-12), name
