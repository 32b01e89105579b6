"""Help comes at once: nothing heavy is imported for it, and it ends with examples."""

from __future__ import annotations

import functools
import importlib
import json
import re
import subprocess
import sys

import pytest
from heavy_imports import HEAVY

from ganctl import cli

VERBS = {
    (name, *rest): verb
    for name, entry in cli.VERBS.items()
    for rest, verb in (
        [((), entry)] if isinstance(entry, cli.Verb) else [((sub,), v) for sub, v in entry.verbs.items()]
    )
}
GROUPS = [(name,) for name, entry in cli.VERBS.items() if isinstance(entry, cli.Group)]

# Calls the app in a fresh interpreter and says on stderr what that imported.
PROBE = f"""
import json, sys
from ganctl.cli import app
code = 0
try:
    app(sys.argv[1:], prog_name="ganctl")
except SystemExit as error:
    code = error.code or 0
loaded = [name for name in {HEAVY!r} if name in sys.modules]
print(json.dumps({{"code": code, "loaded": loaded}}), file=sys.stderr)
"""


@functools.cache
def ask(*args: str) -> tuple[str, int, list[str]]:
    """(stdout, exit code, heavy packages imported)."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *args], capture_output=True, text=True, timeout=60, check=True
    )
    said = json.loads(done.stderr.splitlines()[-1])
    return done.stdout, said["code"], said["loaded"]


@pytest.mark.parametrize("verb", [(), *GROUPS, *VERBS], ids=lambda verb: " ".join(verb) or "ganctl")
def test_help_imports_nothing_heavy_and_ends_with_examples(verb: tuple[str, ...]) -> None:
    text, code, loaded = ask(*verb, "--help")
    assert code == 0
    assert loaded == []
    assert text.startswith(f"Usage: {' '.join(('ganctl', *verb))} ")
    title, *examples = [line.strip() for line in text.rstrip().split("\n\n")[-1].splitlines()]
    assert title == "Examples:"
    assert 2 <= len(examples) <= 3
    for example in examples:
        assert f"{example} ".startswith(" ".join(("ganctl", *verb)) + " ")


def test_help_names_every_verb() -> None:
    text = ask("--help")[0]
    assert {("train",), ("eval",), ("data", "fetch")} <= set(VERBS)
    for verb in VERBS:
        assert re.search(rf"^  {verb[0]} ", text, re.MULTILINE)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_a_list_of_verbs_says_what_their_own_help_begins_with(verb: tuple[str, ...]) -> None:
    module, _, name = VERBS[verb].at.partition(":")
    docstring = getattr(importlib.import_module(f"ganctl.commands.{module}"), name).__doc__
    assert docstring.startswith(VERBS[verb].help.rstrip("."))


def test_a_list_of_verbs_does_not_import_them() -> None:
    code = """
import sys
from ganctl.cli import main
sys.argv[1:] = ["--help"]
try:
    main()
finally:
    print([module for module in sys.modules if module.startswith("ganctl.commands.")])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_has_the_common_options(verb: tuple[str, ...]) -> None:
    text = ask(*verb, "--help")[0]
    for option in ("--json", "--quiet", "--verbose", "--debug"):
        assert re.search(rf"(?<!\S){option}\b", text)


def test_version_imports_nothing_heavy() -> None:
    text, code, loaded = ask("--version")
    assert code == 0
    assert set(loaded) <= {"pydantic"}  # which Typer imports to read the options before a verb
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", text)


def test_the_probe_sees_what_a_verb_imports() -> None:
    assert "hydra" in ask("train", "+experiment=nothing")[2]


def test_examples_are_commands_that_the_parser_knows() -> None:
    """Every option that an example uses is in the help of its verb."""
    for verb in VERBS:
        text = ask(*verb, "--help")[0]
        options, _, examples = text.partition("Examples:")
        for option in re.findall(r"(?<=\s)--[\w-]+", examples):
            assert re.search(rf"(?<!\S){option}\b", options), f"{verb}: {option}"
