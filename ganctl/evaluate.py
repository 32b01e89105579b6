"""Generated images against real ones -> a report: every score with its floor, and how both were made.

The floor is the score that real training images get in the generator's place: no generator can be expected to
do better than real images do.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganctl import __version__, collectives
from ganctl.errors import UsageError
from ganctl.metrics import catalogue
from ganctl.pixel_scores import on_images
from ganctl.report import Metric, Report
from ganctl.scoring import Request, Run, on_features
from ganctl.sides import Fakes, Reals

log = logging.getLogger("ganctl")


def evaluate(
    fakes: Fakes,
    reals: Reals,
    request: Request,
    device: torch.device,
    emit: Callable[[dict[str, Metric]], None] = lambda rows: None,
) -> tuple[Report, bool]:
    """Computes what was asked for, the quick extractor first; what cannot be computed becomes a row that says
    why. Ranks that were started together share the extraction of features; rank 0 has the whole report.

    Memory does not grow with the number of images, but for logits (4 bytes for each label, or mode) and the
    scores that need every feature vector (kid, prdc, fid_infinity, intra_fid: 4 bytes for each feature) or
    every image (memorisation, cas).

    Args:
        emit: told the rows of each part as soon as they are there.

    Returns:
        The report, and whether it is complete: Ctrl-C ends the work and keeps what is finished.

    Raises:
        UsageError: nothing of what was asked for can be computed.
    """
    if request.repeats > 1 and not fakes.many:
        raise UsageError("files cannot be drawn again with another seed", "leave out --repeats")
    run = Run(fakes, reals, request, device, emit)
    started = time.perf_counter()
    complete = True
    is_first = collectives.place()[0] == 0
    try:
        for features in request.features:
            _timed(run, Path(features).stem, lambda name=features: on_features(run, name))  # type: ignore[misc]
        for name in catalogue.ON_IMAGES:
            # Not shared among ranks: the others are done here.
            if is_first and name in catalogue.choose(request.metrics, True):
                _timed(run, name, lambda name=name: on_images(run, name))  # type: ignore[misc]
    except KeyboardInterrupt:
        complete = False
        log.warning("interrupted: what is finished is kept")
    if complete and is_first and all(m.value is None for m in run.metrics.values()):
        reasons = dict.fromkeys(m.reason for m in run.metrics.values() if m.reason)
        raise UsageError(f"nothing could be computed: {'; '.join(reasons)}", "choose other --metrics")
    run.timings["total"] = round(time.perf_counter() - started, 1)
    protocol = reals.protocol | fakes.protocol | _circumstances(run)
    judge, dataset = request.classifier, reals.dataset
    names = judge.label_names if judge else dataset.facts.label_names if dataset else ()
    return Report(run.metrics, protocol, run.confusion, names, run.pairs), complete


def _timed(run: Run, part: str, work: Callable[[], None]) -> None:
    started = time.perf_counter()
    work()
    run.timings[part] = round(time.perf_counter() - started, 1)


def _circumstances(run: Run) -> dict[str, Any]:
    return {
        "extractors": run.stamps,
        "seed": run.request.seed,
        "device": run.device.type,
        "versions": {
            "ganctl": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
        "timings": run.timings,
    }
