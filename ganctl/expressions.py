"""What people and PNGs say of labels and seeds: `5`, `0-9`, `all`, `trouser`; `0,1,4-6`; `trouser:4`."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from ganctl.errors import UsageError, nearest
from ganctl.generate import require_possible
from ganctl.latents import MAX_SEED


class Point(NamedTuple):
    """What an image is of: a label and a seed. Without labels the label is 0."""

    label: int
    seed: int


def parse_labels(text: str | None, names: Sequence[str]) -> list[int]:
    """`5`, `0-9`, `1,3,5`, `all`, class names, and mixtures of them; None is all.

    Returns:
        The labels in their order, each once. Without names, which is a generator trained without labels, the
        single 0, at which it does not look.

    Raises:
        UsageError: names the part that is no label, and the labels there are.
    """
    if not names:
        if text is not None:
            raise UsageError("this generator was trained without labels", "leave out --label")
        return [0]
    labels: list[int] = []
    for part in (p.strip() for p in ("all" if text is None else text).split(",")):
        span = re.fullmatch(r"(\d{1,9})-(\d{1,9})", part)
        if part in names:
            labels.append(list(names).index(part))
        elif part == "all":
            labels += range(len(names))
        elif span and int(span[1]) <= int(span[2]) < len(names):
            labels += range(int(span[1]), int(span[2]) + 1)
        elif re.fullmatch(r"\d{1,9}", part) and int(part) < len(names):
            labels.append(int(part))
        else:
            numbers = part.replace("-", "").isdecimal()
            fix = f"labels are 0 to {len(names) - 1}" if numbers else nearest(part, [*names, "all"])
            raise UsageError(f"there is no label {part!r}", fix)
    return list(dict.fromkeys(labels))


def parse_seeds(text: str, most: int | None = None) -> list[int]:
    """`0,1,4-6` -> [0, 1, 4, 5, 6].

    Args:
        most: of them; no more are listed. As many as one call draws without it.

    Raises:
        UsageError: names the part that is no seed, or there are too many.
    """
    seeds: list[int] = []
    for part in (p.strip() for p in text.split(",")):
        match = re.fullmatch(r"(\d{1,20})(?:-(\d{1,20}))?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last <= MAX_SEED:
            raise UsageError(f"cannot read the seeds {part!r}", "write numbers and ranges, as in 0,1,4-6")
        require_possible(len(seeds) + last - first + 1, most)
        seeds += range(first, last + 1)
    return seeds


def seeds_text(seeds: Sequence[int]) -> str:
    """What `parse_seeds` reads as these seeds, in this order: `0-2,7`."""
    if isinstance(seeds, range) and seeds.step == 1 and len(seeds) > 2:
        return f"{seeds[0]}-{seeds[-1]}"  # of a million at once
    parts = []
    # In a run of neighbours the difference to the place is the same.
    for _, run in itertools.groupby(enumerate(seeds), lambda x: x[1] - x[0]):
        numbers = [seed for _, seed in run]
        parts += [f"{numbers[0]}-{numbers[-1]}"] if len(numbers) > 2 else [str(seed) for seed in numbers]
    return ",".join(parts)


def parse_point(text: str, names: Sequence[str], label: int | None = None, seed: int = 0) -> Point:
    """`LABEL:SEED`, or one of the two.

    Args:
        names: of the labels; none of a generator without labels, for which `SEED` is enough.
        label: of a text that is a seed; without it such a text is a label.
        seed: of a text that is a label.

    Raises:
        UsageError: it is none of these, or no label or seed there is.
    """
    typed = text.strip()
    first, colon, second = typed.rpartition(":")
    if typed in names and (label is None or not typed.isdecimal()):
        return Point(list(names).index(typed), seed)
    if colon and names:
        return Point(one_label(first, names), _one_seed(second))
    if not names or label is not None:
        return Point(label or 0, _one_seed(typed))
    return Point(one_label(typed, names), seed)


def one_label(text: str, names: Sequence[str]) -> int:
    """
    Raises:
        UsageError: it is no label, or several.
    """
    labels = parse_labels(text, names)
    if len(labels) > 1:
        raise UsageError(f"{text!r} are several labels", "give one, as in 5 or 5:0")
    return labels[0]


def _one_seed(text: str) -> int:
    if not re.fullmatch(r"\d{1,20}", text.strip()) or int(text) > MAX_SEED:
        raise UsageError(f"{text!r} is no seed", f"write LABEL:SEED, as in 5:0; seeds are 0 to {MAX_SEED}")
    return int(text)


def require_truncation(truncation: float) -> None:
    """
    Raises:
        UsageError: it is not in (0, 1].
    """
    if not 0 < truncation <= 1 or math.isnan(truncation):
        raise UsageError(
            f"a truncation of {truncation} is not above 0 and at most 1",
            "1 leaves latents as they are, 0.7 draws them nearer to the average",
        )
