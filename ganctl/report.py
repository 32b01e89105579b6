"""The report of an evaluation: what it holds, how it is written and read. See docs/report-schema.md."""

from __future__ import annotations

from dataclasses import dataclass as plain_dataclass
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from ganctl.errors import UsageError

if TYPE_CHECKING:  # reports are read without torch
    from PIL import Image
    from torch import Tensor

SCHEMA_VERSION = 1
MAX_REPORT_BYTES = 64 << 20

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)
# Names and numbers of reports that strangers wrote are printed on terminals.
_MetricName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.@-]{1,64}$")]
_Count = Annotated[int, Field(ge=0)]


@dataclass(config=_STRICT)
class Metric:
    """One row of a report.

    Args:
        value: of the generated images, the mean where there are repeats; None where it could not be computed.
        floor: of real training images in their place (for an accuracy or IS: of real test images).
        std: over the repeats: how much the value depends on the seed.
        repeats: evaluations with other seeds behind `value` and `std`, at least 2.
        subset_std: within one evaluation, over KID's subsets or IS's splits. It is no uncertainty of `value`.
        reason: why there is no value.
        extractor: the name in the protocol of what made the features; None for a metric of pixels.
        settings: further numbers that the value depends on.
    """

    value: float | None
    floor: float | None
    std: Annotated[float, Field(ge=0)] | None = None
    repeats: Annotated[int, Field(ge=2)] | None = None
    subset_std: Annotated[float, Field(ge=0)] | None = None
    reason: str | None = None
    extractor: str | None = None
    settings: dict[str, int | float | str] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Metric:
        if self.value is None and not self.reason:
            raise ValueError("a metric without a value needs a reason")
        if (self.std is None) != (self.repeats is None):
            raise ValueError("std and repeats come together")
        return self


class ExtractorStamp(BaseModel):
    """What made the features.

    Args:
        sha256: of its weights file; of the tensors in it for an Inception without its last layer.
        resize: what is done to images before.
        precision: of its arithmetic.
    """

    model_config = _STRICT

    sha256: str
    resize: str
    precision: str


class Protocol(BaseModel):
    """All that the numbers of a report depend on.

    Args:
        data: name of the real set.
        real: which of its images, in words.
        real_sha256: of the real images, where they are a folder or a file; of a user's own data set, of all
            its images and labels.
        num_real: how many.
        floor: what stands in the generator's place for the floor, in words.
        num_gen: generated images.
        labels: how their labels were chosen, in words.
        extractors: by name.
        images: name of the folder or file that was scored, where it was no checkpoint.
        images_sha256: of those images.
        checkpoint: digest of the weights of the generator.
        weights: which of its weights.
        nimg: images it was trained on.
        seed: of the first generated image, and of the choice of real ones.
        device: that it ran on.
        versions: of the packages that computed it.
        timings: seconds of each part, and `total`.
    """

    model_config = _STRICT

    data: str
    real: str
    real_sha256: str | None = None
    num_real: _Count
    floor: str
    num_gen: _Count
    labels: str
    extractors: dict[str, ExtractorStamp]
    images: str | None = None
    images_sha256: str | None = None
    checkpoint: str | None = None
    weights: str | None = None
    nimg: _Count | None = None
    seed: _Count
    device: str
    versions: dict[str, str]
    timings: dict[str, Annotated[float, Field(ge=0)]]


class ClassScores(BaseModel):
    """How a classifier sees the images of one label."""

    model_config = _STRICT

    accuracy: float
    precision: float
    f1: float


class ReportFile(BaseModel):
    """A report as it is in its file.

    Args:
        schema_version: `schema` in the file.
        metrics: by name.
        per_class: by label name, where a classifier looked at labelled images.
        confusion: counts, row = wanted label, column = recognised.
    """

    model_config = _STRICT

    schema_version: Literal[1] = Field(alias="schema")
    metrics: dict[_MetricName, Metric]
    protocol: Protocol
    per_class: dict[str, ClassScores] | None = None
    confusion: list[list[_Count]] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ReportFile:
        for name, metric in self.metrics.items():
            if metric.extractor is not None and metric.extractor not in self.protocol.extractors:
                raise ValueError(f"the protocol lacks the extractor of {name}")
        if self.confusion is not None and any(len(row) != len(self.confusion) for row in self.confusion):
            raise ValueError("the confusion matrix is not square")
        return self


@plain_dataclass(frozen=True)
class Report:
    """What `ganctl eval` found.

    Args:
        metrics: by name; the name tells the extractor.
        protocol: all that the numbers depend on, the fields of `Protocol`.
        confusion: (K, K) counts, row = wanted label, column = recognised; None without a classifier.
        label_names: of the K labels.
        pairs: a picture of the generated images closest to training images; None where nobody asked.
    """

    metrics: dict[str, Metric]
    protocol: dict[str, Any]
    confusion: Tensor | None = None
    label_names: tuple[str, ...] = field(default_factory=tuple)
    pairs: Image.Image | None = None

    def to_dict(self) -> dict[str, Any]:
        """As written to JSON."""
        rows = {
            name: {k: v for k, v in vars(m).items() if v is not None or k in ("value", "floor")}
            for name, m in self.metrics.items()
        }
        out: dict[str, Any] = {"schema": SCHEMA_VERSION, "metrics": rows, "protocol": self.protocol}
        if self.confusion is not None:
            from ganctl.metrics import confusion

            scores = confusion.class_scores(self.confusion)
            out["per_class"] = {
                name: {
                    "accuracy": float(scores.recall[k]),
                    "precision": float(scores.precision[k]),
                    "f1": float(scores.f1[k]),
                }
                for k, name in enumerate(self.label_names)
            }
            out["confusion"] = self.confusion.tolist()
        return out

    def pictures(self) -> dict[str, Image.Image]:
        """Confusion matrix and scores of each class, where a classifier looked; the closest pairs."""
        found = {} if self.pairs is None else {"nearest": self.pairs}
        if self.confusion is None:
            return found
        from ganctl.metrics import confusion

        return found | confusion.figures(self.confusion, self.label_names)


def read_report(path: Path) -> ReportFile:
    """Reads a report that `ganctl eval` wrote.

    Raises:
        UsageError: the file is missing, damaged, another program's, or of another schema.
    """
    fix = "give a JSON report of ganctl eval"
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_REPORT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", fix) from error
    if len(content) > MAX_REPORT_BYTES:
        raise UsageError(f"{path} is too large for a report", fix)
    try:
        return ReportFile.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        if where == "schema" and first["type"] == "literal_error":
            raise UsageError(
                f"{path} has schema {first['input']!r:.20}, this ganctl reads {SCHEMA_VERSION}",
                "evaluate again with one version of ganctl",
            ) from error
        # repr: what the file says must not reach the terminal as it is
        place = f" at {where!r:.100}" if where else ""
        raise UsageError(f"{path} is no report{place}: {first['msg']!r:.200}", fix) from error
