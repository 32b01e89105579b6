"""What is printed has no colours where nobody sees or wants them; typos are answered with what was meant."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ganctl import cli

ROOT = Path(__file__).parents[2]
COLOUR = re.compile(rb"\x1b\[[\d;]*m")

COMMANDS = {
    "help": (["--help"], 0),
    "verb": (["tarin"], 2),
    "option": (["sample", "--labl", "5"], 2),
    "override": (["train", "modle.lr=1"], 2),
    "list": (["configs", "ls"], 0),
}


def on_a_terminal(words: list[str], env: dict[str, str]) -> tuple[bytes, int]:
    """Everything that a command writes to a terminal, and its exit code."""
    own, theirs = pty.openpty()
    program = [sys.executable, "-m", "ganctl", *words]
    process = subprocess.Popen(program, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=ROOT)
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(own, 4096):
            written += chunk
    except OSError:  # Linux, when the other end is closed
        pass
    os.close(own)
    return written, process.wait(timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize(("words", "code"), COMMANDS.values(), ids=COMMANDS)
def test_no_colour_with_no_color(words: list[str], code: int) -> None:
    written, ended = on_a_terminal(words, os.environ | {"NO_COLOR": "1", "TERM": "xterm-256color"})
    assert ended == code
    assert len(written) > 50
    assert not COLOUR.search(written)


@pytest.mark.slow
@pytest.mark.parametrize(("words", "code"), COMMANDS.values(), ids=COMMANDS)
def test_no_colour_in_files(words: list[str], code: int) -> None:
    env = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm-256color"}
    program = [sys.executable, "-m", "ganctl", *words]
    done = subprocess.run(program, env=env, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode == code
    assert len(done.stdout + done.stderr) > 50
    assert b"\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["tarin"], "'train'"),
        (["configs", "dif"], "'diff'"),
        (["data", "fecth"], "'fetch'"),
        (["sample", "--labl", "5"], "--label"),
        (["sample", "--sed=3"], "--seed"),
        (["train", "--dryrun"], "--dry-run"),
        (["configs", "ls", "--config-dr", "x"], "--config-dir"),
        (["eval", "--checkpoint", "x"], "--ckpt"),
    ],
    ids=lambda x: x if isinstance(x, str) else " ".join(x),
)
def test_a_typo_is_answered_with_what_was_meant(words: list[str], meant: str) -> None:
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 2
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert meant in error
    assert "Traceback" not in done.stderr


def test_brackets_of_arguments_stand_once() -> None:
    for words in (["train"], ["resume"], ["configs", "validate"]):
        text = CliRunner().invoke(cli.app, [*words, "--help"]).stdout
        assert "[OVERRIDE]..." in text.splitlines()[0]
        assert "[[" not in text
        assert "]...]" not in text
    usage = CliRunner().invoke(cli.app, ["compare", "--help"]).stdout.splitlines()[0]
    assert usage.endswith(" {REPORT}...")
