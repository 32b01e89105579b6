"""What a file of `torch.save` claims, checked before torch reads it.

torch's `weights_only` keeps code out. It does not verify checksums, and of what it calls it knows neither
which storages a file really has nor how far a tensor may reach into one; older torch reads beyond the end.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import IO, Any

from ganctl import untrusted

MAX_PICKLE_BYTES = 16 << 20
MAX_INSTRUCTIONS = 500_000  # a training of two thousand tensors takes about 200 000
MAX_SHARING = 16  # the tensors of a file are at most this many times as large as its storages

_RECORD = re.compile(
    r"data\.pkl|byteorder|version|\.format_version|\.storage_alignment|data/\d{1,9}|\.data/\w+"
)
_ORDERED_DICT, _REBUILD = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
_ITEM_BYTES = {
    f"torch {name}Storage": size
    for names, size in {
        "Double Long": 8,
        "Float Int": 4,
        "Half BFloat16 Short": 2,
        "Char Byte Bool": 1,
    }.items()
    for name in names.split()
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def checked_archive(file: IO[bytes]) -> io.BytesIO:
    """A copy of the file for torch to read: only its known members, checksums verified, claims checked.

    A copy, because one file can show two readers two different directories.

    Raises:
        zipfile.BadZipFile, ValueError, LookupError: the file is damaged or claims what it does not hold.
        pickle.UnpicklingError: it asks for more than tensors and plain types.
    """
    records: dict[str, bytes] = {}
    with untrusted.open_zip(file) as archive:
        for member in archive.infolist():
            folder, _, name = member.filename.partition("/")
            if member.compress_type != zipfile.ZIP_STORED or not _RECORD.fullmatch(name):
                raise zipfile.BadZipFile(f"torch writes no member {member.filename!r:.60}")
            if folder != archive.infolist()[0].filename.partition("/")[0]:
                raise zipfile.BadZipFile("its members lie in several folders")
            records[name] = archive.read(member)
    storages = {name[5:]: len(content) for name, content in records.items() if name.startswith("data/")}
    check(records["data.pkl"], storages)
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as archive:
        for name, content in records.items():
            archive.writestr(f"archive/{name}", content)
    copy.seek(0)
    return copy


def without_tensors(file: IO[bytes]) -> Any:
    """What `torch.save` wrote, with None for each tensor: what a checkpoint says of itself, without torch.

    Weights are not looked at, so nothing that is told of them is verified.

    Raises:
        As `checked_archive`.
    """
    with untrusted.open_zip(file) as archive:
        members = {m.filename.partition("/")[2]: m for m in archive.infolist()}
        if members["data.pkl"].file_size > MAX_PICKLE_BYTES:
            raise ValueError("its pickle is too large")
        program = archive.read(members["data.pkl"])
    check(program, {name[5:]: m.file_size for name, m in members.items() if name.startswith("data/")})
    # Numbered anew: Python's reader makes a table as long as the largest number that a program gives a value.
    content = _Plain(io.BytesIO(pickletools.optimize(program))).load()
    untrusted.require_plain(content)
    return content


class _Plain(pickle.Unpickler):
    """For a checked pickle: its storages and tensors become None."""

    def find_class(self, module: str, name: str) -> Any:
        return OrderedDict if (module, name) == ("collections", "OrderedDict") else lambda *_: None

    def persistent_load(self, identity: Any) -> None:
        return None


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass(frozen=True)
class _Storage:
    elements: int
    item_bytes: int


@dataclass(eq=False)
class _Mapping:
    ordered: bool
    keys: set[Any] = field(default_factory=set)


class _List:
    pass


class _Tensor:
    pass


def check(program: bytes, storages: Mapping[str, int]) -> None:
    """Runs a pickle on descriptions of values in place of values.

    Args:
        program: the pickle.
        storages: bytes of each one in the file, by key.

    Raises:
        ValueError, LookupError: it is damaged, or a storage or tensor is larger than what is there.
        pickle.UnpicklingError: it does what `torch.save` of tensors and plain types never does.
    """
    if len(program) > MAX_PICKLE_BYTES:
        raise ValueError("its pickle is too large")
    stack: list[Any] = []
    marks: list[list[Any]] = []
    memo: dict[int, Any] = {}
    room = MAX_SHARING * sum(storages.values())

    def since_mark() -> list[Any]:
        nonlocal stack
        items, stack = stack, marks.pop()
        return items

    for count, (instruction, argument, _) in enumerate(pickletools.genops(program)):
        if count > MAX_INSTRUCTIONS:
            raise ValueError("its pickle is too long")
        name: str = instruction.name
        value: Any = argument
        if name in _LITERALS:
            stack.append(value)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "EMPTY_DICT":
            stack.append(_Mapping(ordered=False))
        elif name == "EMPTY_LIST":
            stack.append(_List())
        elif name == "GLOBAL":
            if value not in (_ORDERED_DICT, _REBUILD) and value not in _ITEM_BYTES:
                raise pickle.UnpicklingError(value)
            stack.append(_Global(value))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[value] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[value])
        elif name == "MARK":
            marks.append(stack)
            stack = []
        elif name == "TUPLE":
            items = since_mark()
            stack.append(tuple(items))
        elif name in _TUPLES:
            stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
        elif name in ("APPEND", "APPENDS"):
            _ = stack.pop() if name == "APPEND" else since_mark()
            _require(isinstance(stack[-1], _List))
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else since_mark()
            # Other keys could be tuples so deep that hashing them overflows the machine's stack.
            _require(isinstance(stack[-1], _Mapping) and all(type(key) in (str, int) for key in items[::2]))
            stack[-1].keys.update(items[::2])
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop(), storages))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            if function == _Global(_REBUILD):
                room -= _tensor_bytes(arguments)
                _require(room >= 0)
                stack.append(_Tensor())
            elif function == _Global(_ORDERED_DICT) and arguments == ():
                stack.append(_Mapping(ordered=True))
            else:
                raise pickle.UnpicklingError("a call")
        elif name == "BUILD":  # what torch notes beside the entries of a state dict
            state = stack.pop()
            ordered = isinstance(stack[-1], _Mapping) and stack[-1].ordered
            if not ordered or not isinstance(state, _Mapping) or state.keys != {"_metadata"}:
                raise pickle.UnpicklingError("a state")
        elif name != "STOP" and (name, value) != ("PROTO", 2):
            raise pickle.UnpicklingError(f"the instruction {name}")


def _storage(identity: Any, storages: Mapping[str, int]) -> _Storage:
    kind, storage_type, key, location, elements = identity
    _require(type(kind) is type(key) is type(location) is str and kind == "storage" and type(elements) is int)
    item_bytes = _ITEM_BYTES[storage_type.name]
    _require(storages[key] == elements * item_bytes)
    return _Storage(elements, item_bytes)


def _tensor_bytes(arguments: Any) -> int:
    """Checks that a tensor lies inside its storage and is no larger."""
    storage, offset, size, stride, requires_grad, hooks = arguments
    _require(isinstance(storage, _Storage) and isinstance(hooks, _Mapping) and requires_grad is False)
    _require(isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= 8)
    _require(all(type(n) is int and 0 <= n < 2**63 for n in (offset, *size, *stride)))
    elements = prod(size)
    _require(elements <= storage.elements)
    reach = offset + (
        sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1 if elements else 0
    )
    _require(reach <= storage.elements)
    return elements * storage.item_bytes


def _require(sound: bool) -> None:
    if not sound:
        raise ValueError("it claims tensors that it does not hold")
