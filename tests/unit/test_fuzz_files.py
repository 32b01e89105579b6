"""A short form of `scripts/fuzz_files.py`, and its own alarm: a fuzzer that sees nothing proves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_files
import pytest

from ganctl.errors import UsageError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it forks, and reads /proc")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_hundred_files_of_strangers() -> None:
    outcomes = fuzz_files.fuzz(cases=112, seed=1)
    assert len(outcomes) == 112
    assert [(case, o) for case, o in outcomes if o.kind not in ("refused", "same")] == []
    assert {name for (_, form, name), _ in outcomes if form == "ckpt"} == set(fuzz_files.CKPT)
    assert sum(o.kind == "refused" for _, o in outcomes) > 80


def _refuses(path: Path) -> Any:
    raise UsageError("one line", "a remedy")


def _writes(path: Path) -> Any:
    Path("evil").write_text("x")
    return _refuses(path)


def _runs(path: Path) -> Any:
    subprocess.run(["true"], check=False)
    return _refuses(path)


def _leaves_the_canary(path: Path) -> Any:
    os.close(os.open(fuzz_files.CANARY, os.O_CREAT))
    return _refuses(path)


def _says_two_lines(path: Path) -> Any:
    raise UsageError("two\nlines", "a remedy")


def _takes_memory(path: Path) -> Any:
    assert len(bytes(300 << 20)) == len(b"\1" * (300 << 20))
    return _refuses(path)


READERS: list[tuple[Callable[[Path], Any], str]] = [
    (_refuses, "refused"),
    (lambda path: "meaning", "same"),
    (lambda path: "another", "wrong"),
    (lambda path: 1 // 0, "raised"),
    (_says_two_lines, "raised"),
    (_writes, "ran"),
    (_runs, "ran"),
    (_leaves_the_canary, "ran"),
    (_takes_memory, "memory"),
]


@pytest.mark.slow
def test_every_violation_is_seen(tmp_path: Path) -> None:
    # In a process of its own: an audit hook stays for good.
    code = (
        "import sys, os; from pathlib import Path; import fuzz_files, test_fuzz_files as t\n"
        "os.chdir(sys.argv[1]); sys.addaudithook(fuzz_files.hook)\n"
        "for read, kind in t.READERS:\n"
        "    found = fuzz_files.judged(Path('x'), read, ['meaning'])\n"
        "    assert found.kind == kind, (read, found)\n"
    )
    here = Path(__file__).parent
    folders = (here, here.parents[1] / "scripts", here.parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
