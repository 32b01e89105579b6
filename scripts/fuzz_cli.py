"""Feeds the command line what people mistype and what attackers try: it must answer with exit code 0 or 2.

    python scripts/fuzz_cli.py                       # 5 000 cases
    python scripts/fuzz_cli.py --cases 500 --seed 7

Each case is one command line: Hydra overrides of `train` and `resume`, or labels, seeds, interpolations,
counts, formats, metrics, features and devices of `sample`, `replay`, `eval` and `compare`; nearly right,
damaged, or wild (control characters, surrogates, thousands of digits, deep brackets, interpolations and
resolvers). The whole command runs in this process up to the point where its work would begin: no training
starts, no image is generated, no score computed, nothing is fetched. A case is wrong if it ends otherwise
than with 0 or 2, with a traceback, without the lines that say what is wrong and what would work, after more
than two seconds of CPU, with a gigabyte or two more of memory, or with a control character of its own on the
terminal; or if a configuration that was accepted is not the same after it went through config.yaml. The first
wrong case is shrunk to a small one (Hypothesis) and ends the run with exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import resource
import shutil
import sys
import tempfile
import time
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import hypothesis
import torch
import yaml
from fuzz_words import commands
from hypothesis import HealthCheck, Phase
from typer.testing import CliRunner

from ganctl import checkpoint, cli, config, evaluate, generator, images, sample, snapshot
from ganctl.data.dataset import DatasetFacts
from ganctl.errors import UsageError
from ganctl.networks.dcgan import Generator
from ganctl.report import Report
from ganctl.sample import Layout, Product

CPU_SECONDS = 2.0
MORE_MEMORY = 2 << 30
BLOCK = 250  # cases that Hypothesis draws at a time: it remembers all of them

# -- what is run -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def stage() -> Iterator[Path]:
    """An empty working folder with a tiny checkpoint and two reports; all that is heavy is cut short."""
    before = Path.cwd()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, instead in STUBS.items():
            stack.enter_context(mock.patch(name, instead))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("error")  # a warning would be lines of Python's on the terminal
        os.chdir(folder)
        stack.callback(os.chdir, before)
        _write_files(folder)
        for words in WARM_UP:
            run(words, folder)  # imports are not counted
        if not Path("/proc/self/statm").exists():  # not Linux: memory goes unwatched
            yield folder
            return
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MORE_MEMORY, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_AS, (soft, hard))
        yield folder


def _train(cfg: config.Config, resumed: Any = None, trust_code: bool = True) -> None:
    """What is written into the run folder says what would run."""
    text = yaml.safe_dump(cfg.model_dump(), sort_keys=False)
    again = config.validate(yaml.safe_load(text))
    assert repr(again) == repr(cfg), "config.yaml says something else"  # repr: NaN is not itself


def _evaluate(fakes: Any, reals: Any, request: Any, device: Any, emit: Any) -> tuple[Report, bool]:
    """The first images of the first and of the last evaluation, and no score."""
    for repeat in (0, request.repeats - 1):
        side = fakes.side(request.seed + repeat * fakes.num)
        next(iter(side.batches(range(side.num))))
    run: Any = SimpleNamespace(stamps={}, request=request, device=device, timings={"total": 0.0})
    return Report({}, reals.protocol | fakes.protocol | evaluate._circumstances(run), None, (), None), True


def _all_at_once(G: Any, latent_dim: int, labels: list[int], *rest: Any) -> torch.Tensor:
    return torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8)


def _no_network(*args: Any, **kwargs: Any) -> Any:
    raise UsageError("there is no network", "fetch it first")


WARM_UP = (
    *(["train"], ["resume", "run"], ["sample"], ["eval"], ["compare", "a.json", "b.json"]),
    *(["sample", "--interpolate", "1", "2", "--out", "a.gif"], ["sample", "--out", "a.npz"]),
    ["replay", "grid.png"],
)
STUBS = {
    "ganctl.train.train": _train,
    "ganctl.generate.all_at_once": _all_at_once,
    "ganctl.generate.MAX_IMAGES": 100_000,  # what is above is work, not parsing
    "ganctl.evaluate.evaluate": _evaluate,
    "ganctl.data.mnist.load": _no_network,
    "ganctl.data.cifar10.load": _no_network,
}


def _write_files(folder: Path) -> None:
    G = Generator(latent_dim=4, num_classes=10, channels=1, resolution=8, width=4)
    entry = snapshot.entry(
        config={},
        facts=DatasetFacts("digits", tuple("0123456789"), 1, 8, (120,) * 10),
        latent_dim=4,
        generator={"_target_": "ganctl.networks.dcgan.Generator", "width": 4},
        ema=dict(G.state_dict()),
        nimg=64,
        steps=1,
        wandb_id=None,
    )
    torch.save({"ganctl": entry}, folder / "good.ckpt")
    newest = folder / "runs" / "x" / "checkpoints" / "last.ckpt"
    newest.parent.mkdir(parents=True)
    shutil.copy(folder / "good.ckpt", newest)
    (folder / "runs" / "x" / "config.yaml").write_text("name: x\n")
    drawer = generator.Generator(checkpoint.read(folder / "good.ckpt"), torch.device("cpu"))
    asked = Product([1, 2], range(3))
    picture = sample.picture(drawer.snapshot, asked, Layout(3), torch.zeros(6, 1, 8, 8, dtype=torch.uint8))
    images.save_png(picture, folder / "grid.png", sample.provenance(drawer, asked, Layout(3)))
    (folder / "run").mkdir()
    (folder / "run" / "config.yaml").write_text(yaml.safe_dump(config.compose([]).model_dump()))
    protocol = {"data": "digits", "real": "x", "num_real": 2, "floor": "x", "num_gen": 2, "labels": "x"}
    protocol |= {"extractors": {}, "seed": 0, "device": "cpu", "versions": {}, "timings": {}}
    for name in "ab":
        metric = {"value": 1.0, "floor": 0.5}
        report = {"schema": 1, "metrics": {"nn_share_close": metric}, "protocol": protocol}
        (folder / f"{name}.json").write_text(json.dumps(report))


def run(words: list[str], folder: Path) -> SimpleNamespace:
    """One command line: `exit_code`, `stdout`, `stderr`, `exception`, CPU `seconds`; leaves no file."""
    logging.getLogger("ganctl").handlers = []  # a handler keeps the stream of the call that made it
    keep = {"good.ckpt", "grid.png", "a.json", "b.json", "run", "runs"}
    started = time.process_time()
    done = CliRunner().invoke(cli.app, words)
    seconds = time.process_time() - started
    for path in folder.iterdir():
        if path.name not in keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return SimpleNamespace(
        exit_code=done.exit_code,
        stdout=done.stdout,
        stderr=done.stderr,
        exception=done.exception,
        seconds=seconds,
    )


def complaint(done: SimpleNamespace) -> str | None:
    """What is wrong with how a command line was answered; None where nothing is."""
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return f"ended with the exception {done.exception!r}"
    if done.exit_code not in (0, 2):
        return f"exit code {done.exit_code}"
    if "Traceback" in done.stderr:
        return "a traceback"
    if done.seconds > CPU_SECONDS:
        return f"{done.seconds:.1f} s of CPU"
    shown = done.stdout + done.stderr.replace("\r", "\n")  # progress bars go back to the line's start
    if bad := sorted({c for c in shown if unicodedata.category(c) == "Cc" and c != "\n"}):
        return f"control characters on the terminal: {bad}"
    if done.exit_code == 0:
        return None
    if done.stdout:
        return "a result, although something was wrong"
    lines = shown.strip().split("\n")
    ours = [line[:7] for line in lines[-2:]] == ["Error: ", "Try:   "]
    # Of `--debug=0` the parser says only that the option takes no value.
    parsers = "Try 'ganctl" in shown or "Try 'root" in shown or "does not take a value" in lines[-1]
    if not ours and not (parsers and lines[-1].startswith("Error: ")):
        return "no line that says what is wrong, or none that says what would work"
    if max(map(len, lines)) > 4000:
        return "a line of more than four thousand characters"
    return None


def fuzz(cases: int, seed: int) -> Counter[str]:
    """Runs the cases; how many of each verb ended with which exit code.

    Raises:
        AssertionError: of the first wrong case, shrunk.
    """
    counts: Counter[str] = Counter()
    with stage() as folder:

        def each(words: list[str]) -> None:
            done = run(words, folder)
            counts[f"{words[0]}, exit code {done.exit_code}"] += 1
            problem = complaint(done)
            assert problem is None, f"{problem}\n{words!r:.2000}\n{done.stderr[-2000:]!r}"

        for done_before in range(0, cases, BLOCK):
            settings = hypothesis.settings(
                max_examples=min(BLOCK, cases - done_before),
                database=None,
                deadline=None,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            )
            block = hypothesis.given(commands())(each)
            hypothesis.seed(f"{seed}/{done_before}")(settings(block))()
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    started = time.monotonic()
    try:
        counts = fuzz(args.cases, args.seed)
    except AssertionError as error:
        sys.exit(f"wrong: {error}")
    for name, count in sorted(counts.items()):
        print(f"{name}: {count}")
    print(f"{counts.total()} cases in {time.monotonic() - started:.0f} s, none wrong")


if __name__ == "__main__":
    main()
