"""The nearest valid name."""

from __future__ import annotations

from ganctl.errors import GanctlError, UsageError, nearest


def test_a_slip_is_answered_with_what_was_meant() -> None:
    assert nearest("mnits", ["mnist", "fashion"]).startswith("did you mean mnist?")
    assert nearest("r1", ["r1_gamma", "name"]).startswith("did you mean r1_gamma?")
    assert nearest("MLP", ["mlp", "dcgan"]).startswith("did you mean mlp?")


def test_a_stranger_is_answered_with_all_names_and_no_guess() -> None:
    assert nearest("xyzzy", ["mnist", "fashion"]) == "known: fashion, mnist"


def test_exit_codes() -> None:
    assert (GanctlError("a").exit_code, UsageError("a").exit_code) == (1, 2)
    assert str(UsageError("what", "fix")) == "what\nfix"
