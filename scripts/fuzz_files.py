"""Feeds damaged and hostile files to all that reads a stranger's files, and looks at what comes of it.

    python scripts/fuzz_files.py                # 2 000 files, a minute of one core
    python scripts/fuzz_files.py --cases 100 --seed 1

The good files are written by the tool's own writers. Generators are read, rebuilt and asked for four images;
image files are opened and decoded whole, pictures as `ganctl data prepare` does. Each variant must be
refused with a `UsageError` of one line, or mean exactly what the original means (a bit that nothing depends
on). Everything else is a violation:

- `ran`: a payload left its mark, or the reader started a process, opened a socket, wrote a file, or
  imported a stranger's module (an audit hook sees it);
- `wrong`: it was loaded, and is not what the original is;
- `raised`: another exception, which a user would see as a traceback or a vague message;
- `memory`: more than 200 MB on top; `time`: more than 10 s; `died`: the process crashed or was killed.

Readers run in a forked process of limited address space. Prints a table; exits with 1 on a violation.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from mutate import CANARY, Good, Mutation, good_files
from mutate_ckpt import CKPT
from mutate_claims import SAFETENSORS
from mutate_images import NPZ, PNG, SHEET
from mutate_pictures import JPEG, ZIP

from ganctl import atomic, checkpoint, inputs, pngs
from ganctl import data as datasets
from ganctl.data import pictures
from ganctl.data.decode import Recipe, decode
from ganctl.data.tree import UnreadableError, open_tree
from ganctl.errors import UsageError
from ganctl.generator import Generator
from ganctl.replay import Replay

MAX_MEGABYTES = 200.0
MAX_SECONDS = 10.0
ADDRESS_SPACE = 4 << 30  # on top of what the process has before
MUTATIONS: dict[str, dict[str, Mutation]] = {"ckpt": CKPT, "safetensors": SAFETENSORS, "npz": NPZ, "png": PNG}
MUTATIONS |= {"sheet": SHEET, "jpeg": JPEG, "zip": ZIP}


def _of_own(mutation: Mutation) -> Mutation:
    return lambda rng, good: mutation(rng, replace(good, npz=good.own))


MUTATIONS["own"] = {name: _of_own(mutation) for name, mutation in NPZ.items()}
# Of the cases of each form: most of them where most can go wrong.
SHARES = {"ckpt": 0.5, "safetensors": 0.125, "npz": 0.0625, "own": 0.0625, "png": 0.0625, "sheet": 0.0625}
SHARES |= {"jpeg": 0.0625, "zip": 0.0625}
WATCHED = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "pty.spawn",
    "subprocess.Popen",
    "socket.connect",
    "socket.bind",
    "urllib.Request",
    "ctypes.dlopen",
    "shutil.rmtree",
)


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Args:
        kind: `refused`, `same`, or a violation.
        words: what was said.
        megabytes, seconds: that reading it took.
    """

    kind: str
    words: str = ""
    megabytes: float = 0.0
    seconds: float = 0.0


def read_generator(path: Path) -> Any:
    """All that a generator's file means: its weights, its facts, and what it draws."""
    snapshot = checkpoint.read(path)
    drawn = Generator(snapshot, torch.device("cpu")).sample([0, 0, 7, 7], [0, 1, 0, 1])
    facts = (snapshot.facts, snapshot.nimg, snapshot.config, snapshot.generator, snapshot.versions)
    return snapshot.digest, facts, drawn.numpy().tobytes()


def read_images(path: Path) -> Any:
    """All that a folder or `.npz` means: its pixels and labels."""
    found = inputs.open_images(path)
    pixels = torch.cat(list(found.batches(range(found.num_images))))
    return tuple(pixels.shape), pixels.numpy().tobytes(), found.labels, found.label_names


def read_own(path: Path) -> Any:
    """All that a data set means."""
    with mock.patch.object(atomic, "write"):  # that it was verified is remembered
        found = datasets.load(datasets.Source("npz", path))
    splits = [(s.images.numpy().tobytes(), s.labels.tolist()) for s in (found.train, found.val, found.test)]
    return found.facts, splits


