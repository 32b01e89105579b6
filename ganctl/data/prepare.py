"""A folder of pictures -> one file of images of one size, decoded once."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np

from ganctl import __version__, atomic, progress
from ganctl.data import pictures, prepared_file
from ganctl.data.decode import Recipe, decode
from ganctl.data.pictures import Listing
from ganctl.data.split import test_places
from ganctl.data.tree import Tree, UnreadableError, open_tree
from ganctl.errors import UsageError, printable
from ganctl.growing import Growing

log = logging.getLogger("ganctl")

PIXELS = 1  # counts the changes after which the same picture gives other pixels
AHEAD = 4  # pictures in work or waiting to be written, of each worker


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A file that `prepare` has written.

    Args:
        num_images, num_test: all, and those to test with.
        class_counts: images of each of `label_names`.
        unreadable: (name, reason) of the pictures left out, which `list_of_unreadable` lists too.
        digest: SHA-256 in hex over images, labels and split.
    """

    path: Path
    num_images: int
    num_test: int
    label_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    unreadable: tuple[tuple[str, str], ...]
    digest: str


def listing_digest(src: Path, recipe: Recipe) -> str:
    """Names what `prepare` would make, without decoding: SHA-256 in hex over the names, sizes and times of
    the pictures, their labels and parts, and the recipe.

    Raises:
        UsageError: as `prepare`, of what can be seen without decoding.
    """
    with open_tree(src) as tree:
        return _digest(pictures.find(tree), recipe)


def list_of_unreadable(out: Path) -> Path:
    """Where the pictures are listed that could not be used."""
    return out.with_name(f"{out.name}.unreadable.txt")


def prepare(
    src: Path, out: Path, recipe: Recipe, *, workers: int | None = None, force: bool = False
) -> Prepared:
    """Decodes all pictures of a folder or zip into one file; an interrupted call goes on where it was.

    The same pictures give the same bytes, whatever `workers` is and however often it was interrupted.

    Args:
        workers: threads that decode; by default one for each core.
        force: replace `out`.

    Raises:
        UsageError: `out` exists; no pictures, or such whose labels don't make sense; a class none of whose
            pictures can be read; a disk that is too small, or cannot be written.
    """
    atomic.require_absent(out, force)
    atomic.require_writable(out)
    with open_tree(src) as tree, contextlib.ExitStack() as stack:
        listing = pictures.find(tree)
        for notice in listing.notices:
            log.warning("%s", notice)
        image_bytes = recipe.resolution**2 * recipe.channels
        num = len(listing.pictures)
        growing = Growing(
            out,
            b"",
            image_bytes,
            num,
            {"pictures": _digest(listing, recipe)},
            needs=2 * num * image_bytes,  # for a moment there are the part and the whole
            replaces=True,
        )
        done = growing.open(stack)
        unreadable: dict[str, str] = growing.beside.setdefault("unreadable", {})
        if done:
            log.info("going on with %s: %d of %d pictures are there", growing.part, done, num)
        try:
            _decode_all(tree, listing, recipe, growing, workers or _cores())
        except KeyboardInterrupt:
            growing.note()
            log.warning(
                "interrupted: %d of %d pictures are in %s; the same command goes on",
                *(growing.done, num, growing.part),
            )
            raise
        kept = np.array([i for i, path in enumerate(listing.pictures) if path not in unreadable], np.int64)
        try:
            _require_enough(listing, kept, unreadable)
            labels = None if listing.labels is None else np.array(listing.labels, np.int64)[kept]
            split = _split(listing, kept, labels)
        except UsageError:
            growing.discard()  # going on would end here again
            raise
        _list(out, unreadable)
        digest = ""

        def write(file: IO[bytes]) -> None:
            nonlocal digest
            shape = (recipe.resolution, recipe.resolution, recipe.channels)
            named = None if labels is None else (labels, listing.label_names)
            about = dataclasses.asdict(recipe) | {"source": listing.name, "ganctl": __version__}
            digest = prepared_file.write(file, growing.part, kept, shape, named, split, about)

        growing.finish(write)
    counts = () if labels is None else tuple(np.bincount(labels, minlength=len(listing.label_names)).tolist())
    return Prepared(
        out, len(kept), int(split.sum()), listing.label_names, counts, tuple(unreadable.items()), digest
    )


