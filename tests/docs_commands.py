"""The commands and the Python that the documentation shows, read out of its code blocks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

_SHELL = ("", "bash", "console", "sh", "shell")


@dataclass(frozen=True)
class Block:
    """What stands between two fences.

    Args:
        line: of the page, counted from 1, at which its text begins.
    """

    page: Path
    line: int
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """One command line, without the variables before it and the comment behind it.

    Args:
        fails: the page shows the error that it ends with.
    """

    page: Path
    line: int
    words: tuple[str, ...]
    fails: bool = False

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line} {shlex.join(self.words)}"


def blocks(page: Path) -> Iterator[Block]:
    """The code blocks of a page."""
    found: list[str] | None = None
    language, start = "", 0
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = re.match(r"^\s*```\s*(\w*)", line)
        if fence is None:
            if found is not None:
                found.append(line)
        elif found is None:
            found, language, start = [], fence[1], number + 1
        else:
            yield Block(page, start, language, "\n".join(found))
            found = None
    assert found is None, f"{page}: the block at line {start} does not end"


def commands(block: Block) -> Iterator[Command]:
    """The commands of a block. Where a line starts with `$ ` only such lines are, the others are output."""
    if block.language not in _SHELL:
        return
    lines = block.text.split("\n")
    prompted = any(line.startswith("$ ") for line in lines)
    i = 0
    while i < len(lines):
        first, line = i, lines[i]
        while line.endswith("\\") and i + 1 < len(lines):
            i += 1
            line = f"{line[:-1].rstrip()} {lines[i].strip()}"
        i += 1
        if prompted and not line.startswith("$ "):
            continue
        try:
            words = shlex.split(line.removeprefix("$ "), comments=True)
        except ValueError:  # output, with an apostrophe
            continue
        while words and re.match(r"^[A-Z_]+=", words[0]):
            words.pop(0)
        if words:
            fails = prompted and i < len(lines) and lines[i].startswith("Error:")
            yield Command(block.page, block.line + first, tuple(words), fails)


def all_blocks() -> list[Block]:
    return [block for page in PAGES for block in blocks(page)]


def all_commands() -> list[Command]:
    return [command for block in all_blocks() for command in commands(block)]