def read_picture(folder: Path) -> Any:
    """What its one PNG means as an image; where it comes from can be read, or is refused."""
    for file in folder.glob("*.png"):
        pngs.provenance(file)
    return read_images(folder)


def read_sheet(path: Path) -> Any:
    """What `ganctl replay` makes of a grid, if it is identical."""
    again = Replay("1.safetensors")(path)
    if again.differing:
        raise UsageError("it differs", "give what it was")
    return again.picture.size, again.picture.tobytes()


def read_photograph(path: Path) -> Any:
    """What `ganctl data prepare` makes of one file; a JPEG has no checksums, so its pixels may be any."""
    try:
        pixels = decode(path.read_bytes(), Recipe(8))
    except UnreadableError as error:
        raise UsageError(" ".join(str(error).split()), "leave it out") from error
    return pixels.shape, str(pixels.dtype)


def read_zip(path: Path) -> Any:
    """All that a zip of pictures means to `ganctl data prepare`."""
    with open_tree(path) as tree:
        found = pictures.find(tree)
        try:
            pixels = [decode(tree.read(name), Recipe(8)).tobytes() for name in found.pictures]
        except UnreadableError as error:
            raise UsageError(" ".join(str(error).split()), "leave it out") from error
    return found.pictures, found.labels, found.label_names, pixels


def written(form: str, data: bytes, folder: Path) -> tuple[Path, Callable[[Path], Any]]:
    """The file and what reads it. A PNG gets a folder."""
    if form != "png":
        path = folder / (f"case.{form}" if form != "own" else "own.npz")
        path.write_bytes(data)
        return path, READERS.get(form, read_generator)
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / "pictures" / "3_seed000000.png").write_bytes(data)
    return folder / "pictures", read_picture


READERS: dict[str, Callable[[Path], Any]] = {
    "npz": read_images,
    "sheet": read_sheet,
    "jpeg": read_photograph,
    "zip": read_zip,
    "own": read_own,
}


def judged(path: Path, read: Callable[[Path], Any], meanings: list[Any]) -> Outcome:
    """Reads one file in this process; if it is loaded, it must be one of `meanings`."""
    events.clear()
    Path(CANARY).unlink(missing_ok=True)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before, begun = resident("VmRSS"), time.monotonic()
    try:
        with watching():
            found = read(path)
        outcome = Outcome("same") if found in meanings else Outcome("wrong", "loaded, and not what it was")
    except UsageError as error:
        one_line = len(error.what.splitlines()) == 1 and error.fix and len(error.what) < 4000
        outcome = Outcome("refused" if one_line else "raised", error.what)
        if isinstance(error.__cause__, MemoryError) or "allocate" in error.what:
            outcome = Outcome("memory", error.what)
    except Exception as error:
        outcome = Outcome("raised", f"{type(error).__name__}: {error}")
    seconds, megabytes = time.monotonic() - begun, (resident("VmHWM") - before) / 1e6
    if events or Path(CANARY).exists():
        outcome = Outcome("ran", ", ".join(events) or "the payload")
    elif megabytes > MAX_MEGABYTES:
        outcome = Outcome("memory", f"{megabytes:.0f} MB")
    elif seconds > MAX_SECONDS:
        outcome = Outcome("time", f"{seconds:.0f} s")
    return replace(outcome, megabytes=megabytes, seconds=seconds)


