"""Damaged and hostile variants of `.ckpt` and `.safetensors` files."""

from __future__ import annotations

import io
import json
import pickletools
import random
import struct
import zipfile
from typing import Any

import torch
from mutate import CANARY, Good, Mutation, flipped, members, overwritten, spliced, truncated, zipped
from safetensors.torch import load as tensors_of
from safetensors.torch import save as to_safetensors

KEY = "ganctl"


# -- .ckpt -------------------------------------------------------------------------------------------------


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


# -- what a generator's file says of it --------------------------------------------------------------------

TARGETS: list[Any] = [
    *("os.system", "subprocess.Popen", "builtins.eval", "strangers_module.Generator", "strangers_module", ""),
    *(
        "ganctl.train.train",
        "ganctl.fetch.from_url",
        "ganctl.cli.main",
        "ganctl.metrics.classifier.Classifier",
    ),
    *(
        "ganctl.networks.dcgan.nn.Sequential",
        "ganctl.networks.dcgan.itertools.count",
        "ganctl.networks.build",
    ),
    *("ganctl.networks.dcgan.Tensor", "ganctl.networks.dcgan.ConcatLabel", "ganctl.networks.mlp.ConcatLabel"),
    *("ganctl.networks.dcgan.pyramid", "ganctl.networks.conditioning.ConcatLabel", "ganctl.networks.dcgan."),
    *(
        "ganctl.networks.dcgan.Generator.__init__",
        "ganctl.networks..dcgan.Generator",
        "ganctl.networks.importlib",
    ),
    *("ganctl.networks.dcgan.Discriminator", "ganctl.networks.no_such.Net", "torch.nn.Linear", "a" * 10**6),
    *(
        "ganctl.networks.dcgan.Generator\n",
        "\x1b[2J",
        " ganctl.networks.dcgan.Generator",
        5,
        None,
        ["os.system"],
    ),
]
VAST: list[Any] = [10**6, 10**9, 10**12, 2**62, 2**63, 10**30, -1, 0, 0.5, "8", None, [], {}, [10**9] * 3]
ARGUMENTS: list[dict[str, Any]] = [
    *({"width": v} for v in VAST),
    *({"tanh_gain": v} for v in ("a", None, [1, 2], {}, 2**70)),
    *({"_target_": "ganctl.networks.mlp.Generator", "widths": v} for v in [*VAST, [16] * 10**5]),
    *({"latent_dim": v} for v in (1, 10**9)),
    *({"unknown": 1}, {"num_classes": 3}, {"self": 1}, {"x": [[[[1]]]] * 400}),
]
FACTS: list[dict[str, Any]] = [
    *({"resolution": v} for v in (1, 9, 1024, 4096, 16384, 10**9, -1, "8", None)),
    *({"channels": v} for v in (0, 2, 64, 65, 10**9)),
    *(
        {"label_names": v}
        for v in ([], ["a"] * 10, ["0"], ["\x1b[2J"] * 10, [str(i) for i in range(10**5)], "0")
    ),
    *({"class_counts": v} for v in ([], [0] * 10, [-1] * 10, [2**63] * 10, [1] * 11)),
    *({"name": v} for v in ("\x1b]0;evil\x07", "a" * 10**5, 5)),
]
OTHERS: list[dict[str, Any]] = [
    *({"latent_dim": v} for v in (1, 5, 10**9, 10**30, -1, "x", float("nan"))),
    *({key: v} for key in ("nimg", "steps") for v in (-1, 2**64, 10**400, float("inf"), "many")),
    *({"format_version": v} for v in (0, 2, 10**30, "1", None, [1])),
    *({"checksum": v} for v in ("", "0" * 64, 5)),
    *({"versions": v} for v in (5, {"a": 5})),
    *({"generator": 5}, {"data": []}, {"config": 5}, {"wandb_id": 5}, {"surprise": 1}),
]


