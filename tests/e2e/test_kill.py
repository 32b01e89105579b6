"""A short form of scripts/prove_resume.py: runs killed at random moments end as if nothing had been."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "prove_resume.py"


@pytest.mark.slow
def test_killed_runs_end_like_the_one_left_alone(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "3", "--real", "1", "--seed", "1", "--work", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^0 mismatches$", done.stdout, re.MULTILINE)
    assert re.search(r"^\| in all \| 3 \|$", done.stdout, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []
