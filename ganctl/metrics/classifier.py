"""The bundled classifiers: what says whether an image shows its label, and a small feature space.

Scores made with one carry its data set's prefix (`digit_fd`, `fashion_fd`, …) and are never called FID.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from ganctl.atomic import write_output
from ganctl.errors import GanctlError

ASSETS = Path(__file__).resolve().parent.parent / "assets"
MIN_RESOLUTION = 8


class Classifier(nn.Module):
    """A small convolutional classifier for native-size images.

    A stem at half the width, then stages that each halve the image until it is about 8 × 8 (at least two),
    one residual convolution, and the mean over positions: those 2·width numbers are the features.

    Args:
        channels: image channels C.
        resolution: image height and width, at least 8.
        num_classes: K.
        width: channels of the first halved stage; the last has twice as many.
        batch_norm: normalise behind each convolution. Only training needs it: `folded` removes it.
    """

    def __init__(
        self, channels: int, resolution: int, num_classes: int, width: int = 48, batch_norm: bool = False
    ) -> None:
        super().__init__()
        if resolution < MIN_RESOLUTION:
            raise ValueError(f"resolution must be at least {MIN_RESOLUTION}, got {resolution}")
        self.channels = channels
        self.resolution = resolution
        self.num_classes = num_classes
        self.width = width
        self.feature_dim = 2 * width

        def conv(c_in: int, c_out: int, stride: int = 1) -> nn.Sequential:
            layers: list[nn.Module] = [nn.Conv2d(c_in, c_out, 3, stride, padding=1)]
            return nn.Sequential(*layers, nn.BatchNorm2d(c_out) if batch_norm else nn.Identity(), nn.ReLU())

        stages = [conv(channels, width // 2)]
        c_in = width // 2
        halvings = max(2, (-(-resolution // 8) - 1).bit_length())  # ceil(log2(resolution / 8))
        for i in range(halvings):
            c_out = min(width * 2**i, self.feature_dim)
            stages += [conv(c_in, c_out, stride=2), conv(c_out, c_out)]
            c_in = c_out
        self.stages = nn.Sequential(*stages)
        self.residual = conv(self.feature_dim, self.feature_dim)
        self.head = nn.Linear(self.feature_dim, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images (N, C, H, W) float in [-1, 1] -> logits (N, K), features (N, feature_dim) ≥ 0."""
        x = self.stages(images)
        features = (x + self.residual(x)).mean(dim=(2, 3))
        return self.head(features), features

    def folded(self) -> Classifier:
        """The same function in evaluation mode without BatchNorm: its scale and shift join the weights."""
        plain = Classifier(self.channels, self.resolution, self.num_classes, self.width)
        for source, target in zip(
            [*self.stages, self.residual], [*plain.stages, plain.residual], strict=True
        ):
            convolution, norm = source[0], source[1]
            if isinstance(norm, nn.BatchNorm2d):
                # eval() because the running statistics, not the batch's, are what is folded.
                convolution = torch.nn.utils.fusion.fuse_conv_bn_eval(convolution.eval(), norm.eval())
            target[0].load_state_dict(convolution.state_dict())
        plain.head.load_state_dict(self.head.state_dict())
        return plain.eval()

    @property
    def arguments(self) -> dict[str, int]:
        """What rebuilds the folded network: `Classifier(**arguments)`."""
        return {
            "channels": self.channels,
            "resolution": self.resolution,
            "num_classes": self.num_classes,
            "width": self.width,
        }


