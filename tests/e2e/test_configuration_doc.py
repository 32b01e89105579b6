"""The commands in docs/configuration.md work as they stand there, in that order."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

DOC = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.mark.slow
def test_every_command_works(
    invoke: Callable[..., SimpleNamespace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```\n(.*?)^```", DOC.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines.remove("ganctl --install-completion")  # it writes into the home folder; see test_completion
    assert len(lines) > 15
    for line in lines:
        program, *words = shlex.split(line)
        if program == "ganctl":
            done = invoke(*words)
            assert done.exit_code == 0, f"{line}\n{done.stderr}"
            assert done.stdout
        else:
            subprocess.run([program, *words], check=True)
    assert (tmp_path / "my_configs" / "experiment" / "mine.yaml").is_file()
    runs = sorted(path.parent.name for path in (tmp_path / "runs").glob("*/*/config.yaml"))
    assert len(runs) == 3
