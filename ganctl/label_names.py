"""The labels of each data set, in the order of their numbers; here, for what cannot wait for torch."""

from __future__ import annotations

_DIGITS = tuple("0123456789")

LABEL_NAMES: dict[str, tuple[str, ...]] = {
    "mnist": _DIGITS,
    # single words, so that they can be typed after --label
    "fashion": (
        "t-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle-boot",
    ),
    "digits": _DIGITS,
    "cifar10": (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
    "stacked_mnist": (),  # its modes are for evaluation only
}
