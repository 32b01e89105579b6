"""The card of a generator that goes to others: what it is, how it was made, how good it is, how to use it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml
from torch import nn

from ganctl import networks, reproduce
from ganctl.errors import GanctlError, UsageError, printable
from ganctl.report import Metric, ReportFile
from ganctl.sharing import recipe
from ganctl.snapshot import Snapshot
from ganctl.wording import markdown

MAX_NAMES = 100  # labels that are listed


def require_license(name: str) -> None:
    """
    Raises:
        UsageError: it does not look like the name of a licence.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,63}", name):
        raise UsageError(
            f"{name!r:.80} is not the short name of a licence",
            "write it as in mit, apache-2.0 or cc-by-sa-4.0",
        )


def card(
    snapshot: Snapshot, G: nn.Module, report: ReportFile | None, license_name: str | None, picture: bool
) -> str:
    """Markdown behind a header of YAML, as model hubs show it.

    What comes from the checkpoint is escaped: names may be a stranger's.

    Args:
        G: the generator, built.
        report: its scores.
        license_name: of the weights, as hubs abbreviate it.
        picture: whether there is a `samples.png` beside the card.
    """
    facts = snapshot.facts
    header: dict[str, object] = {"license": license_name} if license_name else {}
    header |= {
        "library_name": "ganctl",
        "pipeline_tag": "unconditional-image-generation",  # there is none for labels
        "tags": ["ganctl", "gan", *(["class-conditional"] if facts.num_classes else [])],
    }
    kind = "class-conditional" if facts.num_classes else "unconditional"
    colours = {1: "grey ", 3: "RGB "}.get(facts.channels, "")
    size = f"{facts.resolution} × {facts.resolution}"
    lines = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---",
        "",
        f"# Generator for {markdown(facts.name)}",
        "",
        f"The generator of a {kind} GAN: {colours}images of {size} pixels.",
    ]
    if picture:
        rows = "one row for each label, one column for each seed" if facts.num_classes else "one image a seed"
        lines += ["", f"![{rows}](samples.png)"]
    lines += ["", "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in _facts(snapshot, G))]
    lines += ["", "## Draw images", "", *_usage(snapshot), "", "## Scores", "", *_scores(report)]
    if not license_name:
        lines += ["", "## Licence", "", "Whoever published this file has not said under which licence it is."]
    return "\n".join(lines) + "\n"


def _facts(snapshot: Snapshot, G: nn.Module) -> Iterator[tuple[str, str]]:
    facts = snapshot.facts
    count = f": {sum(facts.class_counts):,} training images" if facts.class_counts else ""
    yield "data", f"{markdown(facts.name)}{count}"
    if facts.num_classes:
        more = facts.num_classes - MAX_NAMES
        names = ", ".join(markdown(name) for name in facts.label_names[:MAX_NAMES])
        yield "labels", f"{names}, and {more:,} more" if more > 0 else names
    arguments = [f"{key}={value}" for key, value in snapshot.generator.items() if key != "_target_"]
    parameters = sum(p.numel() for p in G.parameters())
    network = _code(f"{snapshot.generator.get('_target_')}({', '.join(arguments)})")
    yield "network", f"{network}, {parameters:,} parameters, latents (N, {snapshot.latent_dim})"
    # The configuration of a foreign checkpoint may have any shape, and its experiment may be unknown here.
    unknown = (GanctlError, LookupError, TypeError, ValueError, AttributeError)
    try:
        yield "training", _code(reproduce.command(recipe.effective(snapshot.config)))
    except unknown:
        pass
    try:
        yield "recipe", markdown(recipe.in_words(snapshot.config))
    except unknown:
        pass
    yield "images seen", f"{snapshot.nimg:,} in {snapshot.steps:,} batches"
    yield "weights", f"averaged over the training (EMA); digest {_code(snapshot.digest)}"
    yield "versions", markdown(", ".join(f"{name} {version}" for name, version in snapshot.versions.items()))


def _usage(snapshot: Snapshot) -> list[str]:
    label = " --label 0" if snapshot.facts.num_classes else ""
    trust = "" if networks.is_ours(snapshot.generator) else " --trust-code"
    lines = [
        "`ganctl pull` this repository, or download `model.safetensors`; then",
        "",
        f"```\nganctl sample --ckpt model.safetensors{label} --n 64{trust}\n```",
        "",
        "The same file, label and seed give the same bytes. `ganctl export` makes ONNX, TorchScript and "
        "`torch.export` files of it, which need no ganctl.",
    ]
    if trust:
        lines += ["", "Its network is not part of ganctl: the package that defines it must be installed."]
    return lines


def _scores(report: ReportFile | None) -> list[str]:
    if report is None:
        return ["None were computed before it was published."]
    p = report.protocol
    extractors = [
        f"{_code(name)} (sha256 {markdown(stamp.sha256[:8])}; {markdown(stamp.resize)}; "
        f"{markdown(stamp.precision)})"
        for name, stamp in p.extractors.items()
    ]
    versions = ", ".join(f"{name} {version}" for name, version in p.versions.items())
    return [
        "| score | value | real images in its place | |",
        "|---|---|---|---|",
        *(_row(name, metric) for name, metric in report.metrics.items()),
        "",
        f"{p.num_gen:,} generated images, seeds from {p.seed}, labels {markdown(p.labels)}, against "
        f"{p.num_real:,} of {markdown(p.data)}: {markdown(p.real)}. In its place: {markdown(p.floor)}. "
        f"Features: {'; '.join(extractors) or 'none'}. On {markdown(p.device)}; {markdown(versions)}. "
        "The whole report is `eval.json`.",
    ]


def _row(name: str, metric: Metric) -> str:
    value, floor = ("–" if x is None else f"{x:.4g}" for x in (metric.value, metric.floor))
    remark = markdown(metric.reason or "")
    if metric.std is not None:
        remark = f"± {metric.std:.2g} over {metric.repeats} seeds"
    elif metric.subset_std is not None:
        remark = f"± {metric.subset_std:.2g} within"
    return f"| `{name}` | {value} | {floor} | {remark} |"


def _code(words: str) -> str:
    return f"`{printable(words).replace('`', chr(39)).replace('|', chr(92) + '|')}`"
