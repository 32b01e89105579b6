"""Damaged and hostile variants of `.ckpt` files."""

from __future__ import annotations

import pickletools
import random
import struct
import zipfile

from mutate import CANARY, Good, Mutation, damages, members, spliced, zipped
from mutate_claims import hostile_ckpt


def pickle_of(data: bytes) -> tuple[str, bytes]:
    return next((n, d) for n, d in members(data).items() if n.endswith("data.pkl"))


def with_pickle(data: bytes, pickle: bytes) -> bytes:
    return zipped(members(data) | {pickle_of(data)[0]: pickle})


def exchanged_members(rng: random.Random, good: Good) -> bytes:
    """Two records of one size exchange their names, or one is another file's; the zip's checksums fit."""
    content, others = members(good.ckpt), members(good.other_ckpt)
    name = rng.choice([n for n, d in content.items() if "/data/" in n and d and others[n] != d])
    if rng.random() < 0.5:
        return zipped(content | {name: others[name]})
    twins = [n for n, d in content.items() if n != name and "/data/" in n and len(d) == len(content[name])]
    twin = rng.choice(twins or [name])
    return zipped(content | {name: content[twin], twin: content[name]})


def another_pickle(rng: random.Random, good: Good) -> bytes:
    return with_pickle(good.ckpt, pickle_of(good.other_ckpt)[1])


def changed_number(rng: random.Random, good: Good) -> bytes:
    """One number in the pickle: a size, stride, offset, count or setting."""
    pickle = pickle_of(good.ckpt)[1]
    ops = [*pickletools.genops(pickle)]
    spots = [i for i, op in enumerate(ops) if op[0].name in ("BININT", "BININT1", "BININT2", "BINFLOAT")]
    i = rng.choice(spots)
    number = rng.choice((-1, 0, 1, 7, 2**31 - 1, 10**12, 2**62, 2**63, 2**64, -(2**63), 2**2000))
    size = number.bit_length() // 8 + 1
    literal = b"\x8a" + bytes([size]) + number.to_bytes(size, "little", signed=True)
    start, end = ops[i][2], ops[i + 1][2]
    assert start is not None
    return with_pickle(good.ckpt, pickle[:start] + literal + pickle[end:])


GADGETS = [
    *("os system", "posix system", "nt system", "subprocess Popen", "subprocess call", "pty spawn"),
    *("builtins eval", "builtins exec", "builtins __import__", "builtins getattr", "builtins open"),
    *("__builtin__ eval", "__builtin__ apply", "runpy run_path", "importlib import_module", "shutil rmtree"),
    *("webbrowser open", "code interact", "timeit timeit", "pydoc pipepager", "ctypes CDLL", "_io open"),
    *("torch load", "torch.jit load", "torch.hub load", "torch.utils.cpp_extension load_inline"),
    *("torch._utils _rebuild_qtensor", "torch._utils _rebuild_sparse_tensor"),
    *("torch._utils _rebuild_meta_tensor_no_storage", "torch._utils _rebuild_wrapper_subclass"),
    *("torch._utils _rebuild_device_tensor_from_numpy", "torch._tensor _rebuild_from_type_v2"),
    *("torch.nn.parameter Parameter", "torch Tensor", "torch.serialization _get_layout", "torch device"),
    *("functools partial", "operator attrgetter", "operator methodcaller", "_codecs encode"),
    *("numpy.core.multiarray _reconstruct", "numpy load", "pandas read_pickle", "joblib load"),
    *("collections Counter", "collections defaultdict", "builtins bytearray", "builtins set"),
    *("ganctl.terminal verb", "ganctl.train train", "strangers_module payload", "pip main"),
]


def gadget(rng: random.Random, good: Good) -> bytes:
    """A call of something that a pickle of tensors never needs, in one of the ways that pickles call."""
    module, name = rng.choice(GADGETS).split(" ")
    word = f"touch {CANARY}".encode() if "eval" not in name else f"open('{CANARY}', 'w')".encode()
    text = b"X" + struct.pack("<I", len(word)) + word
    wanted = f"c{module}\n{name}\n".encode()
    stacked = b"".join(b"\x8c" + bytes([len(w)]) + w.encode() for w in (module, name)) + b"\x93"
    call = rng.choice(
        (
            wanted + text + b"\x85R",
            stacked + text + b"\x85R",
            b"(" + text + f"i{module}\n{name}\n".encode(),
            b"(" + wanted + text + b"o",
            wanted + text + b"\x85\x81",
            wanted + b")\x81}" + text + text + b"sb",
            b"ccollections\nOrderedDict\n)R}" + text + wanted + b"sb",
            b"\x82\x01",
            wanted + b"Q",
            text + b"Q",
            b"P" + word + b"\n",
        )
    )
    pickle = pickle_of(good.ckpt)[1]
    if rng.random() < 0.5:
        return with_pickle(good.ckpt, b"\x80\x02" + call + b".")
    return with_pickle(good.ckpt, pickle[:-1] + b"X\x04\0\0\0hook" + call + b"s.")


