"""Any number of images as one array, in constant memory; an interrupted call goes on with the same arguments.

It grows in `OUT.part`, unpacked, beside `OUT.part.json`, which says what is asked for and how far it is. An
`.npz` is packed when all images are there.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import logging
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from torch import Tensor

from ganctl import atomic, collectives, generate, progress
from ganctl.errors import UsageError
from ganctl.generator import Generator
from ganctl.sample import Layout, Product, provenance

log = logging.getLogger("ganctl")

NOTED_EVERY_S = 10.0  # so much of the drawing a power cut costs
COPY_BYTES = 1 << 20


def write(
    generator: Generator,
    asked: Product,
    out: Path,
    kind: str,
    *,
    batch_size: int = 1024,
    force: bool = False,
) -> None:
    """The images as one array; every rank draws, rank 0 writes.

    `.npy`: uint8 (N, H, W, C). `.npz`: `images` of the same form, `labels` int64 (N,) where there are any,
    `seeds` int64 (N,).

    Args:
        kind: `.npy` or `.npz`.
        force: begin anew, whatever an interrupted call left.

    Raises:
        UsageError: what an interrupted call left is of other arguments; the disk is too small, or cannot be
            written.
    """
    growing = _Growing(generator, asked, out, packed=kind == ".npz")
    with contextlib.ExitStack() as stack:
        is_first = collectives.place()[0] == 0
        done = collectives.from_first(lambda: growing.open(stack, force))
        try:
            with progress.bar(len(asked), "img", initial=done) as bar:
                for start in range(done, len(asked), batch_size):
                    number = min(batch_size, len(asked) - start)
                    own = [asked[start + i] for i in collectives.share(number, generate.MICRO_BATCH)]
                    whole = collectives.gather(generator.draw(own, truncation=asked.truncation))
                    collectives.from_first(functools.partial(growing.append, whole))
                    bar.update(number)
            collectives.from_first(growing.finish)
        except KeyboardInterrupt:
            if is_first:
                growing.note()
                log.warning(
                    "interrupted: %d of %d images are in %s; the same command goes on",
                    *(growing.done, len(asked), growing.part),
                )
            raise


class _Growing:
    """`OUT.part` and what is written beside it. Of rank 0."""

    def __init__(self, generator: Generator, asked: Product, out: Path, packed: bool) -> None:
        self.out, self.asked, self.packed = out, asked, packed
        self.part, self.noted = out.with_name(f"{out.name}.part"), out.with_name(f"{out.name}.part.json")
        self.has_labels = generator.num_classes > 0
        side = generator.resolution
        self.shape = (len(asked), side, side, generator.channels)
        self.arguments = provenance(generator, asked, Layout()) | {"shape": list(self.shape)}
        self.image_bytes = side * side * generator.channels
        self.done = 0
        self._last_note = 0.0
        self._file: IO[bytes]

    def open(self, stack: contextlib.ExitStack, force: bool) -> int:
        """Begins, or goes on: how many images are there already."""
        with self._explained():
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.part, "r+b" if self.part.exists() else "x+b")
            stack.callback(self._close)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"another process is writing {self.part}", "wait for its end, or stop it"
                ) from None
            except OSError:
                pass  # not every file system has locks
            if force:
                self._file.truncate(0)
            size = os.fstat(self._file.fileno()).st_size
            if size:
                self.done = self._found(size)
            else:
                np.lib.format.write_array_header_1_0(
                    self._file, {"descr": "|u1", "fortran_order": False, "shape": self.shape}
                )
                self._header_bytes = self._file.tell()
                self._require_space()
                self.note()
            self._file.seek(self._header_bytes + self.done * self.image_bytes)
            self._file.truncate()
            return self.done

    def _found(self, size: int) -> int:
        """How many images an interrupted call left.

        Raises:
            UsageError: of other arguments, or it is not known of which.
        """
        fix = f"give the arguments it was started with, or begin anew with --force ({self.part} is lost then)"
        try:
            with open(self.noted, "rb") as file:
                noted = json.loads(file.read(COPY_BYTES * 64))
            arguments, done = noted["arguments"], noted["done"]
            np.lib.format.read_magic(self._file)
            header = np.lib.format.read_array_header_1_0(self._file)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(f"it is not known what {self.part} is a part of", fix) from error
        if arguments != self.arguments:
            known = arguments if isinstance(arguments, dict) else {}
            key = next((k for k in self.arguments if known.get(k) != self.arguments[k]), "arguments")
            raise UsageError(
                f"{self.part} is the beginning of something else: another {key.removeprefix('ganctl:')}", fix
            )
        self._header_bytes = self._file.tell()
        most = (size - self._header_bytes) // self.image_bytes
        if header[0] != self.shape or type(done) is not int or not 0 <= done <= min(most, len(self.asked)):
            raise UsageError(f"{self.part} is damaged", fix)
        return done

    def _require_space(self) -> None:
        wanted, free = self.shape[0] * self.image_bytes, shutil.disk_usage(self.part.parent).free
        if wanted > free:
            self.part.unlink()
            raise UsageError(
                f"{self.shape[0]:,} images take {wanted / 2**30:.3g} GiB, and {self.part.parent} has "
                f"{free / 2**30:.3g}",
                "ask for fewer images, or write them elsewhere",
            )

    def _close(self) -> None:
        with contextlib.suppress(OSError):  # of a full disk it was said before
            self._file.close()

    def append(self, drawn: Tensor | None) -> None:
        """(n, C, H, W) uint8: the next images."""
        assert drawn is not None
        with self._explained():
            self._file.write(drawn.permute(0, 2, 3, 1).contiguous().numpy().data)
        self.done += len(drawn)
        if time.monotonic() - self._last_note > NOTED_EVERY_S:
            self.note()

    def note(self) -> None:
        """Writes down how far it is, once the images are on the disk."""
        with self._explained():
            self._file.flush()
            os.fsync(self._file.fileno())
        text = json.dumps({"arguments": self.arguments, "done": self.done})
        atomic.write_output(self.noted, lambda file: file.write(text.encode()))
        self._last_note = time.monotonic()

    def finish(self) -> None:
        """The parts become the whole."""
        self.note()
        with self._explained():
            if self.packed:
                atomic.write(self.out, self._pack)
                self.part.unlink()
            else:
                atomic.move(self.part, self.out)
            self.noted.unlink()

    def _pack(self, file: IO[bytes]) -> None:
        """As `numpy.savez_compressed` does, but piece by piece, and the same bytes every time."""
        asked, per_label = self.asked, len(self.asked.seeds)
        size = self.shape[0] * self.image_bytes
        bar = progress.bar(size, "B", f"packing {self.out.name}", unit_scale=True)
        with zipfile.ZipFile(file, "w") as archive, bar:
            with _member(archive, "images.npy") as member:
                self._file.seek(0)
                while piece := self._file.read(COPY_BYTES):
                    member.write(piece)
                    bar.update(len(piece))
            columns: dict[str, Callable[[int], Any]] = {
                "labels": lambda label: np.full(per_label, label, dtype=np.int64),
                "seeds": lambda label: np.asarray(asked.seeds, dtype=np.int64),
            }
            for name in ["labels", "seeds"] if self.has_labels else ["seeds"]:
                with _member(archive, f"{name}.npy") as member:
                    header = {"descr": "<i8", "fortran_order": False, "shape": (len(asked),)}
                    np.lib.format.write_array_header_1_0(member, header)
                    for label in asked.labels:
                        member.write(columns[name](label).tobytes())

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"cannot write {self.part}: {error.strerror or error}", "choose a place you can write to"
            ) from error


@contextlib.contextmanager
def _member(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    info = zipfile.ZipInfo(name)  # of 1980: the date would change the bytes
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o600 << 16
    with archive.open(info, "w", force_zip64=True) as member:
        yield member
