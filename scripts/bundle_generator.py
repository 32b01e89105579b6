"""Makes the bundled generator and its card from a finished run and the reports of its evaluation.

ganctl eval --ckpt RUN --metrics all
python scripts/bundle_generator.py RUN/checkpoints/last.ckpt --report RUN/checkpoints/last.eval.json
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from ganctl import checkpoint, reproduce, runs
from ganctl.errors import GanctlError, UsageError
from ganctl.report import ReportFile, read_report
from ganctl.sharing import recipe
from ganctl.snapshot import Snapshot
from ganctl.terminal import metric_rows

MAX_BYTES = 2_000_000
LICENCES = {"mnist": "CC BY-SA 3.0 (Y. LeCun, C. Cortes)"}


def bundle(ckpt: Path, reports: Sequence[Path], out: Path) -> Path:
    """Writes `generator_<data>.safetensors` and its card into the folder `out`.

    Returns:
        The weights file.

    Raises:
        UsageError: no last checkpoint of a training on data with a known licence, weights that are too large
            to be shipped, or a report of other weights.
    """
    if ckpt.name != "last.ckpt":
        raise UsageError(
            f"{ckpt} is not the last checkpoint", "the card promises one that no score has chosen"
        )
    snapshot = checkpoint.read(ckpt)
    name = snapshot.facts.name
    if name not in LICENCES:
        raise UsageError(f"the licence of {name} is not known here", "add it to LICENCES")
    size = sum(w.nbytes for w in snapshot.ema.values())
    if size > MAX_BYTES:
        raise UsageError(f"the weights have {size:,} bytes", f"at most {MAX_BYTES:,} are shipped")
    scores = {report: read_report(report) for report in reports}
    for report, content in scores.items():
        if content.protocol.checkpoint != snapshot.digest:
            raise UsageError(
                f"{report} is of other weights than {ckpt}",
                f"ganctl eval --ckpt {ckpt} makes a report of these",
            )
    command = reproduce.command(recipe.effective(snapshot.config))
    path = out / f"generator_{name}.safetensors"
    checkpoint.write(path, snapshot)
    path.with_suffix(".md").write_text(card(path, snapshot, command, scores))
    return path


def card(path: Path, snapshot: Snapshot, command: str, reports: Mapping[Path, ReportFile]) -> str:
    """The Markdown card that stands beside the weights: facts, then the scores of each report."""
    facts = facts_of(path, snapshot, command, list(reports))
    lines = [
        f"# Generator for `{snapshot.facts.name}`",
        "",
        "What `ganctl sample` and `ganctl eval` use without `--ckpt` where there is no run below `runs/`.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {key} | {value} |" for key, value in facts.items()),
    ]
    for report, content in reports.items():
        lines += ["", f"## Scores of `{report.name}`", "", *scores_of(content)]
    return "\n".join(lines) + "\n"


def facts_of(path: Path, snapshot: Snapshot, command: str, reports: Sequence[Path]) -> dict[str, str]:
    """Rows of the card: what it is, how it was trained, how the file was made."""
    c, facts = snapshot.config, snapshot.facts
    G: nn.Module = snapshot.build()
    parameters = sum(p.numel() for p in G.parameters())
    arguments = [f"{key}={value}" for key, value in snapshot.generator.items() if key != "_target_"]
    precisions = ", ".join(sorted({str(w.dtype)[6:] for w in snapshot.ema.values() if w.is_floating_point()}))
    made = " ".join(
        ["python scripts/bundle_generator.py last.ckpt", *(f"--report {r.name}" for r in reports)]
    )
    content = path.read_bytes()
    return {
        "data": f"{facts.name}: {sum(facts.class_counts):,} training images; {c['data']['val_size']:,} more "
        "for validation, no test image",
        "file": f"`{path.name}`, {len(content) / 1000:,.0f} kB, {precisions}",
        "digest": f"`{snapshot.digest}` of the weights, as in pictures and reports",
        "sha256": f"`{hashlib.sha256(content).hexdigest()}` of the file",
        "network": f"`{snapshot.generator['_target_']}({', '.join(arguments)})`, {parameters:,} parameters, "
        f"latents (N, {snapshot.latent_dim})",
        "training": f"`{command}`",
        "recipe": recipe.in_words(c),
        "images seen": f"{snapshot.nimg:,} in {snapshot.steps:,} batches",
        "checkpoint": "the last one of the run: no score has chosen it",
        "versions": ", ".join(f"{name} {version}" for name, version in snapshot.versions.items()),
        "made by": f"`{made}`",
        "data licence": LICENCES[facts.name],
    }


def scores_of(report: ReportFile) -> list[str]:
    """A row for each score as `ganctl eval` prints it, then how they were made."""
    p = report.protocol
    extractors = [
        f"`{name}` (sha256 {stamp.sha256[:8]}; {stamp.resize}; {stamp.precision})"
        for name, stamp in p.extractors.items()
    ]
    versions = ", ".join(f"{name} {version}" for name, version in p.versions.items())
    return [
        "```",
        f"{'score':<20} {'value':>10} {'floor':>10}",
        metric_rows(report.metrics),
        "```",
        "",
        f"{p.num_gen:,} generated images, seeds from {p.seed}, labels {p.labels}, {p.weights} weights, "
        f"against {p.num_real:,} of {p.data}: {p.real}. Floor: {p.floor}. "
        f"Features: {'; '.join(extractors) or 'none'}. On {p.device}; {versions}.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("ckpt", type=Path, help="last.ckpt of a finished run")
    parser.add_argument("--report", type=Path, action="append", default=[], help="of ganctl eval; repeatable")
    parser.add_argument("--out", type=Path, default=runs.BUNDLED.parent, help="folder to write to")
    args = parser.parse_args()
    try:
        print(bundle(args.ckpt, args.report, args.out))
    except GanctlError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
