"""What can go wrong, in two lines: what happened, and what would work."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable

MAX_CHARS = 1000  # of a line: it can quote a name as long as a file
MAX_NAMES = 30  # that exist are listed


class GanctlError(Exception):
    """A failure in the work itself: ended with exit code 1.

    Args:
        what: one line that names what went wrong.
        fix: one line that says what would work.
    """

    exit_code = 1
    told = False
    """Whether another process says it: of several that work together, one does."""

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\n{self.fix}" if self.fix else self.what

    def report(self, who: str = "") -> str:
        """What the user reads: a line, or two."""
        lines = [f"Error: {who}{self.what}"] + ([f"Try:   {self.fix}"] if self.fix else [])
        return "\n".join(printable(shortened(line)) for line in lines)


class UsageError(GanctlError):
    """The user's input is wrong: ended with exit code 2."""

    exit_code = 2


class DivergedError(GanctlError):
    """The training has failed in a way that it does not recover from: ended with exit code 3."""

    exit_code = 3


def printable(text: str) -> str:
    """One line that a terminal shows as it is: what comes from files may hold line breaks, commands to the
    terminal, and letters that turn the direction of what follows."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class PrintableFormatter(logging.Formatter):
    """Log records as one printable line each."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def shortened(text: str) -> str:
    """Both ends of a long text: what is wrong stands at one of them."""
    half = MAX_CHARS // 2
    return text if len(text) <= MAX_CHARS else f"{text[:half]} … {text[-half:]}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Says which known name was probably meant, and which names exist.

    Returns:
        `"did you mean X? (known: …)"`, or only the known names when none is close.
    """
    names = sorted(set(known))
    lowered = [n.lower() for n in names]
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    close = close or [n for n in lowered if name and name.lower() in n]
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    listed = f"known: {', '.join(names[:MAX_NAMES])}{more}"
    if not close:
        return listed
    match = next(n for n in names if n.lower() == close[0])
    return f"did you mean {match}? ({listed})"
