"""Lies in what a generator's file says of it, and hostile variants of `.safetensors` files."""

from __future__ import annotations

import io
import json
import random
import struct
from typing import Any

import torch
from mutate import Good, Mutation, damages, spliced
from safetensors.torch import load as tensors_of
from safetensors.torch import save as to_safetensors

from ganctl.checkpoint import KEY

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
NO_NUMBERS: list[Any] = ["a", None, [1, 2], {}, 2**70]
ARGUMENTS: list[dict[str, Any]] = [
    *({"width": v} for v in VAST),
    *({"tanh_gain": v} for v in NO_NUMBERS),
    *({"_target_": "ganctl.networks.mlp.Generator", "widths": v} for v in [*VAST, [16] * 10**5]),
    *(
        {"_target_": "ganctl.networks.resnet.Generator", key: v}
        for key, values in (
            ("widths", [*VAST, [16] * 10**5, [8, 8]]),
            ("attention", VAST),
            ("norm", ["cbn", 5]),
        )
        for v in values
    ),
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


SAFETENSORS: dict[str, Mutation] = {
    **damages("safetensors"),
    "two files spliced": lambda rng, good: spliced(rng, good.safetensors, good.other_safetensors),
    "another header": safetensors_header,
    "a lie about the generator": hostile_safetensors,
}
