"""What a sweep varies, what it does not, and the configuration at every point of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from ganctl import config
from ganctl.errors import UsageError

# Text is as Hydra's grammar writes it: `null`, `[32,64]`, `'with blanks'`.
Value = bool | int | float | str


@dataclass(frozen=True)
class Choice:
    """One of several values, which have no order."""

    values: tuple[Value, ...]

    def __str__(self) -> str:
        return f"choice({','.join(map(text, self.values))})"


@dataclass(frozen=True)
class Range:
    """`start, start + step, …`: `count` numbers."""

    start: int | float
    step: int | float
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> int | float:
        if not 0 <= i < self.count:
            raise IndexError(i)
        return self._at(i)

    def _at(self, i: int) -> int | float:
        exact = Decimal(str(self.start)) + i * Decimal(str(self.step))
        return int(exact) if isinstance(self.start, int) else float(exact)

    def __str__(self) -> str:
        return f"range({text(self.start)},{text(self._at(self.count))},{text(self.step)})"


@dataclass(frozen=True)
class Interval:
    """Numbers between two, whole ones if `low` is an int (both ends belong to it); uniform, or their
    logarithms are."""

    low: int | float
    high: int | float
    log: bool = False

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int)

    def __str__(self) -> str:
        bare = f"interval({text(self.low)},{text(self.high)})"
        typed = f"int({bare})" if self.whole else bare
        return f"tag(log,{typed})" if self.log else typed


Parameter = Choice | Range | Interval


@dataclass(frozen=True)
class Space:
    """What a sweep varies, and what it does not.

    Args:
        fixed: overrides of every trial.
        parameters: what each varied key may be.
        config_dir: the user's own options, as for `config.compose`.
    """

    fixed: tuple[str, ...]
    parameters: dict[str, Parameter]
    config_dir: Path | None = None

    def compose(self, point: dict[str, Value]) -> config.Config:
        """The configuration of the training at one point of the space.

        Raises:
            UsageError: a key that does not exist, or a value that it cannot have.
        """
        return config.compose(self._overrides(point), self.config_dir)

    def arguments(self, point: dict[str, Value], *first: str) -> list[str]:
        """What `ganctl train` gets there: the overrides `first`, then those of the space."""
        own = [] if self.config_dir is None else ["--config-dir", str(self.config_dir)]
        return [*own, *first, *self._overrides(point)]

    def _overrides(self, point: dict[str, Value]) -> list[str]:
        return [*self.fixed, *(f"{key}={text(value)}" for key, value in point.items())]

    def size(self) -> int:
        """How many points there are.

        Raises:
            UsageError: they cannot be counted.
        """
        return math.prod(len(values) for values in self._grid().values())

    def point(self, i: int) -> dict[str, Value]:
        """The i-th of all points; the last parameter varies fastest, as in Hydra's multirun."""
        found: dict[str, Value] = {}
        for key, values in reversed(self._grid().items()):
            i, k = divmod(i, len(values))
            found[key] = values[k]
        return {key: found[key] for key in self.parameters}

    def _grid(self) -> dict[str, Range | tuple[Value, ...]]:
        grid: dict[str, Range | tuple[Value, ...]] = {}
        for key, parameter in self.parameters.items():
            if isinstance(parameter, Interval):
                raise UsageError(
                    f"{key}={parameter}: a grid cannot hold every number of an interval",
                    f"write {key}=choice(…) or range(…), or leave out --multirun and give --trials",
                )
            grid[key] = parameter.values if isinstance(parameter, Choice) else parameter
        return grid

    def check(self) -> config.Config:
        """Composes the first point, and with it every choice and both ends and the inside of every interval.

        Returns:
            The configuration of the first point.

        Raises:
            UsageError: a key that does not exist, or a value that it cannot have.
        """
        samples = {key: _samples(parameter) for key, parameter in self.parameters.items()}
        first = {key: values[0] for key, values in samples.items()}
        composed = self.compose(first)
        for key, values in samples.items():
            for value in values[1:]:
                try:
                    self.compose(first | {key: value})
                except UsageError as error:
                    p = self.parameters[key]
                    real = isinstance(p, Interval) and not p.whole and not p.log
                    hint = f"; for whole numbers: {key}=int({p})" if real else ""
                    raise UsageError(f"{key}={p}: {error.what}", f"{error.fix}{hint}") from None
        return composed


def text(value: Value) -> str:
    """The value as an override has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def short(value: Value) -> str:
    """For people."""
    return f"{value:.4g}" if isinstance(value, float) else text(value)


def _samples(parameter: Parameter) -> list[Value]:
    """Values by which it is checked."""
    if isinstance(parameter, Choice):
        return list(parameter.values)
    if isinstance(parameter, Range):
        return [parameter[0], parameter[parameter.count - 1]]
    inside = parameter.low + (parameter.high - parameter.low) * 0.382
    return [parameter.low, int(inside) if parameter.whole else inside, parameter.high]
