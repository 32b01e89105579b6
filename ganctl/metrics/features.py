"""What turns images into features: one interface, two extractors."""

from __future__ import annotations

import copy
import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ganctl.errors import GanctlError, UsageError
from ganctl.images import to_float
from ganctl.metrics.classifier import LoadedClassifier
from ganctl.metrics.inception_weights import InceptionWeights

M = TypeVar("M", bound=nn.Module)
Precision = Literal["float32", "bf16"]


@dataclass(frozen=True)
class Features:
    """What an extractor says of a batch of images.

    Args:
        features: (N, feature_dim) float32.
        logits: (N, K) float32, or None where the network has no last layer.
    """

    features: Tensor
    logits: Tensor | None


class Extractor(Protocol):
    """One batch of images in, features out. Streaming over many batches is the caller's.

    Args:
        name: of the network.
        digest: SHA-256 in hex of its weights: of their file, or of its tensors.
        feature_dim: width of the features.
        prefix: of the names of its metrics; None for Inception, whose metrics have names of their own.
        resize: what is done to images before, in words.
        precision: of its arithmetic.
        has_logits: whether there is a last layer.
    """

    name: str
    digest: str
    feature_dim: int
    prefix: str | None
    resize: str
    precision: str
    has_logits: bool

    def __call__(self, images: Tensor) -> Features:
        """images (N, C, H, W) uint8 -> features on the extractor's device."""
        ...


class ClassifierExtractor:
    """Features and label logits of a bundled classifier.

    Args:
        loaded: from `ganctl.metrics.classifier.load`.
        device: where to run it.
    """

    resize = "none: native size"
    precision = "float32"
    has_logits = True

    def __init__(self, loaded: LoadedClassifier, device: torch.device | str = "cpu") -> None:
        self.prefix: str | None = loaded.prefix
        self.name = f"classifier_{loaded.dataset}"
        self.digest = loaded.digest
        self.feature_dim = loaded.feature_dim
        self._device = torch.device(device)
        # A copy: moving the caller's module to a device would move it for everyone.
        self._module = _placed(copy.deepcopy(loaded.module), self._device)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Features:
        """images (N, C, H, W) uint8 -> features (N, feature_dim), logits (N, num_classes).

        Raises:
            UsageError: the images are not of the size or the channels that the classifier was trained on.
        """
        _require_uint8(images)
        expected = (self._module.channels, self._module.resolution, self._module.resolution)
        if tuple(images.shape[1:]) != expected:
            raise UsageError(
                f"{self.name} reads {_size(expected)} images, these are {_size(tuple(images.shape[1:]))}",
                f"give images of {_size(expected)} (channels × height × width)",
            )
        x = to_float(images.to(self._device)).contiguous(memory_format=torch.channels_last)
        logits, features = self._module(x)
        return Features(features, logits)


class InceptionExtractor:
    """The Inception v3 of the FID, torch-fidelity's port of the TensorFlow graph, its resize included.

    Args:
        weights: from `ganctl.metrics.inception_weights.find_or_fetch`.
        device: where to run it.
        precision: `float32`; or `bf16`, which moves features by about 2 %: for monitoring only.

    Raises:
        GanctlError: torch-fidelity's network is another than the one that the weights are for.
    """

    name = "inception-v3-compat"
    feature_dim = 2048
    prefix: str | None = None
    resize = "TensorFlow bilinear to 299 × 299, inside the extractor"

    def __init__(
        self, weights: InceptionWeights, device: torch.device | str = "cpu", precision: Precision = "float32"
    ) -> None:
        self.precision: str = precision
        self.digest = weights.digest
        self.has_logits = weights.has_fc
        self._device = torch.device(device)
        self._module = _placed(_inception(weights), self._device)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Features:
        """images (N, 1 or 3, H, W) uint8 -> features (N, 2048), bias-free logits (N, 1008) or None."""
        _require_uint8(images)
        if images.shape[1] not in (1, 3):
            raise UsageError(
                f"Inception reads images of 1 or 3 channels, these have {images.shape[1]}",
                "give grayscale or RGB images",
            )
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            out = self._module(images.to(self._device).expand(-1, 3, -1, -1))
        return Features(out[0].float(), out[1].float() if self.has_logits else None)


