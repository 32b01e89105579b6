"""Networks by the path of their class: `{"_target_": "ganctl.networks.dcgan.Generator", "width": 64}`.

A generator takes `latent_dim, num_classes, channels, resolution` and its own arguments, a discriminator the
same without `latent_dim`; any importable class that does can stand in `_target_`. docs/networks.md says what
else is asked of them.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ganctl.errors import UsageError

MAX_ACTIVATIONS = 1 << 30  # 4 GiB in float32


def build(spec: Mapping[str, Any], *, trust_code: bool, **facts: Any) -> nn.Module:
    """Instantiates the class named in `_target_` with its own arguments and the facts of data and run.

    Args:
        spec: `_target_` and keyword arguments.
        trust_code: whether classes of other modules than those of `ganctl.networks` may be imported.
            Importing runs code, so a specification that came in a file is not to be trusted unless the user
            says so.
        facts: keyword arguments that every network of this kind takes.

    Raises:
        UsageError: the class is not allowed, does not exist, is no network, or refuses its arguments.
    """
    target = str(spec.get("_target_", ""))
    module_name, _, class_name = target.rpartition(".")
    foreign = UsageError(
        f"the network {target!r:.200} is not part of ganctl, and building it would run code from elsewhere",
        "pass --trust-code if you trust where this file comes from",
    )
    if not trust_code and not is_ours(spec):
        raise foreign
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UsageError(
            f"cannot import the network {target!r}: {error}",
            "_target_ is the dotted path of a class, as in ganctl.networks.dcgan.Generator",
        ) from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UsageError(f"{target!r} is not a torch.nn.Module", "_target_ must name a network class")
    if not trust_code and found.__module__ != module_name:
        raise foreign
    own = {key: tuple(v) if isinstance(v, list) else v for key, v in spec.items() if key != "_target_"}
    try:
        return found(**facts, **own)
    except Exception as error:  # wrong arguments surface as any exception type, an overflow among them
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(f"cannot build {target}: {reason}", "check the arguments beside _target_") from error


def is_ours(spec: Mapping[str, Any]) -> bool:
    """Whether `_target_` names what may be a class of one of this package's modules, by its form."""
    target = spec.get("_target_")
    return isinstance(target, str) and bool(re.fullmatch(r"ganctl\.networks\.[a-z]\w*\.[A-Z]\w*", target))


def with_defaults(spec: Mapping[str, Any]) -> dict[str, Any]:
    """`spec` and the arguments that it leaves out, at their defaults: what was written before a class took an
    argument is then the same as what is written now. Classes of other packages are not looked at.
    """
    module_name, _, class_name = str(spec.get("_target_", "")).rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name) if is_ours(spec) else None
    except (ImportError, AttributeError):
        found = None
    own = inspect.signature(found).parameters.values() if isinstance(found, type) else ()
    defaults = {p.name: p.default for p in own if p.default is not p.empty}
    # A configuration holds lists where Python has tuples.
    return {name: list(v) if isinstance(v, tuple) else v for name, v in defaults.items()} | dict(spec)


def require_drawing(G: nn.Module, latent_dim: int, wanted: tuple[int, int, int, int]) -> None:
    """Draws a batch on the `meta` device, where tensors have a shape and nothing else: the images of a small
    network can be far larger than its weights.

    Args:
        G: generator on `meta`.
        wanted: (N, C, H, W) of the images.

    Raises:
        UsageError: it draws others or none, or would take too much memory for them.
    """
    name = f"{type(G).__module__}.{type(G).__name__}"
    fix = "the file was altered, or written by a network of the same name that has changed since"
    sizes = [0]
    for module in G.modules():
        module.register_forward_hook(lambda module, inputs, output: sizes.append(output.numel()))
    z = torch.empty(wanted[0], latent_dim, device="meta")
    try:
        drawn = tuple(G(z, torch.zeros(wanted[0], dtype=torch.int64, device="meta")).shape)
    except Exception as error:  # a network that was given wrong arguments can raise anything
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(f"{name} does not draw with its arguments: {reason}", fix) from error
    if drawn != wanted:
        raise UsageError(f"{name} draws batches of {drawn}, and the file says {wanted}", fix)
    if max(sizes) > MAX_ACTIVATIONS:
        raise UsageError(
            f"a layer of {name} makes {max(sizes):,} numbers of a batch",
            f"this program takes networks whose layers make {MAX_ACTIVATIONS:,} at most",
        )
