"""What goes to others of a generator: weights, card, report, picture; nothing else of its training."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from ganctl import checkpoint, images, model_card, recipe, runs
from ganctl import sample as sampling
from ganctl.report import ReportFile, read_report
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
    G = public.build(trust_code=trust_code)
    report_path = runs.outputs_of(ckpt, ".eval.json")
    report = _report_of(report_path, ckpt, snapshot)
    checkpoint.write(folder / WEIGHTS, public)
    picture = snapshot.facts.channels in (1, 3)
    if picture:
        _draw(snapshot, trust_code, folder / PICTURE)
    if report is not None:
        shutil.copyfile(report_path, folder / REPORT)
    card = model_card.card(public, G, report, license_name, picture)
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


def _draw(snapshot: Snapshot, trust_code: bool, path: Path) -> None:
    """A column of eight for each label, of twelve labels at most; a square without labels."""
    facts = snapshot.facts
    scale = max(1, 56 // facts.resolution)
    fitting = max(1, MAX_SHEET // facts.resolution)
    columns = min(facts.num_classes, 12, fitting)
    labels = [i * facts.num_classes // columns for i in range(columns)] or [0]
    seeds = range(min(8, fitting) ** (1 if facts.num_classes else 2))
    pixels = sampling.sample(snapshot, labels, seeds, torch.device("cpu"), trust_code=trust_code)
    if facts.num_classes:
        by_seed = pixels.unflatten(0, (len(labels), len(seeds))).transpose(0, 1).flatten(0, 1)
        picture = images.class_grid(by_seed, [facts.label_names[y] for y in labels], scale)
    else:
        picture = images.enlarged_grid(pixels, min(8, fitting), scale)
    images.save_png(picture, path, sampling.provenance(snapshot, labels, seeds))
