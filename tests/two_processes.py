"""Two real processes that do the same thing at the same moment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ganctl


def started_together(program: str, *args: str) -> list[subprocess.Popen[str]]:
    """Starts `program` twice and lets both go on once both are ready.

    Args:
        program: Python code; where the race begins it prints `ready`, flushed, and reads a line.
    """
    path = str(Path(ganctl.__file__).parents[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return processes
