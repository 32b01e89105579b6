"""`data=npz`: an `.npz` of the user's own, as `ganctl data prepare` or `numpy.savez` writes it.

Its headers are believed only where they agree with the file. Its images stay in it, mapped, unless they are
packed or lie column by column; its content is checked against the digest that `prepare` noted.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from ganctl import atomic, npz, progress
from ganctl.data.dataset import Dataset, ImageSet, MappedImageSet
from ganctl.data.family import Family, Outline, count
from ganctl.data.image_file import ImageFile, open_file
from ganctl.data.source import Source
from ganctl.errors import UsageError, printable
from ganctl.fetch import cache_dir

log = logging.getLogger("ganctl")

ARRAYS = ("images", "labels", "split")  # in the order of the digest


def name_of(kind: str, path: Path) -> str:
    """`npz:birds`, of a file or folder: it can be no bundled set's, and be printed."""
    return f"{kind}:{printable(path.resolve().stem)[:100]}"


def dataset(path: Path, name: str, val_size: int | None, val_seed: int) -> Dataset:
    """The set in a file, under this name; training and test images stay in the file where they can.

    Raises:
        UsageError: it cannot be read, is altered, or is no set of images.
    """
    file = open_file(path)
    train, val = file.cut(name, val_size, val_seed)
    digest = verified_digest(file)
    labels = torch.zeros(file.images.shape[0], dtype=torch.int64) if file.labels is None else file.labels
    if file.images.offset is None:
        log.info("%s is packed: its images are read into memory", path)
        (values,) = npz.read(path, ("images",))
        whole = torch.from_numpy(np.ascontiguousarray(values)).permute(0, 3, 1, 2).contiguous()
        held = ImageSet(whole, labels)
        parts = [held.subset(places) for places in (train, val, file.test)]
    else:
        rows = torch.from_numpy(npz.mapped(path, file.images))
        mapped = MappedImageSet(rows, torch.arange(len(rows)), labels)
        parts = [mapped.only(train), mapped.subset(val), mapped.only(file.test)]
    counts = count(parts[0].labels, file.label_names)
    facts = file.facts(name, counts, digest)
    return Dataset(facts, parts[0], parts[1], parts[2], held_out=file.held_out)


def outline(path: Path, name: str, val_size: int | None, val_seed: int) -> Outline:
    """What `dataset` would give. The images are neither read nor verified.

    Raises:
        UsageError: as `dataset`, but for images that are altered.
    """
    file = open_file(path)
    train, val = file.cut(name, val_size, val_seed)
    facts = file.facts(name, (), file.noted)
    return Outline(facts, len(train), len(val), len(file.test), path, mapped=file.images.offset is not None)


def verified_digest(file: ImageFile) -> str:
    """SHA-256 over the bytes of images, labels and split: read once, and known until the file changes.

    Raises:
        UsageError: the file is damaged, or not what it notes.
    """
    state = file.path.stat()
    key = f"{file.path.resolve()} {state.st_size} {state.st_mtime_ns}"
    memo = cache_dir() / "digests" / hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
    with suppress(OSError, ValueError):
        known = memo.read_text(encoding="ascii")
        if len(known) == 64 and int(known, 16) >= 0 and file.noted in ("", known):
            return known
    sha = hashlib.sha256()
    present = npz.headers(file.path)
    names = [name for name in ARRAYS if name in present]
    total = sum(present[name].num_bytes for name in names)
    with progress.bar(total, "B", f"checking {file.path.name}", unit_scale=True) as bar:
        for name in names:
            for block in npz.chunks(file.path, name):
                sha.update(block)
                bar.update(len(block))
    digest = sha.hexdigest()
    if file.noted not in ("", digest):
        raise UsageError(
            f"{file.path} is altered: its content is not that which it was written with",
            "remove it, and prepare it again",
        )
    with suppress(OSError):  # only a memory of what can be read again
        atomic.write(memo, lambda handle: handle.write(digest.encode()), sync=False)
    return digest


# -- as a family -------------------------------------------------------------------------------------------


def _path(source: Source) -> Path:
    if source.root is None:
        raise UsageError("data=npz needs a file", "give data.root=FILE.npz")
    return source.root


def _load(source: Source, val_size: int | None, val_seed: int) -> Dataset:
    path = _path(source)
    return dataset(path, name_of("npz", path), val_size, val_seed)


def _outline(source: Source, val_size: int | None, val_seed: int) -> Outline:
    path = _path(source)
    return outline(path, name_of("npz", path), val_size, val_seed)


def _fetch(force: bool) -> Path:
    raise UsageError("npz is a file of your own: there is nothing to fetch", "train with data.root=FILE.npz")


FAMILY = Family(
    _load,
    _outline,
    _fetch,
    label_fix="prepare it with labels (one sub-folder per class, a labels.csv or a metadata.jsonl), write an "
    "array 'labels', or train without any: data.conditional=false",
)
