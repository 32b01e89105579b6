"""Every command of docs/sampling.md and every snippet of docs/python.md works as it stands, without a run."""

from __future__ import annotations

import glob
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"


def blocks(name: str, language: str) -> list[str]:
    text = (DOCS / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # imageio-ffmpeg leaves its pipes open
def test_commands(
    invoke: Callable[..., SimpleNamespace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks("sampling.md", "") for line in block.splitlines() if line]
    assert len(lines) > 10
    for line in lines:
        program, *words = shlex.split(line, comments=True)
        assert program == "ganctl"
        words = [found for word in words for found in (sorted(glob.glob(word)) if "*" in word else [word])]
        done = invoke(*words)
        assert done.exit_code == 0, f"{line}\n{done.stderr}"
    # The pictures on the page are what the commands beside them make.
    for shown, made in (("classes.png", "classes.png"), ("interpolation.gif", "film.gif")):
        with Image.open(DOCS / shown) as ours, Image.open(made) as theirs:
            assert ours.size == theirs.size


@pytest.mark.parametrize(
    "snippet", blocks("python.md", "python"), ids=lambda text: text.splitlines()[-1][:30]
)
def test_snippet(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(snippet.replace('ganctl.load("last.ckpt")', "ganctl.load()"), {"__name__": "snippet"})