class StackedClassifier(nn.Module):
    """A classifier of single images, applied to each channel of stacked ones: modes for its labels.

    The logits of modes are the sums of the channels' logits. The largest is that of each channel's largest,
    and the softmax over modes is the product of those of the channels.

    Args:
        single: images (N, 1, H, W) -> logits (N, K), features (N, d).
    """

    channels = 3

    def __init__(self, single: Classifier) -> None:
        super().__init__()
        self.single = single
        self.resolution = single.resolution
        self.num_classes = single.num_classes**3
        self.feature_dim = 3 * single.feature_dim

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images (N, 3, H, W) float in [-1, 1] -> logits (N, K³), that of labels a, b, c at a·K² + b·K + c;
        features (N, 3·d), those of the channels one after the other.
        """
        logits, features = self.single(images.reshape(-1, 1, self.resolution, self.resolution))
        a, b, c = logits.unflatten(0, (-1, 3)).unbind(1)
        joint = a[:, :, None, None] + b[:, None, :, None] + c[:, None, None, :]
        return joint.flatten(1), features.view(len(images), -1)


@dataclass(frozen=True)
class LoadedClassifier:
    """A bundled classifier, ready to score images, and what a report says about it.

    Args:
        module: in evaluation mode, float32, without gradients, on the CPU.
        dataset: the data set whose official training split it was trained on, or is made of.
        label_names: name of each class.
        prefix: what its metrics' names start with (`digit`, `fashion`, `stacked`).
        test_accuracy: in [0, 1], measured once on the official test split; of stacked images, what
            follows for three independent test digits.
        feature_dim: width of its features.
        digest: SHA-256 of the file, in hex.
    """

    module: Classifier | StackedClassifier
    dataset: str
    label_names: tuple[str, ...]
    prefix: str
    test_accuracy: float
    feature_dim: int
    digest: str


def save(
    path: Path,
    module: Classifier,
    *,
    dataset: str,
    label_names: tuple[str, ...],
    prefix: str,
    accuracy: float,
) -> None:
    """Writes a folded classifier in half precision, which halves the file.

    Args:
        path: the `.safetensors` file to write.
        module: without BatchNorm, see `Classifier.folded`.
        dataset, label_names, prefix, accuracy: see `LoadedClassifier`.
    """
    facts = {
        "dataset": dataset,
        "label_names": label_names,
        "arguments": module.arguments,
        "test_accuracy": accuracy,
        "prefix": prefix,
    }
    # One entry: safetensors writes several in random order, and the same weights should be the same bytes.
    metadata = {"classifier": json.dumps(facts)}
    weights = {name: w.half().contiguous() for name, w in module.state_dict().items()}
    # Not save_file: it makes files that only their owner may read.
    content = to_bytes(weights, metadata)
    write_output(path, lambda file: file.write(content))


def read(path: Path) -> LoadedClassifier:
    """Reads a classifier file.

    Raises:
        GanctlError: the file is missing, damaged, or not one of ours.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})["classifier"])
            weights = {name: file.get_tensor(name).float() for name in file.keys()}
        module = Classifier(**facts["arguments"])
        module.load_state_dict(weights)
        label_names = tuple(facts["label_names"])
        if len(label_names) != module.num_classes:
            raise ValueError(f"{len(label_names)} label names for {module.num_classes} classes")
        return LoadedClassifier(
            module=module.eval().requires_grad_(False),
            dataset=facts["dataset"],
            label_names=label_names,
            prefix=facts["prefix"],
            test_accuracy=float(facts["test_accuracy"]),
            feature_dim=module.feature_dim,
            digest=digest,
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, KeyError):
            reason = f"it has no {reason}"
        raise GanctlError(
            f"the classifier {path.name} can't be read: {reason}",
            "reinstall ganctl, or make it again with scripts/train_classifier.py",
        ) from error


def load(dataset_name: str) -> LoadedClassifier | None:
    """The classifier that ships with the package for this data set, or None where there is none.

    Raises:
        GanctlError: the bundled file is damaged.
    """
    if dataset_name == "stacked_mnist":
        single = load("mnist")
        return None if single is None else stacked(single, dataset_name)
    path = ASSETS / f"classifier_{dataset_name}.safetensors"
    return read(path) if path.is_file() else None


def stacked(single: LoadedClassifier, dataset_name: str) -> LoadedClassifier:
    """The classifier of modes that a classifier of single grey images makes."""
    assert isinstance(single.module, Classifier)
    module = StackedClassifier(single.module)
    return LoadedClassifier(
        module=module.eval(),
        dataset=dataset_name,
        label_names=tuple(map("".join, itertools.product(single.label_names, repeat=3))),
        prefix="stacked",
        test_accuracy=single.test_accuracy**3,
        feature_dim=module.feature_dim,
        digest=single.digest,
    )