class ScriptExtractor:
    """A user's own network as TorchScript: (N, C, H, W) float32 in [-1, 1] -> features (N, d).

    Args:
        path: a file of `torch.jit.save`; its stem, made a word, begins the names of its metrics.
        device: where to run it.
        channels, resolution: of the images that it will see, to learn the width of its features.

    Raises:
        UsageError: the file is missing, no TorchScript, or does not take such images.
    """

    resize = "none: native size"
    precision = "float32"
    has_logits = False

    def __init__(
        self, path: Path, device: torch.device | str = "cpu", *, channels: int, resolution: int
    ) -> None:
        fix = "save the network with torch.jit.save: images (N, C, H, W) in [-1, 1] -> features (N, d)"
        self._device = torch.device(device)
        try:
            self.digest = hashlib.sha256(path.read_bytes()).hexdigest()
            self._module = torch.jit.load(str(path), map_location=self._device).eval()
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}", fix) from error
        except (RuntimeError, ValueError) as error:
            raise UsageError(f"{path} is no TorchScript file", fix) from error
        self.name = path.name
        self.prefix: str | None = re.sub(r"[^A-Za-z0-9]+", "_", path.stem).strip("_") or "features"
        probe = torch.zeros(2, channels, resolution, resolution, dtype=torch.uint8)
        try:
            features = self(probe).features
        except RuntimeError as error:
            raise UsageError(
                f"{path} does not take {channels} × {resolution} × {resolution} images", fix
            ) from error
        self.feature_dim = features.shape[1]

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Features:
        """images (N, C, H, W) uint8 -> features (N, d).

        Raises:
            RuntimeError: the network fails, or what it returns is not (N, d).
        """
        _require_uint8(images)
        out = self._module(to_float(images.to(self._device)))
        if not isinstance(out, Tensor) or out.shape[:1] != images.shape[:1] or out.dim() != 2:
            raise RuntimeError("the network must return one tensor (N, d)")
        return Features(out.float(), None)


def _require_uint8(images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.dim() != 4:
        raise TypeError(f"images must be (N, C, H, W) uint8, got {tuple(images.shape)} {images.dtype}")


def _placed(module: M, device: torch.device) -> M:
    # channels_last: about 1.6 times as fast on CPUs.
    return module.to(device).to(memory_format=torch.channels_last)


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _inception(weights: InceptionWeights) -> nn.Module:
    """torch-fidelity's network in evaluation mode with these weights, each BatchNorm folded (13 % faster)."""
    from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d, FeatureExtractorInceptionV3

    # The constructor unpickles whatever it is given without checks: it gets bytes that we wrote ourselves.
    buffer = io.BytesIO()
    torch.save(weights.state_dict, buffer)
    buffer.seek(0)
    wanted = ["2048", "logits_unbiased"] if weights.has_fc else ["2048"]
    try:
        # Its layers draw random weights first: the fork keeps that out of the caller's random stream.
        with torch.random.fork_rng(devices=[]):
            module: nn.Module = FeatureExtractorInceptionV3(
                InceptionExtractor.name, wanted, feature_extractor_weights_path=buffer
            )
    except RuntimeError as error:
        raise GanctlError(
            f"torch-fidelity's Inception does not take the weights {weights.path}",
            "install torch-fidelity 0.4.0, which they are for",
        ) from error
    for block in module.modules():
        if isinstance(block, BasicConv2d):
            block.conv = torch.nn.utils.fusion.fuse_conv_bn_eval(block.conv, block.bn)
            block.bn = nn.Identity()
    return module.eval().requires_grad_(False)
