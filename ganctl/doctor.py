"""What this machine has of all that ganctl uses. Nothing is fetched, no server is asked."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from packaging.requirements import Requirement

from ganctl import requirements, wording
from ganctl.errors import GanctlError
from ganctl.fetch import cache_dir, sha256
from ganctl.runs import RunFolder

if TYPE_CHECKING:
    from ganctl.config_schema import Config

# Two checkpoints of the largest shipped network and the rows of a long training take less; others take more.
LITTLE_BYTES, SOME_BYTES = 200_000_000, 2_000_000_000
SHARED_BYTES = 1 << 30  # NCCL takes some MiB a pair of GPUs; containers have 64 MiB by default

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        level: `problem` keeps `ganctl train` without arguments from working; `note` something else.
        fix: what would work.
    """

    what: str
    level: Level
    said: str
    fix: str = ""


def examine() -> list[Finding]:
    """Looks at everything, in about five seconds."""
    from ganctl import progress

    found: list[Finding] = []
    with progress.bar(len(_CHECKS), "check") as bar, warnings.catch_warnings(action="ignore"):
        for what, check, needed in _CHECKS:
            try:
                found += check()
            except GanctlError as error:
                found.append(Finding(what, "problem" if needed else "note", error.what, error.fix))
            except Exception as error:
                first = (str(error).strip() or "no message").splitlines()[0]
                found.append(
                    Finding(what, "problem" if needed else "note", f"{type(error).__name__}: {first}")
                )
            bar.update()
    return found


def table(found: list[Finding]) -> str:
    """A line for each finding, a second one for what would work, and what follows from them."""
    rows = []
    for f in found:
        rows.append([f.level, f.what, f.said])
        if f.fix:
            rows.append(["", "", f"try: {f.fix}"])
    problems = sum(f.level == "problem" for f in found)
    end = f"{problems} to be solved before ganctl train can work" if problems else "ganctl train can start"
    return f"{wording.columns(rows)}\n{end}"


# -- Python and its packages -------------------------------------------------------------------------------


def _python() -> Iterator[Finding]:
    try:
        wanted = metadata.metadata("ganctl")["Requires-Python"] or ""
    except metadata.PackageNotFoundError:
        wanted = ""
    said = f"{platform.python_version()} on {platform.platform()}"
    fits = Requirement(f"python{wanted}").specifier.contains(platform.python_version(), prereleases=True)
    fix = "" if fits else f"make an environment with Python {wanted}"
    yield Finding("python", "ok" if fits else "problem", said, fix)


def _packages() -> Iterator[Finding]:
    wanted = requirements.of("")
    missing = {str(r): said for r in wanted if (said := requirements.missing(r)) is not None}
    for requirement, said in missing.items():
        yield Finding("packages", "problem", said, f"pip install '{requirement}'")
    if not wanted:
        yield Finding(
            "packages", "note", "ganctl is not installed: versions are not compared", "pip install ."
        )
    elif not missing:
        shown = ", ".join(
            f"{name} {metadata.version(name)}" for name in ("torch", "pytorch-lightning", "wandb")
        )
        yield Finding(
            "packages", "ok", f"all {len(wanted)} as ganctl {metadata.version('ganctl')} asks; {shown}"
        )
    for name in ("torch", "torchvision", "pytorch_lightning"):
        try:
            importlib.import_module(name)
        except Exception as error:  # builds that do not fit each other raise anything
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            fix = "install torch and torchvision of one index: their builds must fit each other"
            yield Finding("packages", "problem", f"{name} cannot be imported: {first}", fix)


def _extras() -> Iterator[Finding]:
    names = metadata.metadata("ganctl").get_all("Provides-Extra") if requirements.asked() else None
    for extra in sorted(set(names or ()) - {"dev"}):
        missing = [said for r in requirements.of(extra) if (said := requirements.missing(r)) is not None]
        if missing:
            yield Finding(f"extra {extra}", "note", ", ".join(missing), f"pip install 'ganctl[{extra}]'")
        else:
            shown = ", ".join(f"{r.name} {metadata.version(r.name)}" for r in requirements.of(extra))
            yield Finding(f"extra {extra}", "ok", shown)


# -- what it runs on ---------------------------------------------------------------------------------------


def _defaults() -> Config:
    from ganctl import config

    return config.compose([])


def _configuration() -> Iterator[Finding]:
    from ganctl import config_tree

    cfg = _defaults()
    yield Finding(
        "configuration", "ok", f"data={cfg.data.name} loss={cfg.loss.name} …, of {config_tree.conf_dir()}"
    )


def _processor() -> Iterator[Finding]:
    import torch

    from ganctl import build

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = f"{allowed} of {os.cpu_count()} cores, {torch.get_num_threads()} of PyTorch's threads"
    yield Finding("processor", "ok", cores)
    yield from _load(allowed or 1, torch.get_num_threads())
    precision = build.resolve_precision(_defaults()).trainer.precision
    said = "bf16: this machine multiplies in it" if precision == "bf16" else "32: bf16 would be emulated here"
    yield Finding("precision", "ok", f"trainer.precision=auto is {said}")


def _load(allowed: int, threads: int) -> Iterator[Finding]:
    """Threads that share a core wait for each other, awake, at every operation."""
    load, cores = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0, os.cpu_count() or 1
    free = max(1, min(allowed, cores - round(load)))
    if threads > free:
        said = f"{load:.1f} on {cores} cores, {allowed} of them ours: {threads} threads wait for each other"
        yield Finding("load", "note", said, f"OMP_NUM_THREADS={free} ganctl train …")


