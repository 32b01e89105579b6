"""Time of `ganctl --help` against an empty Typer app's `--help`, called in turn: `--runs 15`.

Prints one line to read and one line of JSON. The goal is a ratio of at most 1.5.
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
from pathlib import Path

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


def seconds(script: Path) -> float:
    """One `--help` of a script, start to exit, with this interpreter."""
    started = time.perf_counter()
    subprocess.run([sys.executable, str(script), "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=25, help="of each (at least 15)")
    runs = max(parser.parse_args().runs, 15)
    with tempfile.TemporaryDirectory() as folder:
        scripts = {"ganctl": GANCTL, "empty": EMPTY}
        for name, source in scripts.items():
            (Path(folder) / f"{name}_script.py").write_text(source, encoding="utf-8")
        times: dict[str, list[float]] = {name: [] for name in scripts}
        for turn in range(-2, runs):  # the first two fill the caches and are not counted
            for name in scripts:
                taken = seconds(Path(folder) / f"{name}_script.py")
                if turn >= 0:
                    times[name].append(taken)
    median = {name: statistics.median(values) for name, values in times.items()}
    ratio = median["ganctl"] / median["empty"]
    print(
        f"ganctl --help {1000 * median['ganctl']:.0f} ms, empty Typer app {1000 * median['empty']:.0f} ms, "
        f"ratio {ratio:.2f} (goal ≤ {GOAL}; medians of {runs} runs each, in turn)"
    )
    report = {
        "ganctl_s": median["ganctl"],
        "empty_s": median["empty"],
        "ratio": ratio,
        "goal": GOAL,
        "runs": runs,
        "ganctl_range_s": [min(times["ganctl"]), max(times["ganctl"])],
        "empty_range_s": [min(times["empty"]), max(times["empty"])],
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
