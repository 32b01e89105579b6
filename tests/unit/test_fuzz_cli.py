"""A short form of the fuzzer of the command line, and that it sees what it is meant to see."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from unittest import mock

import fuzz_cli
import pytest
from fuzz_cli import complaint, fuzz

from ganctl import config, expressions


@pytest.mark.slow
def test_every_command_line_ends_with_0_or_2() -> None:
    counts = fuzz(cases=150, seed=0)
    assert counts.total() >= 150
    verbs = {name.partition(",")[0] for name in counts}
    assert verbs == {"train", "resume", "sample", "replay", "eval", "compare"}
    codes = {name[-1] for name in counts}
    assert codes == {"0", "2"}, "what is right must occur as well as what is wrong"


@pytest.mark.slow
def test_what_breaks_one_command_line_in_many_is_found_and_made_small() -> None:
    def breaks(text: str | None, names: Sequence[str]) -> list[int]:
        if text is not None and len(text) > 3:
            raise MemoryError
        return parse(text, names)

    parse = expressions.parse_labels
    with mock.patch("ganctl.expressions.parse_labels", breaks), pytest.raises(AssertionError) as caught:
        fuzz(cases=100, seed=0)
    problem, words = str(caught.value).split("\n")[:2]
    assert problem == "exit code 1"
    assert ast.literal_eval(words)[0] == "sample"
    assert len(ast.literal_eval(words)) <= 4, "not made small: an option with two values is the largest left"


GOOD = {
    "exit_code": 2,
    "stdout": "",
    "stderr": "Error: x\nTry:   y\n",
    "exception": SystemExit(2),
    "seconds": 0.1,
}


def test_a_good_answer_is_no_complaint() -> None:
    assert complaint(SimpleNamespace(**GOOD)) is None
    done = GOOD | {"exit_code": 0, "stdout": "x.png\n", "stderr": "note\n", "exception": None}
    assert complaint(SimpleNamespace(**done)) is None
    parsers = "Usage: ganctl\nTry 'ganctl --help' for help.\n\nError: no\n"
    assert complaint(SimpleNamespace(**GOOD | {"stderr": parsers})) is None


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"exit_code": 1}, "exit code 1"),
        ({"exit_code": 0, "exception": ValueError("x")}, "ValueError"),
        ({"stderr": "Traceback (most recent call last)\nError: x\nTry:   y\n"}, "traceback"),
        ({"seconds": 2.5}, "CPU"),
        ({"stderr": "Error: \x1b[31m\nTry:   y\n"}, "x1b"),
        ({"stderr": "Error: \x9b\nTry:   y\n"}, "x9b"),
        ({"stdout": "x\x07"}, "x07"),
        ({"stdout": "x.png\n"}, "a result"),
        ({"stderr": ""}, "no line"),
        ({"stderr": "Error: x\n"}, "no line"),
        ({"stderr": f"Error: {'x' * 5000}\nTry:   y\n"}, "four thousand"),
    ],
)
def test_what_is_wrong_is_seen(change: dict[str, Any], found: str) -> None:
    assert found in (complaint(SimpleNamespace(**GOOD | change)) or "")


def test_a_configuration_that_its_file_does_not_hold_is_seen() -> None:
    cfg = config.compose([])
    fuzz_cli._train(cfg)
    with pytest.raises(AssertionError, match="something else"):
        fuzz_cli._train(cfg.model_copy(update={"seed": True}))
