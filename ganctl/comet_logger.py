"""One Comet experiment."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from pytorch_lightning.loggers.logger import Logger

from ganctl.errors import UsageError
from ganctl.logger_config import CometConfig


class CometRun(Logger):
    """A Comet experiment, online or in `<run_dir>/comet`.

    Lightning's `CometLogger` disables an offline experiment (nothing is written), and never ends one.
    """

    name = "comet"

    def __init__(self, options: CometConfig, run_dir: Path, run_name: str) -> None:
        super().__init__()
        # Both are read at import: one keeps Comet from patching torch, one from reporting on itself over the
        # network, offline runs too.
        os.environ.setdefault("COMET_DISABLE_AUTO_LOGGING", "1")
        os.environ.setdefault("COMET_ERROR_TRACKING_ENABLE", "false")
        comet_ml = importlib.import_module("comet_ml")

        known = bool(comet_ml.get_config("comet.api_key"))
        if options.mode == "online" and not known:
            raise UsageError(
                "logger.comet.mode=online needs a Comet key, and there is none",
                "set COMET_API_KEY, or use logger.comet.mode=offline",
            )
        self._experiment = comet_ml.start(
            project=options.project,
            workspace=options.workspace,
            online=known if options.mode == "auto" else options.mode == "online",
            experiment_config=comet_ml.ExperimentConfig(
                name=run_name,
                offline_directory=str(run_dir / "comet"),
                display_summary_level=0,
                log_code=False,
                log_git_patch=False,
                parse_args=False,
                auto_param_logging=False,
                auto_metric_logging=False,
                auto_output_logging=False,
            ),
        )

    @property
    def version(self) -> str:
        """The experiment's key."""
        return str(self._experiment.get_key())

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """One row."""
        self._experiment.log_metrics(dict(metrics), step=step)

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:  # type: ignore[override]
        """A nested dict; Comet flattens it."""
        self._experiment.log_parameters(dict(params))

    def log_image(self, key: str, image: Image.Image, caption: str, step: int) -> None:
        """One captioned picture."""
        self._experiment.log_image(image, name=key, step=step, metadata={"caption": caption})

    def finalize(self, status: str) -> None:
        """Uploads, or packs the offline archive."""
        self._experiment.end()
