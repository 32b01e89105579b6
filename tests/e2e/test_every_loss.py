"""Gradients are synchronised: two ranks at batch B are one process at batch 2B, whatever the loss."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ganctl.losses import LOSSES

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "every_loss.py"
TOLERANCE = 1e-6  # of weights: ranks add the same numbers in another order


@pytest.fixture(scope="module")
def folders(
    command: Callable[..., Any], several: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """The runs of `every_loss.py` in one process, `one`, and in two, `two`."""
    cwd = tmp_path_factory.mktemp("every_loss")
    program = [sys.executable, str(SCRIPT)]
    alone = command(str(cwd / "one"), cwd=cwd, program=program)
    envs = [{"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"} for rank in "01"]
    both = several(str(cwd / "two"), cwd=cwd, program=program, envs=envs)
    assert [done.returncode for done in (alone, *both)] == [0, 0, 0], [x.stderr for x in (alone, *both)]
    return SimpleNamespace(one=cwd / "one", two=cwd / "two")


def weights(folder: Path, loss: str) -> dict[str, torch.Tensor]:
    return torch.load(folder / loss / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> dict[str, float]:
    same = [name for name in a if name in b and a[name].shape == b[name].shape]
    return {name: (a[name] - b[name]).abs().max().item() for name in same}


@pytest.mark.parametrize("loss", LOSSES)
def test_two_ranks_are_one_process_with_the_whole_batch(folders: SimpleNamespace, loss: str) -> None:
    one, two = weights(folders.one, loss), weights(folders.two, loss)
    assert one.keys() == two.keys()
    found = apart(one, two)
    assert found.keys() == one.keys()
    assert max(found.values()) < TOLERANCE, found
    # All began alike: what losses differ in is far more than what ranks do.
    other = "lsgan" if loss != "lsgan" else "hinge"
    for net in ("G.",) if loss == "wgan_gp" else ("G.", "D."):  # wgan_gp has another D
        learned = [x for name, x in apart(one, weights(folders.one, other)).items() if name.startswith(net)]
        assert max(learned) > 100 * TOLERANCE
