"""`data=folder`: pictures of the user's own, prepared once into the user's cache and then read as `npz_file`
reads any file."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch

from ganctl.data import npz_file, pictures
from ganctl.data.dataset import Dataset, DatasetFacts
from ganctl.data.decode import Recipe
from ganctl.data.family import Family, Outline, cut_own
from ganctl.data.prepare import listing_digest, prepare
from ganctl.data.source import Source
from ganctl.data.split import test_places
from ganctl.data.tree import open_tree
from ganctl.errors import UsageError
from ganctl.fetch import cache_dir, exclusive

log = logging.getLogger("ganctl")

WAIT_S = 86_400.0  # for another process that prepares the same pictures


def prepared(root: Path, recipe: Recipe) -> Path:
    """The file in the cache that these pictures become, whether it is there or not; pictures that were added,
    changed or taken away make it another one."""
    return cache_dir() / "data" / "folders" / listing_digest(root, recipe)[:32] / "images.npz"


def _load(source: Source, val_size: int | None, val_seed: int) -> Dataset:
    root, recipe = _asked(source)
    file = prepared(root, recipe)
    if not file.is_file():
        with exclusive(file.parent, "preparing pictures in", WAIT_S):
            if not file.is_file():
                log.info("preparing the pictures of %s", root)
                done = prepare(root, file, recipe)
                log.info("%d images, prepared once, are now in %s", done.num_images, file)
    log.debug("%s is prepared in %s", root, file)
    return npz_file.dataset(file, npz_file.name_of("folder", root), val_size, val_seed)


def _outline(source: Source, val_size: int | None, val_seed: int) -> Outline:
    """Of pictures that are not prepared yet by their listing: one that cannot be read is counted."""
    root, recipe = _asked(source)
    name, file = npz_file.name_of("folder", root), prepared(root, recipe)
    if file.is_file():
        return npz_file.outline(file, name, val_size, val_seed)
    with open_tree(root) as tree:
        listing = pictures.find(tree)
    num = len(listing.pictures)
    labels = None if listing.labels is None else np.array(listing.labels)
    is_test = np.zeros(num, bool) if listing.is_test is None else np.array(listing.is_test)
    if listing.is_test is None:
        is_test[test_places(labels, num)] = True
    train_labels = None if labels is None else torch.from_numpy(labels[~is_test])
    num_test = int(is_test.sum())
    kept, held_out = cut_own(name, num - num_test, train_labels, val_size, val_seed)
    facts = DatasetFacts(name, listing.label_names, recipe.channels, recipe.resolution, class_counts=())
    return Outline(facts, len(kept), len(held_out), num_test, place=None, mapped=True)


def _asked(source: Source) -> tuple[Path, Recipe]:
    if source.root is None:
        raise UsageError("data=folder needs a folder", "give data.root=DIR, or a zip of it")
    if source.resolution is None:
        raise UsageError(
            "data=folder needs to know the size of the images", "give data.resolution=64, or another"
        )
    return source.root, Recipe(source.resolution, source.crop, source.channels)


def _fetch(force: bool) -> Path:
    raise UsageError(
        "folder is one of your own: there is nothing to fetch", "train with data.root=DIR data.resolution=64"
    )


FAMILY = Family(
    _load,
    _outline,
    _fetch,
    label_fix="give it one sub-folder per class, a labels.csv or a metadata.jsonl, or train without labels: "
    "data.conditional=false",
)
