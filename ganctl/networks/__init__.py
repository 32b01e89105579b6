"""Networks by the path of their class: `{"_target_": "ganctl.networks.dcgan.Generator", "width": 64}`.

A generator takes `latent_dim, num_classes, channels, resolution` and its own arguments, a discriminator the
same without `latent_dim`; any importable class that does can stand in `_target_`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from ganctl.errors import UsageError


def build(spec: Mapping[str, Any], *, trust_code: bool, **facts: Any) -> nn.Module:
    """Instantiates the class named in `_target_` with its own arguments and the facts of data and run.

    Args:
        spec: `_target_` and keyword arguments.
        trust_code: whether classes outside `ganctl.networks` may be imported. Importing runs code, so a
            specification that came in a file is not to be trusted unless the user says so.
        facts: keyword arguments that every network of this kind takes.

    Raises:
        UsageError: the class is not allowed, does not exist, is no network, or refuses its arguments.
    """
    target = str(spec.get("_target_", ""))
    module_name, _, class_name = target.rpartition(".")
    if not trust_code and not module_name.startswith("ganctl.networks."):
        raise UsageError(
            f"the network {target!r} is not part of ganctl, and building it would run code from elsewhere",
            "pass --trust-code if you trust where this file comes from",
        )
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UsageError(
            f"cannot import the network {target!r}: {error}",
            "_target_ is the dotted path of a class, as in ganctl.networks.dcgan.Generator",
        ) from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UsageError(f"{target!r} is not a torch.nn.Module", "_target_ must name a network class")
    own = {key: tuple(v) if isinstance(v, list) else v for key, v in spec.items() if key != "_target_"}
    try:
        return found(**facts, **own)
    except (TypeError, ValueError, LookupError, RuntimeError) as error:
        raise UsageError(f"cannot build {target}: {error}", "check the arguments beside _target_") from error
