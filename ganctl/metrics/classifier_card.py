"""The card of a classifier: what stands beside its weights, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ganctl.metrics.confusion import class_scores
from ganctl.wording import markdown

WORST_PAIRS = 5


def card(data: str, prefix: str, facts: Mapping[str, str], matrix: Tensor, label_names: Sequence[str]) -> str:
    """What it is for, the facts, the accuracy of each class, and which classes it takes for which.

    Args:
        data: name of the data set.
        prefix: of the metrics' names.
        facts: rows of the first table, in Markdown.
        matrix: (K, K) counts of the test images, row = label, column = recognised.
    """
    recall = class_scores(matrix).recall
    counts = matrix.sum(dim=1).tolist()
    classes = [
        f"| {markdown(name)} | {count:,} | {f'{recall[k]:.2%}' if count else '-'} |"
        for k, (name, count) in enumerate(zip(label_names, counts, strict=True))
    ]
    lines = [
        f"# Classifier for {markdown(data)}",
        "",
        f"Labels and features behind `label_accuracy` and every metric named `{prefix}_…`.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {key} | {value} |" for key, value in facts.items()),
        "",
        "| class | test images | accuracy |",
        "|---|---|---|",
        *classes,
    ]
    if pairs := worst_pairs(matrix):
        lines += ["", "| label | taken for | test images |", "|---|---|---|"]
        lines += [f"| {markdown(label_names[i])} | {markdown(label_names[j])} | {n:,} |" for i, j, n in pairs]
    return "\n".join(lines) + "\n"


def worst_pairs(matrix: Tensor) -> list[tuple[int, int, int]]:
    """The most frequent confusions, (label, recognised, images) each, most frequent first."""
    wrong = [
        (i, j, count)
        for i, row in enumerate(matrix.tolist())
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(wrong, key=lambda pair: -pair[2])[:WORST_PAIRS]
