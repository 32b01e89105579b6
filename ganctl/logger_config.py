"""What the `logger` part of a config may say. Only pydantic is imported here: `--help` reads it too."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator

Seconds = Annotated[float, Field(gt=0)]


class WandbConfig(BaseModel, extra="forbid"):
    """Weights & Biases.

    Args:
        project: the project that the run belongs to.
        entity: team or user; null is the account's default.
        mode: `auto` is online when a key exists, otherwise offline. `WANDB_MODE` decides an `auto`.
        name: the run's name; null is the run folder's.
        group: runs of one group are shown together (a sweep, several seeds).
        tags: words to filter runs by.
        watch: log gradient histograms of the networks (slow: each one waits for the device).
        log_checkpoints: upload the checkpoints as artifacts.
        log_code: upload the package's source as an artifact.
        init_timeout_s: how long a start may wait for the server before the run goes on offline.
        finish_timeout_s: how long the end may wait for uploads; the rest stays in the run folder.
    """

    project: str = "ganctl"
    entity: str | None = None
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    name: str | None = None
    group: str | None = None
    tags: list[str] = []
    watch: bool = False
    log_checkpoints: bool = False
    log_code: bool = False
    init_timeout_s: Seconds = 20.0
    finish_timeout_s: Seconds = 120.0


class CsvConfig(BaseModel, extra="forbid"):
    """`csv/version_N/metrics.csv` in the run folder.

    Args:
        flush_every_steps: how often rows are written out.
    """

    flush_every_steps: Annotated[int, Field(gt=0)] = 100


class TensorboardConfig(BaseModel, extra="forbid"):
    """Event files under `tensorboard/` in the run folder.

    Args:
        flush_every_s: how often events are written out.
    """

    flush_every_s: Annotated[int, Field(gt=0)] = 30


class MlflowConfig(BaseModel, extra="forbid"):
    """MLflow.

    Args:
        experiment: the experiment that the run belongs to.
        tracking_uri: server or database; null is `MLFLOW_TRACKING_URI`, else `mlruns/` in the run folder.
    """

    experiment: str = "ganctl"
    tracking_uri: str | None = None

    @field_validator("tracking_uri")
    @classmethod
    def _no_password(cls, uri: str | None) -> str | None:
        # The resolved config is stored in the run folder, in checkpoints and by every logger.
        if uri is not None and urlsplit(uri).password is not None:
            raise ValueError(
                "holds a password, which would be stored with the run;"
                " set MLFLOW_TRACKING_URI, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, instead"
            )
        return uri


class CometConfig(BaseModel, extra="forbid"):
    """Comet.

    Args:
        project: the project that the run belongs to.
        workspace: null is the account's default.
        mode: `auto` is online when a key exists, otherwise offline (`comet/` in the run folder).
    """

    project: str = "ganctl"
    workspace: str | None = None
    mode: Literal["auto", "online", "offline"] = "auto"


class LoggerConfig(BaseModel, extra="forbid"):
    """Where metrics and pictures go besides `metrics.jsonl` and `samples/`; null leaves a logger out.

    Args:
        neptune: true is refused before training with what to use instead (the service has closed).
    """

    wandb: WandbConfig | None = None
    csv: CsvConfig | None = None
    tensorboard: TensorboardConfig | None = None
    mlflow: MlflowConfig | None = None
    comet: CometConfig | None = None
    neptune: bool = False
