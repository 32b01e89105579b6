"""`ganctl report`: what runs left behind, as one HTML file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ganctl import atomic, runs
from ganctl.errors import UsageError, nearest, printable
from ganctl.runs import RunFolder
from ganctl.web import page
from ganctl.web.run_files import Run

MAX_RUNS = 6  # colours that everybody can tell apart
MAX_PICTURES = 3 << 20  # bytes of pictures on a page


def write(
    names: Sequence[str], out: Path | None, force: bool, root: Path = Path("runs")
) -> tuple[Path, list[Path]]:
    """Writes the page about these runs, or the newest one.

    Args:
        names: run folders, or files in them.
        out: by default `report.html` in the folder of a single run, else in the current one.
        force: replace a file that is no such page.

    Returns:
        Where it is, and the run folders.

    Raises:
        UsageError: there is no such run, or the file cannot be written.
    """
    folders = [_find(name, root) for name in names] or [_newest(root)]
    if len(folders) > MAX_RUNS:
        raise UsageError(f"{len(folders)} runs do not fit beside each other", f"give {MAX_RUNS} at most")
    target = out or (folders[0].path if len(folders) == 1 else Path()) / "report.html"
    _require_ours(target, force)
    atomic.require_writable(target)
    found = [Run(folder, MAX_PICTURES // len(folders)) for folder in folders]
    if len({run.title for run in found}) < len(found):
        for run in found:
            run.name = printable("/".join(run.folder.path.resolve().parts[-2:]))
    text = page.render(found)
    atomic.write_output(target, lambda file: file.write(text.encode()))
    return target, [folder.path for folder in folders]


def _newest(root: Path) -> RunFolder:
    run = runs.newest_run(root)
    if run is None:
        raise UsageError(f"there is no run below {root}/", "start one: ganctl train +experiment=quick")
    return run


def _find(name: str, root: Path) -> RunFolder:
    path = Path(name)
    if os.path.isfile(path / "config.yaml"):  # unlike Path.is_file, False for what no file can be called
        return RunFolder(path)
    if os.path.isfile(path):
        run = runs.run_of(path)
        if run is not None:
            return run
    known = {str(run.path) for run in runs.below(root)}
    if os.path.isdir(path):
        below = [config for depth in ("*", "*/*") for config in path.glob(f"{depth}/config.yaml")]
        known = {str(config.parent) for config in below} or known
    elif os.path.isdir(path.parent):
        known |= {str(config.parent) for config in path.parent.glob("*/config.yaml")}
    fix = nearest(name, known) if known else "start one: ganctl train +experiment=quick"
    raise UsageError(f"{name} is no run folder" if os.path.exists(path) else f"there is no run {name}", fix)


def _require_ours(target: Path, force: bool) -> None:
    if os.path.isdir(target):
        raise UsageError(f"{target} is a folder", f"give a file, such as {target / 'report.html'}")
    if force or not os.path.lexists(target):
        return
    start = b""
    if os.path.isfile(target):
        try:
            with open(target, "rb") as file:
                start = file.read(len(page.MARK.encode()))
        except OSError:
            pass  # nor could it be replaced: that is found out later
    if start != page.MARK.encode():
        raise UsageError(f"{target} is there, and no report of ours", "choose another file, or add --force")
