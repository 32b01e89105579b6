"""A file that grows by rows of one size over minutes or days; an interrupted call goes on where it was.

It grows in `OUT.part`, beside `OUT.part.json`, which says what is asked for and how far it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from ganctl import atomic
from ganctl.errors import UsageError

NOTED_EVERY_S = 10.0  # so much of the work a power cut costs
MAX_NOTE_BYTES = 64 << 20


class Growing:
    """What becomes of `out`.

    Args:
        out: a file; what is beside it has its name, and more.
        header: bytes in front of the rows.
        row_bytes, num_rows: of the whole.
        arguments: what it is made from, in plain values.
        needs: bytes that the whole takes on the disk, at its worst.
        replaces: what an interrupted call left of other arguments is begun anew, instead of refused.

    Attributes:
        done: rows that are there.
        beside: plain values that are noted together with `done`, and found again.
        file: `OUT.part`, opened.
    """

    def __init__(
        self,
        out: Path,
        header: bytes,
        row_bytes: int,
        num_rows: int,
        arguments: dict[str, Any],
        *,
        needs: int,
        replaces: bool = False,
    ) -> None:
        self.out, self.header, self.row_bytes, self.num_rows = out, header, row_bytes, num_rows
        self.arguments, self.needs, self.replaces = arguments, needs, replaces
        self.part, self.noted = out.with_name(f"{out.name}.part"), out.with_name(f"{out.name}.part.json")
        self.done = 0
        self.beside: dict[str, Any] = {}
        self._last_note = 0.0
        self.file: IO[bytes]

    def open(self, stack: contextlib.ExitStack, force: bool = False) -> int:
        """Begins, or goes on: how many rows are there already.

        Args:
            force: begin anew, whatever an interrupted call left.

        Raises:
            UsageError: what an interrupted call left is of other arguments, or damaged; the disk is too
                small, or cannot be written; another process is at it.
        """
        with self._explained():
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self.file = open(self.part, "r+b" if self.part.exists() else "x+b")
            stack.callback(self._close)
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"another process is writing {self.part}", "wait for its end, or stop it"
                ) from None
            except OSError:
                pass  # not every file system has locks
            size = os.fstat(self.file.fileno()).st_size
            if size and not force:
                try:
                    self.done, self.beside = self._found(size)
                except UsageError:
                    if not self.replaces:
                        raise
                    size = 0
            if force or not size:
                self.file.truncate(0)
                self.file.write(self.header)
                self._require_space()
                self.note()
            self.file.seek(len(self.header) + self.done * self.row_bytes)
            self.file.truncate()
            return self.done

    def _found(self, size: int) -> tuple[int, dict[str, Any]]:
        """How many rows an interrupted call left, and what it noted beside them.

        Raises:
            UsageError: of other arguments, or it is not known of which.
        """
        fix = f"give the arguments it was started with, or begin anew with --force ({self.part} is lost then)"
        try:
            with open(self.noted, "rb") as file:
                noted = json.loads(file.read(MAX_NOTE_BYTES))
            arguments, done, beside = noted["arguments"], noted["done"], noted["beside"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(f"it is not known what {self.part} is a part of", fix) from error
        if arguments != self.arguments:
            known = arguments if isinstance(arguments, dict) else {}
            key = next((k for k in self.arguments if known.get(k) != self.arguments[k]), "arguments")
            raise UsageError(
                f"{self.part} is the beginning of something else: another {key.removeprefix('ganctl:')}", fix
            )
        most = min((size - len(self.header)) // self.row_bytes, self.num_rows)
        begins = self.file.read(len(self.header))
        if (
            begins != self.header
            or type(done) is not int
            or not 0 <= done <= most
            or type(beside) is not dict
        ):
            raise UsageError(f"{self.part} is damaged", fix)
        return done, beside

    def _require_space(self) -> None:
        free = shutil.disk_usage(self.part.parent).free
        if self.needs > free:
            self.part.unlink()
            raise UsageError(
                f"{self.num_rows:,} images take {self.needs / 2**30:.3g} GiB, and {self.part.parent} has "
                f"{free / 2**30:.3g}",
                "ask for fewer images, or write them elsewhere",
            )

    def _close(self) -> None:
        with contextlib.suppress(OSError):  # of a full disk it was said before
            self.file.close()

    def append(self, rows: bytes | memoryview, number: int) -> None:
        """The next rows, `number` of them."""
        with self._explained():
            self.file.write(rows)
        self.done += number
        if time.monotonic() - self._last_note > NOTED_EVERY_S:
            self.note()

    def note(self) -> None:
        """Writes down how far it is, once the rows are on the disk."""
        with self._explained():
            self.file.flush()
            os.fsync(self.file.fileno())
        text = json.dumps({"arguments": self.arguments, "done": self.done, "beside": self.beside})
        atomic.write_output(self.noted, lambda file: file.write(text.encode()))
        self._last_note = time.monotonic()

    def finish(self, content: Callable[[IO[bytes]], object] | None = None) -> None:
        """`out` is there, whole.

        Args:
            content: writes it, from what is in `file`; without one it is what has grown.
        """
        self.note()
        with self._explained():
            if content is None:
                atomic.move(self.part, self.out)
                self.noted.unlink()
            else:
                atomic.write(self.out, content)
                self.discard()

    def discard(self) -> None:
        """Nothing is left of it but `out`."""
        self.part.unlink()
        self.noted.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"cannot write {self.part}: {error.strerror or error}", "choose a place you can write to"
            ) from error
