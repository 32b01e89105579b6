"""Overrides in Hydra's grammar of sweeps -> what is fixed, and the space of what varies.

https://hydra.cc/docs/advanced/override_grammar/extended. Beside `config` the only file that imports Hydra.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from ganctl import config
from ganctl.errors import UsageError, nearest
from ganctl.sweeps.search_space import Choice, Interval, Parameter, Range, Space, Value

MAX_COUNT = 1_000_000  # of the numbers in a range
_FORMS = "choice(a,b), range(1,9,2), interval(0.1,10), int(interval(1,9)), tag(log,interval(0.1,10))"


def parse(overrides: Sequence[str], config_dir: Path | None = None) -> Space:
    """Separates what is fixed from what varies.

    Comma lists (`model.lr=1e-4,3e-4`) are choices. Of Hydra's grammar `glob` and `shuffle` are refused.

    Raises:
        UsageError: an override that cannot be read, nothing that varies, or a key that a sweep sets itself.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    fixed: list[str] = []
    parameters: dict[str, Parameter] = {}
    keys: list[str] = []
    for typed in overrides:
        try:
            override = parser.parse_override(typed)
            parameter = _parameter(typed, override, config_dir) if override.is_sweep_override() else None
        except (HydraException, ValueError, TypeError, ArithmeticError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UsageError(
                f"cannot read the override {typed!r}: {reason}", f"write key=value, or key= with {_FORMS}"
            ) from None
        key = override.key_or_group
        if key in ("run.dir", "ckpt_path") or (parameter is not None and key.startswith("run.")):
            raise UsageError(
                f"{typed}: a sweep gives each trial its own run folder", f"leave out {key}; see --name"
            )
        if parameter is None:
            fixed.append(typed)
        else:
            parameters[override.get_key_element()] = parameter
        keys.append(key)
    twice = [key for key in keys if keys.count(key) > 1 and any(p.lstrip("+") == key for p in parameters)]
    if twice:
        raise UsageError(f"{twice[0]} is given twice", "leave out one of them")
    if not parameters:
        raise UsageError(
            "nothing varies: every trial would be the same",
            "give a key several values, as in 'model.lr=choice(1e-4,3e-4)' 'loss.r1_gamma=interval(0.1,10)'",
        )
    return Space(tuple(fixed), parameters, config_dir)


def quoted(plain: str) -> str:
    """Any text as an override has it."""
    if re.fullmatch(r"(?!(null|true|false|nan|inf)$)[a-z_./][\w./-]*[a-z_/][\w./-]*", plain, re.IGNORECASE):
        return plain

    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(plain, Quote.single).with_quotes()


def _parameter(typed: str, override: Any, config_dir: Path | None) -> Parameter:
    from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, RangeSweep

    sweep = override.value()
    key = override.key_or_group
    if isinstance(sweep, Glob):
        known = config.options(key, config_dir) if key in config.GROUPS else ["a", "b"]
        raise UsageError(f"{typed}: glob is not understood", f"write {key}=choice({','.join(known)})")
    unknown = sweep.tags - {"log"}
    if unknown:
        raise UsageError(f"{typed}: there is no tag {min(unknown)!r}", nearest(min(unknown), ["log"]))
    if sweep.tags and not isinstance(sweep, IntervalSweep):
        raise UsageError(f"{typed}: only an interval has a log scale", "write tag(log,interval(0.1,10))")
    if getattr(sweep, "shuffle", False):
        raise UsageError(f"{typed}: the order of values means nothing here", "leave out shuffle")
    if isinstance(sweep, ChoiceSweep):
        return _choice(typed, [_plain(typed, v) for v in override.sweep_iterator(_encode)])
    if isinstance(sweep, RangeSweep):
        return _range(typed, sweep.start, sweep.stop, sweep.step)
    return _interval(typed, sweep.start, sweep.end, "log" in sweep.tags)


def _encode(element: Any) -> Value:
    """Numbers as they are, everything else as the text that Hydra reads back."""
    from hydra.core.override_parser.types import Transformer

    return element if isinstance(element, (bool, int, float)) else Transformer.str(element)


def _plain(typed: str, value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{typed}: {value} is no number to train with", "give finite ones")
    return value


def _choice(typed: str, values: list[Value]) -> Choice:
    if len(set(values)) < len(values):  # 1, 1.0 and true are one to whoever looks them up
        raise UsageError(f"{typed}: a value is there twice", "name each once")
    return Choice(tuple(values))


def _range(typed: str, start: Any, stop: Any, step: Any) -> Range:
    low, high, by = (Decimal(str(_plain(typed, v))) for v in (start, stop, step))
    count = math.ceil((high - low) / by) if by else 0
    if count < 1:
        raise UsageError(
            f"{typed}: there is no number in it", "write range(start,stop,step), without stop itself"
        )
    if count > MAX_COUNT:
        raise UsageError(f"{typed}: {count} numbers are too many", "take larger steps, or an interval")
    whole = all(isinstance(v, int) for v in (start, stop, step))
    kind: type[int] | type[float] = int if whole else float
    last = low + (count - 1) * by
    return Range(kind(min(low, last)), kind(abs(by)), count)


def _interval(typed: str, low: Any, high: Any, log: bool) -> Interval:
    _plain(typed, low), _plain(typed, high)
    if low > high:
        raise UsageError(f"{typed}: {low} lies above {high}", f"write interval({high},{low})")
    if log and low <= 0:
        raise UsageError(f"{typed}: {low} has no logarithm", "begin above 0, or leave out the tag")
    return Interval(low, high, log)