def pickle_bomb(rng: random.Random, good: Good) -> bytes:
    """Memory, time or the machine's stack asked for in few bytes, in an entry beside the real ones."""
    key = b"X\x04\0\0\0hook"
    n = rng.choice((1000, 100_000, 3_000_000))
    laughs = b"]q\xfe(" + b"N" * 10 + b"e" + b"](".join([b""] + [b"h\xfe" * 10 + b"eq\xfe"] * 60)
    bomb = rng.choice(
        (
            b"Nr" + struct.pack("<I", rng.choice((2**24, 2**31, 2**32 - 1))),
            b"j" + struct.pack("<I", 2**32 - 1),
            b"}" + b")" + b"\x85" * n + b"Ns",
            b")" + b"\x85" * n,
            b"]" * n + b"a" * (n - 1),
            b"]" + b"(" + b"}" * n + b"e",
            b"(" * n,
            b"](" + laughs + b"e",
            b"X\xff\xff\xff\xff",
            b"\x8a\xff" + b"\xff" * 255,
            b"\x8b\xff\xff\xff\x7f",
            b"I" + b"9" * n + b"\n",
            b"2" * n,
            b"\x95" + b"\xff" * 8,
            b"]q\xfeh\xfea",
        )
    )
    return with_pickle(good.ckpt, pickle_of(good.ckpt)[1][:-1] + key + bomb + b"s.")


def zip_trick(rng: random.Random, good: Good) -> bytes:
    content = members(good.ckpt)
    folder = next(iter(content)).partition("/")[0]
    record = rng.choice([n for n, d in content.items() if "/data/" in n and d])
    trick = rng.randrange(9)
    if trick == 0:
        return zipped(content, compression=rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)))
    if trick == 1:
        return zipped(content | {record: b""})
    if trick == 2:
        return zipped(content | {record: content[record][: rng.randrange(len(content[record]))]})
    if trick == 3:
        return zipped({n: d for n, d in content.items() if n != rng.choice((record, f"{folder}/data.pkl"))})
    if trick == 4:
        names = (
            "../evil",
            "/tmp/evil",
            f"{folder}/../../evil",
            f"{folder}/constants.pkl",
            f"{folder}/code/a.py",
        )
        return zipped(content | {rng.choice((*names, "other/data.pkl")): b"evil"})
    if trick == 5:
        return zipped(content | {f"{folder}/data/{i}": b"" for i in range(100_000, 160_000)})
    if trick == 6:  # a directory twice as long: every member has two names for one place
        data = good.ckpt
        end = data.rindex(b"PK\x06\x06")
        (size, start) = struct.unpack("<QQ", data[end + 40 : end + 56])
        directory = data[start : start + size]
        tail = bytearray(data[end:])
        tail[40:48] = struct.pack("<Q", 2 * size)
        return (
            data[: start + size] + directory.replace(f"{folder}/".encode(), b"x" * len(folder) + b"/") + tail
        )
    if trick == 7:
        return rng.choice((good.ckpt + b"PK\5\6" + bytes(18), rng.randbytes(99) + good.ckpt))
    byteorder = rng.choice((b"big", b"middle", b"", b"\0" * 99))
    return zipped(content | {f"{folder}/byteorder": byteorder})


CKPT: dict[str, Mutation] = {
    **damages("ckpt"),
    "two files spliced": lambda rng, good: spliced(rng, good.ckpt, good.other_ckpt),
    "members exchanged": exchanged_members,
    "another file's pickle": another_pickle,
    "a number in the pickle": changed_number,
    "code in the pickle": gadget,
    "a bomb in the pickle": pickle_bomb,
    "tricks of the zip": zip_trick,
    "a lie about the generator": hostile_ckpt,
}