def hostile(rng: random.Random, said: dict[str, Any]) -> dict[str, Any]:
    """What a file says of its generator, with one lie in it, and without the checksum that would show it."""
    said = said | {"checksum": None}
    lie = rng.randrange(4)
    if lie == 0:
        return said | {"generator": said["generator"] | {"_target_": rng.choice(TARGETS)}}
    if lie == 1:
        arguments = rng.choice(ARGUMENTS)
        return said | {"generator": arguments if "_target_" in arguments else said["generator"] | arguments}
    if lie == 2:
        return said | {"data": said["data"] | rng.choice(FACTS)}
    return said | rng.choice(OTHERS)


def hostile_ckpt(rng: random.Random, good: Good) -> bytes:
    content = torch.load(io.BytesIO(good.ckpt), weights_only=True)
    out = io.BytesIO()
    torch.save(content | {KEY: hostile(rng, content[KEY])}, out)
    return out.getvalue()


# -- .safetensors ------------------------------------------------------------------------------------------


def header_of(data: bytes) -> dict[str, Any]:
    (length,) = struct.unpack("<Q", data[:8])
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    return header


def with_header(data: bytes, text: bytes) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def hostile_safetensors(rng: random.Random, good: Good) -> bytes:
    said = json.loads(header_of(good.safetensors)["__metadata__"][KEY])
    return to_safetensors(tensors_of(good.safetensors), {KEY: json.dumps(hostile(rng, said))})


def safetensors_header(rng: random.Random, good: Good) -> bytes:
    """A length, shape, type, place or text that the file does not hold."""
    data, header = good.safetensors, header_of(good.safetensors)
    if rng.random() < 0.2:
        return struct.pack("<Q", rng.choice((0, 1, 2**20, 10**12, 2**63, 2**64 - 1))) + data[8:]
    if rng.random() < 0.3:
        texts = ("{", "5", "null", "[" * 10**5, '{"a":' * 10**5, "9" * 10**5, '"' + "a" * 10**6 + '"', "\0")
        header["__metadata__"][KEY] = rng.choice(texts)
        return with_header(data, json.dumps(header).encode())
    name = rng.choice([n for n in header if n != "__metadata__"])
    entry = header[name]
    change = rng.choice(
        (
            {"shape": [10**6, 10**6]},
            {"shape": [*entry["shape"], rng.choice((0, 2, 10**12, 2**63))]},
            {"shape": [-1]},
            {"dtype": rng.choice(("F64", "F16", "C64", "F4", "OBJ"))},
            {"data_offsets": [0, 10**12]},
            {"data_offsets": [entry["data_offsets"][0], entry["data_offsets"][1] + 4]},
            {"data_offsets": entry["data_offsets"][::-1]},
        )
    )
    if rng.random() < 0.2:  # two tensors in each other's place
        twins = [n for n, e in header.items() if e.get("shape") == entry["shape"] and n != name]
        twin = rng.choice(twins or [name])
        header[name], header[twin] = header[twin], header[name]
    else:
        header[name] = entry | change
    return with_header(data, json.dumps(header).encode())


CKPT: dict[str, Mutation] = {
    "bits flipped": lambda rng, good: flipped(rng, good.ckpt),
    "truncated": lambda rng, good: truncated(rng, good.ckpt),
    "bytes lost, zeroed, doubled or noise": lambda rng, good: overwritten(rng, good.ckpt),
    "two files spliced": lambda rng, good: spliced(rng, good.ckpt, good.other_ckpt),
    "members exchanged": exchanged_members,
    "another file's pickle": another_pickle,
    "a number in the pickle": changed_number,
    "code in the pickle": gadget,
    "a bomb in the pickle": pickle_bomb,
    "tricks of the zip": zip_trick,
    "a lie about the generator": hostile_ckpt,
}

SAFETENSORS: dict[str, Mutation] = {
    "bits flipped": lambda rng, good: flipped(rng, good.safetensors),
    "truncated": lambda rng, good: truncated(rng, good.safetensors),
    "bytes lost, zeroed, doubled or noise": lambda rng, good: overwritten(rng, good.safetensors),
    "two files spliced": lambda rng, good: spliced(rng, good.safetensors, good.other_safetensors),
    "another header": safetensors_header,
    "a lie about the generator": hostile_safetensors,
}
