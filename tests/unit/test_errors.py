"""The nearest valid name."""

from __future__ import annotations

import logging

import pytest
import typer

from ganctl import terminal
from ganctl.errors import GanctlError, UsageError, nearest, printable, shortened


def test_a_slip_is_answered_with_what_was_meant() -> None:
    assert nearest("mnits", ["mnist", "fashion"]).startswith("did you mean mnist?")
    assert nearest("r1", ["r1_gamma", "name"]).startswith("did you mean r1_gamma?")
    assert nearest("MLP", ["mlp", "dcgan"]).startswith("did you mean mlp?")


def test_a_stranger_is_answered_with_all_names_and_no_guess() -> None:
    assert nearest("xyzzy", ["mnist", "fashion"]) == "known: fashion, mnist"


def test_exit_codes() -> None:
    assert (GanctlError("a").exit_code, UsageError("a").exit_code) == (1, 2)
    assert str(UsageError("what", "fix")) == "what\nfix"


HOSTILE = "\x1b]0;t\x07a\nb\r\u202ec\u2028\x9b31m\ud800"


def test_a_long_text_keeps_both_ends() -> None:
    assert shortened("x" * 1000) == "x" * 1000
    long = shortened("cannot write " + "x" * 100_000 + ": File name too long")
    assert len(long) < 1010
    assert long.startswith("cannot write xxx")
    assert long.endswith("xxx: File name too long")


def test_printable_is_one_line_without_commands() -> None:
    assert printable(HOSTILE) == r"\x1b]0;t\x07a\nb\r\u202ec\u2028\x9b31m\ud800"
    assert printable("γ × 0.5 – ümlaut, 数字") == "γ × 0.5 – ümlaut, 数字"


def test_nothing_that_is_printed_commands_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    @terminal.verb()
    def fail() -> None:
        terminal.note(HOSTILE)
        terminal.show(f"one {HOSTILE}\ntwo")
        logging.getLogger("ganctl").warning("warned of %s", HOSTILE)
        raise UsageError(HOSTILE + "x" * 10**6, HOSTILE)

    with pytest.raises(typer.Exit):
        fail()
    out, err = capfd.readouterr()
    assert all(c.isprintable() for c in (out + err).replace("\n", ""))
    assert len(out.splitlines()) == 3  # of `show`: its own line breaks are its own
    assert len(err.splitlines()) == 4
    assert len(err) < 10_000
