"""A short form of scripts/prove_sweep.py: a killed sweep goes on, and nothing is lost or done twice."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "prove_sweep.py"


@pytest.mark.slow
def test_a_killed_sweep_ends_with_every_trial_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--trials", "4", "--seed", "1", "--work", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^0 problems$", done.stdout, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []
