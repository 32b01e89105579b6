"""What a configuration holds: keys, types, bounds. Only pydantic is imported here, as completion reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from ganctl.logger_config import LoggerConfig


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values are checked, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RunConfig(Section):
    root: str  # new run folders are made below it
    dir: str | None  # exactly this folder instead


class DataConfig(Section):
    name: str
    root: str | None
    conditional: bool | None = None  # None, of before there was the key: labels where there are any
    stream: Literal["auto"] | bool = "auto"
    resolution: int | None = Field(default=None, ge=1, le=4096)
    crop: Literal["center", "none"] | None = None
    channels: Literal[1, 3] | None = None
    batch_size: PositiveInt  # images of a step over all ranks
    val_size: PositiveInt | None  # images cut off the training split to validate on; None: the set's own rule
    val_seed: int = Field(ge=0)
    flip: bool = False  # half of the real images mirrored while training


class ModelConfig(Section):
    latent_dim: int = Field(ge=2)
    lr: PositiveFloat
    beta1: float = Field(ge=0, lt=1)
    beta2: float = Field(ge=0, lt=1)
    ema_half_life_kimg: float = Field(ge=0)
    d_steps_per_g: PositiveInt
    generator: dict[str, Any]
    discriminator: dict[str, Any]


class LossConfig(Section):
    name: Literal["lsgan", "nonsaturating", "hinge", "wgan_gp", "relativistic"]
    r1_gamma: float = Field(ge=0)
    r2_gamma: float = Field(ge=0)
    reg_interval: PositiveInt = 1
    gp_weight: float = Field(ge=0)
    lecam_weight: float = Field(default=0.0, ge=0)
    class_weight: float = Field(default=1.0, ge=0)


class AugmentConfig(Section):
    name: Literal["none", "diffaug", "ada"] = "none"
    target: float = Field(default=0.6, gt=-1, lt=1)  # of r_t, see ganctl.augment
    speed_kimg: PositiveFloat = 500.0


class ScheduleConfig(Section):
    final: float = Field(ge=0)
    begin: float = Field(ge=0, le=1)
    end: float = Field(ge=0, le=1)
    shape: Literal["linear", "cosine"]

    @model_validator(mode="after")
    def _forwards(self) -> ScheduleConfig:
        if self.begin > self.end:
            raise ValueError(f"begin {self.begin} lies after end {self.end}")
        return self


class SchedulesConfig(Section):
    lr: ScheduleConfig | None
    beta2: ScheduleConfig | None
    r1_gamma: ScheduleConfig | None
    r2_gamma: ScheduleConfig | None


class TrainerConfig(Section):
    accelerator: Literal["auto", "cpu", "gpu", "mps"]
    devices: PositiveInt | Literal["auto"]
    num_nodes: PositiveInt
    strategy: Literal["auto", "ddp"]
    precision: Literal["auto", 32, "bf16"]
    max_epochs: PositiveInt
    max_steps: PositiveInt | None  # batches
    compile: Literal[False, "default", "reduce-overhead"] = False  # modes of torch.compile


class SamplesConfig(Section):
    every_epochs: PositiveInt
    per_class: PositiveInt


class EvaluateConfig(Section):
    every_epochs: PositiveInt
    num_gen: PositiveInt
    classifier: str | None = None  # a default: configurations of earlier runs do not have it


class CheckpointConfig(Section):
    every_s: PositiveFloat


class CallbacksConfig(Section):
    samples: SamplesConfig | None
    evaluate: EvaluateConfig | None
    progress_bar: bool


class WatchdogConfig(Section):
    action: Literal["warn", "stop", "rollback"]
    max_rollbacks: int = Field(ge=0)
    warmup_kimg: float = Field(ge=0)
    saturated_kimg: PositiveFloat
    min_diversity: float = Field(ge=0, lt=1)


class Config(Section):
    """Everything a training run depends on."""

    name: str = Field(pattern=r"^[\w.-]+$")
    seed: int = Field(ge=0, lt=2**32)
    debug: bool
    ckpt_path: str | None
    run: RunConfig
    data: DataConfig
    model: ModelConfig
    loss: LossConfig
    augment: AugmentConfig = AugmentConfig()
    schedules: SchedulesConfig
    trainer: TrainerConfig
    logger: LoggerConfig
    callbacks: CallbacksConfig
    checkpoint: CheckpointConfig
    watchdog: WatchdogConfig


def section_at(path: Sequence[str]) -> type[BaseModel] | None:
    """The model that holds the keys at `path`; None where keys are free."""
    model: Any = Config
    for part in path:
        field = model.model_fields.get(part)
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if model is None:
            return None
    return model


def differences(before: Any, after: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Where two plain configurations differ: {dotted key: (before, after)}, None where a key is missing."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return {prefix.rstrip("."): (before, after)} if before != after else {}
    found: dict[str, tuple[Any, Any]] = {}
    for key in {**before, **after}:
        found |= differences(before.get(key), after.get(key), f"{prefix}{key}.")
    return found
