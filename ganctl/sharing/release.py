"""What goes to others of a generator: weights, card, report, picture; nothing else of its training."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from ganctl import checkpoint, images, runs
from ganctl import sample as sampling
from ganctl.generator import Generator
from ganctl.report import ReportFile, read_report
from ganctl.sharing import model_card, recipe
from ganctl.snapshot import Snapshot

log = logging.getLogger("ganctl")

FILES = WEIGHTS, CARD, REPORT, PICTURE = "model.safetensors", "README.md", "eval.json", "samples.png"
MAX_SHEET = 4096  # pixels of a side of the picture, where images are not larger


def write(
    folder: Path, ckpt: Path, snapshot: Snapshot, license_name: str | None, trust_code: bool
) -> list[str]:
    """Writes the files into an empty folder.

    Args:
        ckpt: the file of the snapshot: beside it lies the report of its evaluation.

    Returns:
        Those of `FILES` that there are: a report may be missing, and a picture of other than grey or RGB
        images.
    """
    public = replace(snapshot, config=recipe.effective(snapshot.config), wandb_id=None)
    generator = Generator(public, torch.device("cpu"), trust_code=trust_code)
    report_path = runs.outputs_of(ckpt, ".eval.json")
    report = _report_of(report_path, ckpt, snapshot)
    checkpoint.write(folder / WEIGHTS, public)
    picture = snapshot.facts.channels in (1, 3)
    if picture:
        _draw(generator, folder / PICTURE)
    if report is not None:
        shutil.copyfile(report_path, folder / REPORT)
    card = model_card.card(public, generator.network, report, license_name, picture)
    (folder / CARD).write_text(card, encoding="utf-8")
    return [name for name in FILES if (folder / name).exists()]


def _report_of(path: Path, ckpt: Path, snapshot: Snapshot) -> ReportFile | None:
    """The report that `ganctl eval` has left beside the checkpoint, if it is of these weights."""
    if not path.is_file():
        log.info("no scores: ganctl eval --ckpt %s makes %s", ckpt, path)
        return None
    report = read_report(path)
    if report.protocol.checkpoint != snapshot.digest:
        log.warning("%s is of other weights and is left out", path)
        return None
    return report


def _draw(generator: Generator, path: Path) -> None:
    """A row of eight for each label, of twelve labels at most; a square without labels."""
    scale = max(1, 56 // generator.resolution)
    fitting = max(1, MAX_SHEET // generator.resolution)
    rows = min(generator.num_classes, 12, fitting)
    labels = [i * generator.num_classes // rows for i in range(rows)] or [0]
    seeds = range(min(8, fitting) ** (1 if rows else 2))
    asked = sampling.Product(labels, seeds)
    layout = sampling.grid_of(asked, captions=bool(rows), scale=scale)
    drawn = sampling.pixels(generator, asked)
    picture = sampling.picture(generator.snapshot, asked, layout, drawn)
    images.save_png(picture, path, sampling.provenance(generator, asked, layout))