def resident(key: str) -> int:
    """Bytes of this process that are (`VmRSS`) or were at most (`VmHWM`) in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024


events: list[str] = []
_watch = False


@contextmanager
def watching() -> Iterator[None]:
    global _watch
    _watch = True
    try:
        yield
    finally:
        _watch = False


def hook(event: str, args: tuple[Any, ...]) -> None:
    """Of `sys.addaudithook`: notes what a reader of files has no reason to do."""
    if not _watch:
        return
    writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    imports = event == "import" and str(args[0]).startswith(("strangers_module", "antigravity", "this"))
    if writes or imports or event.startswith(WATCHED):
        events.append(f"{event} {args!r:.80}")


def worker(seed: int, cases: list[tuple[int, str, str]], good: Good, folder: Path, pipe: Connection) -> None:
    """Makes and reads the cases one by one, and tells the outcome of each."""
    os.chdir(folder)
    (folder / "strangers_module.py").write_text(f"open({CANARY!r}, 'w')\nclass Generator: pass\n")
    sys.path.insert(0, str(folder))
    originals = {
        "ckpt": (good.ckpt, good.other_ckpt),
        "safetensors": (good.safetensors, good.other_safetensors),
        "npz": (good.npz,),
        "png": (good.png,),
        "sheet": (good.sheet,),
        "jpeg": (good.jpeg,),
        "zip": (good.zip,),
        "own": (good.own,),
    }
    meanings: dict[str, list[Any]] = {}
    for form, files in originals.items():
        meanings[form] = []
        for data in files:
            path, read = written(form, data, folder)
            meanings[form].append(read(path))  # imports what is imported late, too
    assert meanings["ckpt"] == meanings["safetensors"]
    assert meanings["ckpt"][0] != meanings["ckpt"][1]
    sys.addaudithook(hook)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for number, form, name in cases:
        data = MUTATIONS[form][name](random.Random(f"{seed}/{number}/{form}/{name}"), good)
        path, read = written(form, data, folder)
        # Of two spliced files the result may be either: they begin alike.
        pipe.send(judged(path, read, meanings[form][: 2 if "spliced" in name else 1]))


def plan(cases: int) -> list[tuple[int, str, str]]:
    """(number, form, mutation) of each case: the mutations of a form in turn."""
    planned = []
    for form, share in SHARES.items():
        names = list(MUTATIONS[form])
        planned += [(i, form, names[i % len(names)]) for i in range(round(cases * share))]
    return planned


def fuzz(cases: int, seed: int) -> list[tuple[tuple[int, str, str], Outcome]]:
    """The outcome of each case. A worker that dies is replaced by one that goes on behind it."""
    context = multiprocessing.get_context("fork")
    left, outcomes = plan(cases), []
    with tempfile.TemporaryDirectory() as home:
        good = good_files(Path(home))
        while left:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=worker, args=(seed, left, good, Path(home), theirs))
            process.start()
            theirs.close()
            try:
                while left:
                    outcome = ours.recv() if ours.poll(6 * MAX_SECONDS) else Outcome("time", "no answer")
                    outcomes.append((left.pop(0), outcome))
                    if outcome.words == "no answer":
                        break
            except EOFError:
                process.join()
                outcomes.append((left.pop(0), Outcome("died", f"exit code {process.exitcode}")))
            process.kill()
            process.join()
    return outcomes


def table(outcomes: list[tuple[tuple[int, str, str], Outcome]]) -> str:
    """Cases, refused, same and violations of each mutation."""
    rows: dict[tuple[str, str], collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for (_, form, name), outcome in outcomes:
        bad = outcome.kind not in ("refused", "same")
        for row in ((form, name), ("all", "")):
            rows[row].update(["cases", "violations" if bad else outcome.kind])
    columns = ("cases", "refused", "same", "violations")
    lines = [f"{'file':<12} {'mutation':<38}" + "".join(f"{c:>12}" for c in columns)]
    order = [(form, name) for form, names in MUTATIONS.items() for name in names] + [("all", "")]
    for form, name in order:
        lines.append(f"{form:<12} {name:<38}" + "".join(f"{rows[form, name][c]:>12}" for c in columns))
    found = [outcome for _, outcome in outcomes]
    megabytes, seconds = max(o.megabytes for o in found), max(o.seconds for o in found)
    return "\n".join([*lines, f"at most {megabytes:.0f} MB and {seconds:.1f} s for one file"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    outcomes = fuzz(args.cases, args.seed)
    print(table(outcomes))
    violations = [(case, o) for case, o in outcomes if o.kind not in ("refused", "same")]
    for (number, form, name), outcome in violations:
        print(f"{outcome.kind}: {form}, {name}, number {number}: {outcome.words!r:.300}")
    raise SystemExit(bool(violations))


if __name__ == "__main__":
    main()
