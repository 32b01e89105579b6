"""Where metrics and pictures go. The rest of the program holds one `RunLog`, on rank 0.

The step of every row is the number of batches: Lightning's `global_step` counts two optimizers.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger
from pytorch_lightning.loggers.logger import Logger
from torch import Tensor

from ganctl.comet_logger import CometRun
from ganctl.errors import UsageError
from ganctl.jsonl_logger import JsonlLogger
from ganctl.logger_config import LoggerConfig, MlflowConfig
from ganctl.wandb_logger import WandbRun, has_key, resolve_mode

log = logging.getLogger("ganctl")


class RunLog:
    """Hands rows and pictures to every logger; one that fails is dropped, and training goes on.

    Args:
        loggers: none of them (any rank but 0) makes every call do nothing.
        flush_every_steps: how many rows of `scalars` are kept before they are read from the device.
    """

    def __init__(self, loggers: Sequence[Logger], flush_every_steps: int = 20) -> None:
        self.last: dict[str, float] = {}
        """The newest row that was read from the device, for the progress bar."""
        self.wandb_id: str | None = next((x.id for x in loggers if isinstance(x, WandbRun)), None)
        """Stored in checkpoints, so that a resumed run continues the same W&B run."""
        self._loggers = list(loggers)
        self._jsonl = next((x for x in loggers if isinstance(x, JsonlLogger)), None)
        self._silent = not loggers
        self._flush_every_steps = flush_every_steps
        self._rows: list[tuple[int, int, dict[str, Tensor | float]]] = []
        self._clock: tuple[float, int] | None = None  # (time, images seen) from which speed is measured
        self._images_seen = 0

    def scalars(self, row: Mapping[str, Tensor | float], step: int, images_seen: int) -> None:
        """Keeps one training row. The device is read once in `flush_every_steps` rows, not at every step.

        Args:
            row: 0-d tensors, on any device, that nobody changes in place afterwards; or numbers.
            step: batches so far.
            images_seen: over all ranks.
        """
        if self._silent:
            return
        if self._clock is None:  # the first step has compiled, allocated, tuned: it is not timed
            self._clock = (time.perf_counter(), images_seen)
        kept = {key: v.detach() if isinstance(v, Tensor) else v for key, v in row.items()}
        self._rows.append((step, images_seen, kept))
        self._images_seen = images_seen
        if len(self._rows) >= self._flush_every_steps:
            self.flush()

    def flush(self) -> None:
        """Reads the kept rows from the device and logs them.

        Called ahead of an evaluation it keeps the evaluation's time out of `train/images_per_s`.
        """
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        values = _floats([row for _, _, row in rows])
        speed = self._images_per_s()
        for (step, images_seen, _), row in zip(rows, values, strict=True):
            self.last = {**row, **speed, "images_seen": images_seen}
            self._log(self.last, step)

    def metrics(self, row: Mapping[str, Tensor | float], step: int, images_seen: int) -> None:
        """Logs one row now (validation, evaluation)."""
        self.flush()
        self._log({**_floats([row])[0], "images_seen": images_seen}, step)
        self._restart_clock()

    def image(self, key: str, image: Image.Image, caption: str, step: int) -> None:
        """Logs one picture to the loggers that take pictures; all of them lie in the run folder anyway."""
        self.flush()
        self._each(lambda logger: _log_image(logger, key, image, caption, step))
        self._restart_clock()

    def config(self, params: Mapping[str, Any]) -> None:
        """Stores the resolved config, a plain dict."""
        self._each(lambda logger: logger.log_hyperparams(dict(params)))

    def watch(self, model: torch.nn.Module) -> None:
        """Gradient histograms in W&B, if the config asks for them."""
        self._each(lambda logger: logger.watch(model) if isinstance(logger, WandbRun) else None)

    def checkpoint(self, path: Path) -> None:
        """The checkpoint as a W&B artifact, if the config asks for it."""
        self._each(lambda logger: logger.log_checkpoint(path) if isinstance(logger, WandbRun) else None)

    def mark(self) -> int:
        """Logs what is kept; the length in bytes of `metrics.jsonl`, by which a checkpoint knows its end."""
        self.flush()
        return self._jsonl.mark() if self._jsonl is not None else 0

    def cut(self, length: int) -> None:
        """Forgets the rows after a `mark`: the run goes back to it."""
        self._rows = []
        if self._jsonl is not None:
            self._jsonl.cut(length)

    def finish(self, exit_code: int) -> None:
        """Logs what is kept and ends every logger. Later calls, of this or of another method, do nothing."""
        try:
            self.flush()
        except RuntimeError as error:  # the device has failed: that error is on its way already
            log.warning("the last training rows could not be read: %s", error)
        status = "success" if exit_code == 0 else "failed"
        self._each(lambda x: x.finish(exit_code) if isinstance(x, WandbRun) else x.finalize(status))
        self._loggers = []
        self._silent = True

    def _log(self, row: Mapping[str, float], step: int) -> None:
        self._each(lambda logger: logger.log_metrics(dict(row), step))

    def _each(self, call: Callable[[Logger], object]) -> None:
        for logger in list(self._loggers):
            try:
                call(logger)
            except Exception as error:
                self._loggers.remove(logger)
                kind = type(logger).__name__
                log.warning(
                    "%s failed and is dropped, training goes on (%s: %s)", kind, type(error).__name__, error
                )
                if isinstance(logger, WandbRun):
                    logger.abandon()

    def _images_per_s(self) -> dict[str, float]:
        """Images since the last flush / time since then; nothing where there is no time to speak of."""
        if self._clock is None:
            return {}
        since, images_then = self._clock
        self._restart_clock()
        seconds, images = self._clock[0] - since, self._images_seen - images_then
        return {"train/images_per_s": images / seconds} if images > 0 and seconds > 0 else {}

    def _restart_clock(self) -> None:
        self._clock = (time.perf_counter(), self._images_seen)


def _floats(rows: Sequence[Mapping[str, Tensor | float]]) -> list[dict[str, float]]:
    """Numbers for tensors: one read for each device and dtype (as a rule one), not one for each value."""
    groups: dict[tuple[torch.device, torch.dtype], list[tuple[int, str]]] = defaultdict(list)
    for i, row in enumerate(rows):
        for key, value in row.items():
            if isinstance(value, Tensor):
                groups[value.device, value.dtype].append((i, key))
    out: list[dict[str, Any]] = [dict(row) for row in rows]
    for places in groups.values():
        stacked = torch.stack([out[i][key].reshape(()) for i, key in places])
        for (i, key), number in zip(places, stacked.tolist(), strict=True):
            out[i][key] = number
    return [{key: float(value) for key, value in row.items()} for row in out]


def _log_image(logger: Logger, key: str, image: Image.Image, caption: str, step: int) -> None:
    if isinstance(logger, (WandbRun, CometRun)):
        logger.log_image(key, image, caption, step)
    elif isinstance(logger, TensorBoardLogger):
        pixels = np.asarray(image)
        logger.experiment.add_image(key, pixels, step, dataformats="HWC" if pixels.ndim == 3 else "HW")
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_image(logger.run_id, image, artifact_file=f"{key}_{step:06d}.png")


def check(spec: Mapping[str, Any]) -> None:
    """Finds out, before anything is made, that a logger cannot be had.

    Args:
        spec: the `logger` part of the config, a plain dict.

    Raises:
        UsageError: a package or a key is missing, or the service no longer exists.
    """
    options = LoggerConfig.model_validate(dict(spec))
    if options.neptune:
        raise UsageError(
            "logger=neptune: Neptune's service closed in March 2026",
            "use logger=wandb, mlflow, comet, tensorboard or csv",
        )
    optional = (
        (options.tensorboard, "tensorboard", "tensorboard", "tensorboard"),
        (options.mlflow, "mlflow", "mlflow", "mlflow-skinny"),
        (options.comet, "comet", "comet_ml", "comet-ml"),
    )
    for section, group, module, package in optional:
        if section is not None and importlib.util.find_spec(module) is None:
            raise UsageError(f"logger={group} needs the package {package}", f"pip install 'ganctl[{group}]'")
    if options.wandb is not None:
        resolve_mode(options.wandb.mode, os.environ, has_key)


def build(
    spec: Mapping[str, Any],
    run_dir: Path,
    run_name: str,
    config: Mapping[str, Any],
    wandb_id: str | None,
    metrics_bytes: int = 0,
) -> RunLog:
    """Starts every logger that the config names, and `metrics.jsonl`.

    Args:
        spec: the `logger` part of the config, a plain dict.
        run_dir: the run folder; it exists.
        run_name: what the loggers call the run.
        config: the resolved config, which they store. It holds no secrets: keys come from the environment.
        wandb_id: the W&B run to continue, from the checkpoint that is resumed.
        metrics_bytes: length of its `metrics.jsonl`.

    Raises:
        UsageError: as `check`, or a server refuses.
    """
    check(spec)
    options = LoggerConfig.model_validate(dict(spec))
    loggers: list[Logger] = []
    if options.csv is not None:
        # A new version for every start: the same one again would be emptied.
        loggers.append(CSVLogger(run_dir, "csv", flush_logs_every_n_steps=options.csv.flush_every_steps))
    if options.tensorboard is not None:
        seconds = options.tensorboard.flush_every_s
        loggers.append(
            TensorBoardLogger(run_dir, "tensorboard", "", default_hp_metric=False, flush_secs=seconds)
        )
    if options.mlflow is not None:
        loggers.append(_mlflow(options.mlflow, run_dir, run_name))
    if options.comet is not None:
        loggers.append(CometRun(options.comet, run_dir, run_name))
    wandb_mode = resolve_mode(options.wandb.mode, os.environ, has_key) if options.wandb else "disabled"
    if options.wandb is not None and wandb_mode != "disabled":
        try:
            loggers.append(WandbRun(options.wandb, wandb_mode, run_dir, run_name, wandb_id))
        except Exception as error:  # even offline it needs a process of its own, a socket, disk space
            log.warning("W&B cannot be started and is left out (%s: %s)", type(error).__name__, error)
    run_log = RunLog([JsonlLogger(run_dir / "metrics.jsonl", metrics_bytes), *loggers])
    run_log.config(config)
    return run_log


def _mlflow(options: MlflowConfig, run_dir: Path, run_name: str) -> MLFlowLogger:
    # MLflow would retry a silent server for a quarter of an hour, inside the training step.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    uri = options.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        # The small package has no database; MLflow 3 wants to be told that files are meant.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        uri = f"file:{run_dir.resolve() / 'mlruns'}"
    try:
        logger = MLFlowLogger(options.experiment, run_name, tracking_uri=uri)
        _ = logger.experiment  # connects now, not at the first step
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"MLflow cannot be used: {reason}",
            "check logger.mlflow.tracking_uri and MLFLOW_TRACKING_URI (sqlite:// needs the package mlflow)",
        ) from error
    return logger
