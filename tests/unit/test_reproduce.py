"""The command in a report trains exactly what the configuration says."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from ganctl import config, reproduce


def composed(*words: str) -> dict[str, Any]:
    return config.compose(words).model_dump()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["+experiment=dcgan"], "ganctl train +experiment=dcgan"),
        (["+experiment=quick", "seed=3"], "ganctl train +experiment=quick seed=3"),
        (["data=fashion", "model=mlp", "model.lr=0.5"], "ganctl train data=fashion model=mlp model.lr=0.5"),
        (["+experiment=dcgan", "schedules.lr=null"], "ganctl train +experiment=dcgan schedules.lr=null"),
        (["logger=none", "run.dir=elsewhere"], "ganctl train logger=none"),
    ],
)
def test_the_command_is_what_one_would_type(words: list[str], said: str) -> None:
    assert reproduce.command(composed(*words)) == said


@pytest.mark.parametrize(
    "text",
    [
        *("x,y", "null", "1e5", "", "it's", "a\\'b", "c:d", "ends\\", "{x}", "é", "a=b", "a\nb", "<script>"),
        *("$(touch x)", "`id`", "${oc.env:HOME}", "\\${oc.env:HOME}"),
    ],
)
def test_words_in_it_come_through_shell_and_hydra_as_they_are(text: str) -> None:
    found = composed("+experiment=dcgan")
    found["logger"]["wandb"] |= {"name": text, "tags": [text, "z"]}
    command = shlex.split(reproduce.command(found))
    assert command[:3] == ["ganctl", "train", "+experiment=dcgan"]
    assert composed(*command[2:]) == found


def test_a_run_of_before_a_key_was_there_has_its_default() -> None:
    found = composed("+experiment=dcgan", "seed=4")
    del found["watchdog"], found["ckpt_path"]
    assert reproduce.command(found) == "ganctl train +experiment=dcgan seed=4"
    assert reproduce.of_experiment(found) == {"seed": (0, 4)}
