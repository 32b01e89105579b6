"""The labels of each data set, in the order of their numbers; here, for what cannot wait for torch."""

from __future__ import annotations

from collections.abc import Sequence

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
    "stacked_mnist": (),  # its modes are for evaluation only
}


def numbered(names: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
    """Each name as a place among all that occur, numbers in their own order."""
    known = sorted(set(names), key=lambda name: (len(name), name) if name.isdecimal() else (1 << 30, name))
    places = {name: i for i, name in enumerate(known)}
    return [places[name] for name in names], tuple(known)