def _digest(listing: Listing, recipe: Recipe) -> str:
    text = json.dumps([prepared_file.FORMAT, PIXELS, listing.digest, dataclasses.asdict(recipe)])
    return hashlib.sha256(text.encode()).hexdigest()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decode_all(tree: Tree, listing: Listing, recipe: Recipe, growing: Growing, workers: int) -> None:
    """Appends all pictures that are missing, in their order; a black one where one is unreadable."""
    rest = listing.pictures[growing.done :]
    black = bytes(growing.row_bytes)
    # Threads: PIL decodes and resizes without Python's lock. Warnings are silenced for all of them at once.
    with (
        ThreadPoolExecutor(workers, "decode") as pool,
        progress.bar(len(listing.pictures), "img", f"preparing {listing.name}", initial=growing.done) as bar,
        warnings.catch_warnings(action="ignore"),
    ):
        try:
            work = functools.partial(_decoded, tree, recipe)
            for path, image in zip(rest, _in_order(pool, work, rest, AHEAD * workers), strict=True):
                if isinstance(image, str):
                    growing.beside["unreadable"][path] = image
                    growing.append(black, 1)
                else:
                    growing.append(image, 1)
                bar.update()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _in_order(
    pool: ThreadPoolExecutor, work: functools.partial[bytes | str], items: Sequence[str], ahead: int
) -> Iterator[bytes | str]:
    """As `pool.map`, but with no more than `ahead` results waiting."""
    waiting: collections.deque[Future[bytes | str]] = collections.deque()
    for item in items:
        if len(waiting) == ahead:
            yield waiting.popleft().result()
        waiting.append(pool.submit(work, item))
    while waiting:
        yield waiting.popleft().result()


def _decoded(tree: Tree, recipe: Recipe, path: str) -> bytes | str:
    """The pixels of a picture, or why there are none."""
    try:
        return decode(tree.read(path), recipe).tobytes()
    except UnreadableError as error:
        return " ".join(str(error).split())[:200]


def _require_enough(listing: Listing, kept: np.ndarray, unreadable: dict[str, str]) -> None:
    """Two pictures at least, and one of each class to train on."""
    first = next((f"{path} ({reason})" for path, reason in unreadable.items()), "")
    fix = "add pictures that can be read, or take the rest out"
    if len(kept) < 2:
        raise UsageError(
            f"{len(unreadable)} of {len(listing.pictures)} pictures cannot be read: {first}", fix
        )
    is_test = np.array(listing.is_test or [False] * len(listing.pictures))
    for tests in (False, True) if listing.is_test else (False,):
        if not (is_test[kept] == tests).any():
            part = "test with" if tests else "train on"
            raise UsageError(f"none of the pictures to {part} can be read: {first}", fix)
    if listing.labels is not None:
        trained = {listing.labels[i] for i in kept[~is_test[kept]]}
        for label, name in enumerate(listing.label_names):
            if label not in trained:
                raise UsageError(f"none of the pictures of the class {name} can be read: {first}", fix)


def _split(listing: Listing, kept: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """(N,) uint8: 1 for the pictures to test with."""
    if listing.is_test is not None:
        return np.array(listing.is_test, np.uint8)[kept]
    split = np.zeros(len(kept), np.uint8)
    split[test_places(labels, len(kept))] = 1
    return split


def _list(out: Path, unreadable: dict[str, str]) -> None:
    """Lists the pictures that are left out; an older list does not stay."""
    place = list_of_unreadable(out)
    if not unreadable:
        place.unlink(missing_ok=True)
        return
    text = "".join(f"{printable(path)}\t{reason}\n" for path, reason in unreadable.items())
    atomic.write_output(place, lambda file: file.write(text.encode()))
    log.warning("left out: %d pictures that cannot be read, listed in %s", len(unreadable), place)
