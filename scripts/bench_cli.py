"""Time of `--help` of ganctl, its verbs and groups, against that of an empty Typer app: `--runs 15`.

All are called in turn, so that what else the machine does meets all of them. Prints a table, then one line of
JSON. The goal is a ratio of at most 1.5.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganctl import cli

GOAL = 1.5

GANCTL = "import sys\nfrom ganctl.cli import main\nsys.argv[0] = 'ganctl'\nsys.exit(main())\n"

# As plain as an app gets, in the same style of help.
EMPTY = """import sys
import typer

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def nothing() -> None:
    "Do nothing."


sys.exit(app())
"""
EMPTY_APP = "empty"


def commands(table: Mapping[str, cli.Verb | cli.Group] = cli.VERBS) -> list[tuple[str, ...]]:
    """The words after `ganctl` whose help is timed: none, every verb, every group and its verbs."""
    found: list[tuple[str, ...]] = [()]
    for name, entry in table.items():
        found.append((name,))
        if isinstance(entry, cli.Group):
            found += [(name, verb) for verb in entry.verbs]
    return found


def seconds(script: Path, words: Sequence[str]) -> float:
    """One `--help` of a script, start to exit, with this interpreter."""
    started = time.perf_counter()
    subprocess.run([sys.executable, str(script), *words, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def summary(times: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """A row for each command: seconds, and the ratio of its median to the empty app's."""
    median = {command: statistics.median(taken) for command, taken in times.items()}
    rows = []
    for command, taken in times.items():
        row = {"command": command, "median_s": median[command], "range_s": [min(taken), max(taken)]}
        rows.append(row | {"ratio": median[command] / median[EMPTY_APP]})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15, help="of each (at least 5)")
    runs = max(parser.parse_args().runs, 5)
    with tempfile.TemporaryDirectory() as folder:
        ours, empty = Path(folder, "ganctl_script.py"), Path(folder, "empty_script.py")
        ours.write_text(GANCTL, encoding="utf-8")
        empty.write_text(EMPTY, encoding="utf-8")
        calls = {" ".join(("ganctl", *words)): (ours, words) for words in commands()}
        calls[EMPTY_APP] = empty, ()
        times: dict[str, list[float]] = {command: [] for command in calls}
        for turn in range(-2, runs):  # the first two fill the caches and are not counted
            for command, (script, words) in calls.items():
                taken = seconds(script, words)
                if turn >= 0:
                    times[command].append(taken)
    rows = summary(times)
    print(f"{'--help of':<24} {'median':>9} {'ratio':>6}  (goal ≤ {GOAL}; {runs} runs each)")
    for row in rows:
        ms = 1000 * row["median_s"]
        print(f"{row['command']:<24} {ms:>6.0f} ms {row['ratio']:>6.2f}")
    report = {"rows": rows, "goal": GOAL, "runs": runs, "python": platform.python_version()}
    print(json.dumps(report | {"cpus": os.cpu_count()}))


if __name__ == "__main__":
    main()
