"""Classifiers, the bundled ones and users' own: what says whether an image shows its label, and a small
feature space.

Scores made with one carry its data set's prefix (`digit_fd`, `fashion_fd`, …) and are never called FID.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, Field, StringConstraints, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from ganctl import untrusted
from ganctl.atomic import write_output
from ganctl.data.dataset import DatasetFacts
from ganctl.errors import GanctlError, UsageError
from ganctl.label_names import LABEL_NAMES
from ganctl.metrics.classifier_net import MIN_RESOLUTION, Classifier, StackedClassifier

ASSETS = Path(__file__).resolve().parent.parent / "assets"
TRAIN_FIX = "train one: ganctl train-classifier DATA"

# Names are printed on terminals: no control characters.
_Name = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]+$", max_length=200)]


class _Arguments(BaseModel, extra="forbid", strict=True):
    channels: int = Field(ge=1, le=64)
    resolution: int = Field(ge=MIN_RESOLUTION, le=4096)
    num_classes: int = Field(ge=2, le=10_000)
    width: int = Field(ge=2, le=1024)


class _Facts(BaseModel, extra="forbid"):
    """What a file says of its weights."""

    dataset: _Name
    label_names: list[_Name]
    arguments: _Arguments
    test_accuracy: float = Field(ge=0, le=1)
    prefix: str = Field(pattern=r"^[A-Za-z0-9_]{1,32}$")

    @model_validator(mode="after")
    def _consistent(self) -> _Facts:
        names, num_classes = self.label_names, self.arguments.num_classes
        if len(names) != num_classes:
            raise ValueError(f"{len(names)} label names for {num_classes} classes")
        if len(set(names)) < len(names):
            raise ValueError("two labels have one name")
        return self


@dataclass(frozen=True)
class LoadedClassifier:
    """A classifier, ready to score images, and what a report says about it.

    Args:
        module: in evaluation mode, float32, without gradients, on the CPU.
        dataset: the data set whose training split it was trained on, or is made of.
        label_names: name of each class.
        prefix: what its metrics' names start with (`digit`, `fashion`, `stacked`, a word of the user's data).
        test_accuracy: in [0, 1], measured once on the test split; of stacked images, what follows for three
            independent test digits.
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

    def require_fit(self, name: str, shape: tuple[int, int], label_names: tuple[str, ...] | None) -> None:
        """
        Args:
            name: of what it is to look at, for the message.
            shape: (channels, resolution) of the images.
            label_names: that the images were made for; None or none where only their features are wanted.

        Raises:
            UsageError: it was trained on images of another shape, or on other labels.
        """
        own = (self.module.channels, self.module.resolution)
        if own != shape:
            (c1, r1), (c2, r2) = own, shape
            what = f"reads {c1} × {r1} × {r1} images, {name} has {c2} × {r2} × {r2}"
        elif not label_names or label_names == self.label_names:
            return
        elif len(label_names) != len(self.label_names):
            what = f"knows {len(self.label_names)} labels, {name} has {len(label_names)}"
        else:
            pairs = zip(self.label_names, label_names, strict=True)
            k, mine, theirs = next((k, a, b) for k, (a, b) in enumerate(pairs) if a != b)
            what = f"calls label {k} {mine!r}, {name} calls it {theirs!r}"
        raise UsageError(f"the classifier of {self.dataset} {what}", f"{TRAIN_FIX}, with the same data")


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

    Raises:
        UsageError: the file cannot be written.
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
    """Reads a classifier file, which anyone may have written: no network is made that is larger than it.

    Raises:
        UsageError: the file is missing, damaged, or not one of ours.
    """
    try:
        with open(path, "rb") as start:  # safetensors does not say why it cannot open a file
            untrusted.check_safetensors_header(start)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with safe_open(path, framework="pt") as file:
            said: Any = json.loads((file.metadata() or {})["classifier"])
            facts = _Facts.model_validate(said)
            weights = {name: file.get_tensor(name).float() for name in file.keys()}
        with torch.device("meta"):  # takes no memory, and no number from anyone's random stream
            module = Classifier(**facts.arguments.model_dump())
        module.load_state_dict(weights, assign=True)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise UsageError(f"the classifier {path.name} can't be read: {_reason(error)}", TRAIN_FIX) from error
    return LoadedClassifier(
        module=module.eval().requires_grad_(False),
        dataset=facts.dataset,
        label_names=tuple(facts.label_names),
        prefix=facts.prefix,
        test_accuracy=facts.test_accuracy,
        feature_dim=module.feature_dim,
        digest=digest,
    )


def load(dataset_name: str) -> LoadedClassifier | None:
    """The classifier that ships with the package for this data set, or None where there is none.

    Raises:
        GanctlError: the bundled file is damaged.
    """
    if dataset_name == "stacked_mnist":
        single = load("mnist")
        return None if single is None else stacked(single, dataset_name)
    path = ASSETS / f"classifier_{dataset_name}.safetensors"
    if dataset_name not in LABEL_NAMES or not path.is_file():
        return None
    try:
        return read(path)
    except UsageError as error:
        raise GanctlError(error.what, "reinstall ganctl") from error


def choose(file: str | None, dataset_name: str) -> LoadedClassifier | None:
    """The user's own, or else the one that ships with the package.

    Args:
        file: `callbacks.evaluate.classifier`, relative to the working directory.

    Raises:
        UsageError: as `read`.
    """
    if file is None:
        return load(dataset_name)
    try:
        return read(Path(file).expanduser())
    except UsageError as error:
        fix = "set callbacks.evaluate.classifier=FILE to one of ganctl train-classifier, or to null"
        raise UsageError(error.what, fix) from error


def none_for(facts: DatasetFacts) -> tuple[str, str]:
    """(why there is none for this data set, what would work)."""
    if not facts.label_names:
        return f"{facts.name} has no labels for a classifier", "scores of Inception need none"
    return (
        f"no classifier comes with {facts.name}",
        "ganctl train-classifier makes one, for callbacks.evaluate.classifier=FILE and eval --classifier",
    )


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


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
    if isinstance(error, KeyError):
        return f"it has no {str(error).splitlines()[0]}"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error).splitlines()[0] if str(error) else type(error).__name__