def _devices() -> Iterator[Finding]:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for i in range(count):
        of = torch.cuda.get_device_properties(i)
        yield Finding(f"GPU {i}", "ok", f"{of.name}, {wording.size(of.total_memory)}")
    if count > 1 and Path("/dev/shm").is_dir():
        free = shutil.disk_usage("/dev/shm").free
        fix = (
            ""
            if free >= SHARED_BYTES
            else "start the container with --shm-size=1g, or set NCCL_SHM_DISABLE=1"
        )
        yield Finding("shared memory", "note" if fix else "ok", f"{wording.size(free)} free in /dev/shm", fix)
    if torch.backends.mps.is_available():
        yield Finding("MPS", "ok", "Apple's GPU")
    elif not count and shutil.which("nvidia-smi"):
        built = f"was built for CUDA {torch.version.cuda}" if torch.version.cuda else "was built without CUDA"
        fix = "install the torch that fits the driver: https://pytorch.org/get-started/locally"
        yield Finding("GPU", "note", f"there is an NVIDIA driver, but torch, which {built}, sees no GPU", fix)
    elif not count:
        yield Finding("GPU", "ok", "none: the CPU does the work")


# -- data and weights --------------------------------------------------------------------------------------


def _data(name: str, missing: Level) -> Callable[[], Iterator[Finding]]:
    def check() -> Iterator[Finding]:
        from ganctl import data

        place = data.outline(data.Source(name)).place
        if place is not None:
            yield Finding(name, "ok", f"verified, {place}")
        else:
            yield Finding(name, missing, "not on this machine", f"ganctl data fetch {name}")

    return check


def _inception() -> Iterator[Finding]:
    from ganctl.metrics import inception_weights

    found = inception_weights.find()
    if found is None:
        fix = "ganctl data fetch inception"
        yield Finding("inception", "note", "not on this machine; FID and KID need it", fix)
    else:
        rest = "" if found.has_fc else "; without last layer: no Inception Score"
        yield Finding("inception", "ok", f"verified, {found.path}{rest}")


def _assets() -> Iterator[Finding]:
    from ganctl.metrics.classifier import ASSETS

    cards = sorted(ASSETS.glob("*.md"))
    wrong = []
    for card in cards:
        said = card.read_text(encoding="utf-8")
        digests = [sha256(file) for file in ASSETS.glob(f"{card.stem}.*") if file != card]
        if not any(digest in said for digest in digests):
            wrong.append(card.stem)
    if wrong or not cards:
        said = f"{', '.join(wrong) or 'all'} in {ASSETS} missing, or other than the cards say"
        yield Finding("bundled files", "problem", said, "install ganctl again")
    else:
        yield Finding("bundled files", "ok", f"{len(cards)} verified, {ASSETS}")


# -- where things go ---------------------------------------------------------------------------------------


def _wandb() -> Iterator[Finding]:
    from ganctl import loggers, wandb_logger

    spec = _defaults().logger
    loggers.check(spec.model_dump())
    if spec.wandb is None:
        yield Finding("W&B", "ok", "off by default")
        return
    mode = wandb_logger.resolve_mode(spec.wandb.mode, os.environ, wandb_logger.has_key)
    if os.environ.get("WANDB_MODE"):
        why = f"as WANDB_MODE={os.environ['WANDB_MODE']} says"
    else:
        why = "there is a key" if mode == "online" else "there is no key; wandb login, or wandb sync later"
    yield Finding("W&B", "ok", f"{mode}: {why}")


def _runs() -> Iterator[Finding]:
    yield from _folder("runs", Path(_defaults().run.root), "choose another with run.root=DIR", "problem")


def _cache() -> Iterator[Finding]:
    yield from _folder("cache", cache_dir(), "set GANCTL_CACHE_DIR to a folder that can be written", "note")


def _folder(what: str, folder: Path, fix: str, worst: Level) -> Iterator[Finding]:
    """Whether a folder, or the one in which it would be made, can be written, has room, and knows locks."""
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    said = f"{folder}, {wording.size(free)} free"
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=there) as made:
            probe = RunFolder(Path(made))
            with probe.locked():
                locks = probe.training
    except OSError as error:
        yield Finding(what, worst, f"{folder} cannot be written: {error.strerror}", fix)
        return
    if free < LITTLE_BYTES:
        yield Finding(what, worst, said, f"ganctl clean, make room, or {fix}")
    elif free < SOME_BYTES:
        yield Finding(what, "note", said, "ganctl clean shows what can go")
    elif not locks:
        yield Finding(what, "note", f"{said}; no file locks: two trainings in one folder go unnoticed")
    else:
        yield Finding(what, "ok", f"{said}, file locks work")


# What is looked at, and whether a training without arguments needs it.
_CHECKS: tuple[tuple[str, Callable[[], Iterator[Finding]], bool], ...] = (
    ("python", _python, True),
    ("packages", _packages, True),
    ("configuration", _configuration, True),
    ("processor", _processor, True),
    ("GPU", _devices, False),
    ("mnist", _data("mnist", "problem"), True),
    ("fashion", _data("fashion", "note"), False),
    ("digits", _data("digits", "note"), False),
    ("inception", _inception, False),
    ("bundled files", _assets, True),
    ("W&B", _wandb, True),
    ("runs", _runs, True),
    ("cache", _cache, False),
    ("extras", _extras, False),
)
