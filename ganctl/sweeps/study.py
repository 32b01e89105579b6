"""The record of a sweep: its settings, its trials and who has which of them, in Optuna's storage.

Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework" (2019).
"""

from __future__ import annotations

import dataclasses
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ganctl import atomic
from ganctl.errors import UsageError, nearest
from ganctl.sweeps import storage, trials
from ganctl.sweeps.search_space import Choice, Interval, Parameter, Range, Space, Value
from ganctl.sweeps.settings import Settings

if TYPE_CHECKING:
    import optuna

# Of a study: its settings, and how many trials were asked for last. Of a trial: the folder that has its run,
# what it costs, why it ended early.
SETTINGS, TARGET = "ganctl", "ganctl_trials"
PLACE, TOKEN, IMAGES, SECONDS, REASON = "place", "token", "images_seen", "seconds", "reason"


class Study:
    """An Optuna study, and the folder that holds its runs.

    Several processes may have the same one, on one machine or on many.
    """

    def __init__(self, sweep: Path, settings: Settings, study: optuna.Study) -> None:
        self.sweep, self.settings, self.optuna = sweep, settings, study
        self.space: Space = settings.space()
        self.place = ""
        """Names this folder, which machines may share or not: other folders' trials are theirs."""

    @classmethod
    def create(cls, sweep: Path, settings: Settings, url: str | None) -> Study:
        """The study of that name, made if there is none.

        Raises:
            UsageError: the storage cannot be had, or has another sweep of that name.
        """
        import optuna

        opened = storage.connect(url, sweep) if url is not None else None
        try:
            sweep.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot make the folder {sweep}: {error.strerror}", "choose a place with run.root=DIR"
            ) from None
        with trials.only_one(sweep):
            opened = opened or storage.connect(None, sweep)
            try:
                study = optuna.create_study(
                    storage=opened,
                    study_name=sweep.name,
                    direction="maximize" if settings.maximize else "minimize",
                    load_if_exists=True,
                )
                if SETTINGS not in study.user_attrs and not study.trials:
                    study.set_user_attr(SETTINGS, _as_json(settings))
            except optuna.exceptions.StorageInternalError as error:
                raise UsageError(
                    f"cannot write the storage: {str(error.__cause__ or error).splitlines()[0]}",
                    "choose one that you can write to with --storage, or run.root=DIR",
                ) from None
            known = _settings(study)
            if _same(known) != _same(settings):
                a, b = _as_json(known), _as_json(settings)
                what = [key for key in a if a[key] != b[key]]
                raise UsageError(
                    f"the sweep {sweep.name} is another one: its {' and '.join(what)} differ",
                    f"choose another --name, or go on with it: ganctl sweep --resume {sweep}",
                )
            self = cls(sweep, known, study)
            marker = sweep / "place"
            if not marker.exists():
                atomic.write_output(marker, lambda file: file.write(secrets.token_hex(8).encode()))
            self.place = marker.read_text()
            left = [run for run in sweep.glob("trial_*/config.yaml") if _number(run) >= len(self.trials())]
            if left:
                raise UsageError(
                    f"{sweep} holds runs that the storage does not know, as {left[0].parent.name}",
                    "give the --storage that it had, or choose another --name",
                )
        return self

    @classmethod
    def load(cls, sweep: Path, url: str | None) -> Study:
        """The study of a folder that exists.

        Raises:
            UsageError: there is none.
        """
        import optuna

        if url is None and not (sweep / "sweep.db").is_file():
            raise UsageError(
                f"{sweep} holds no sweep.db", "give the --storage of the sweep, or the folder of another one"
            )
        try:
            study = optuna.load_study(study_name=sweep.name, storage=storage.connect(url, sweep))
        except KeyError:
            known = optuna.get_all_study_names(storage.connect(url, sweep))
            raise UsageError(f"the storage has no sweep {sweep.name!r}", nearest(sweep.name, known)) from None
        return cls(sweep, _settings(study), study)

    @classmethod
    def rehearse(cls, sweep: Path, settings: Settings) -> Study:
        """One in memory: what would be proposed first."""
        import optuna

        return cls(sweep, settings, optuna.create_study())

    # -- trials --------------------------------------------------------------------------------------------

    def finished(self) -> int:
        """Trials that need not be done any more; of a grid the failed ones too."""
        return sum(self._counts(t.state) and t.state.is_finished() for t in self.trials())

    def scored(self) -> int:
        """Trials that have come to their end."""
        return sum(t.state.name == "COMPLETE" for t in self.trials())

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        return self.optuna.get_trials(deepcopy=False)

    def elsewhere(self) -> list[int]:
        """Trials that run, in folders that are not this one."""
        return [t.number for t in self._running() if t.user_attrs.get(PLACE) != self.place]

    def beside(self) -> list[int]:
        """Trials that run in this folder."""
        return [t.number for t in self._running() if t.user_attrs.get(PLACE) == self.place]

    def claim(self, target: int) -> tuple[optuna.Trial, int] | None:
        """A trial that this process has alone, and its lock: one whose process died, else a new one.

        Args:
            target: how many there are to be.

        Returns:
            None if there is nothing to do now.
        """
        import optuna

        with trials.only_one(self.sweep):
            # Whoever has a trial of this folder took its lock under `only_one`.
            for number in self.beside():
                if (lock := trials.take(self.sweep, number)) is not None:
                    return self.trial(number), lock
            if sum(self._counts(t.state) for t in self.trials()) >= target:
                return None
            # It runs from its first moment on, and is never without its folder's name.
            token = secrets.token_hex(8)
            attributes = {PLACE: self.place, TOKEN: token}
            running = optuna.trial.TrialState.RUNNING
            self.optuna.add_trial(optuna.trial.create_trial(state=running, user_attrs=attributes))
            (number,) = [t.number for t in self.trials() if t.user_attrs.get(TOKEN) == token]
            lock = trials.take(self.sweep, number)
            assert lock is not None, f"trial {number} is new, and locked"
            return self.trial(number), lock

    def propose(self, trial: optuna.Trial) -> dict[str, Value]:
        """Where in the space a trial is: a function of the seed, its number and the trials before it, and
        what it was, if it has been asked before."""
        return {key: _suggest(trial, key, p) for key, p in self.space.parameters.items()}

    def trial(self, number: int) -> optuna.Trial:
        """One that runs."""
        import optuna

        self.optuna.sampler = self._sampler(number)
        self.optuna.pruner = (
            optuna.pruners.MedianPruner() if self.settings.pruner == "median" else optuna.pruners.NopPruner()
        )
        return optuna.Trial(self.optuna, self.frozen(number)._trial_id)

    def frozen(self, number: int) -> optuna.trial.FrozenTrial:
        """A trial as it is now."""
        (found,) = [t for t in self.trials() if t.number == number]
        return found

    def _sampler(self, number: int) -> Any:
        import optuna

        if not self.settings.grid:
            # A generator for each trial: a sweep that goes on does not begin again with the first points.
            return optuna.samplers.TPESampler(seed=self.settings.seed + number, constant_liar=True)
        point = self.space.point(number)

        class Grid(optuna.samplers.RandomSampler):
            def sample_independent(self, study: Any, trial: Any, param_name: str, distribution: Any) -> Any:
                return point[param_name]

        return Grid()

    def _counts(self, state: Any) -> bool:
        """Whether a trial is one of those asked for: one that failed is replaced, but not in a grid."""
        return self.settings.grid or state.name in ("COMPLETE", "PRUNED", "RUNNING")

    def _running(self) -> list[optuna.trial.FrozenTrial]:
        return [t for t in self.trials() if t.state.name == "RUNNING"]


def _suggest(trial: optuna.Trial, key: str, p: Parameter) -> Value:
    if isinstance(p, Choice):
        return cast("Value", trial.suggest_categorical(key, p.values))
    if isinstance(p, Range):
        last = p[p.count - 1]
        if isinstance(p.start, int):
            return trial.suggest_int(key, p.start, int(last), step=int(p.step))
        return float(f"{trial.suggest_float(key, p.start, last, step=p.step):.12g}")
    assert isinstance(p, Interval)
    if p.whole:
        return trial.suggest_int(key, int(p.low), int(p.high), log=p.log)
    return trial.suggest_float(key, p.low, p.high, log=p.log)


def _number(config: Path) -> int:
    """Of the trial whose run folder has this file."""
    digits = config.parent.name.removeprefix("trial_")
    return int(digits) if digits.isdecimal() else -1


def _as_json(settings: Settings) -> dict[str, Any]:
    """What the storage keeps of them."""
    folder = settings.config_dir
    return dataclasses.asdict(settings) | {"config_dir": None if folder is None else str(folder)}


def _settings(study: optuna.Study) -> Settings:
    try:
        stored = dict(study.user_attrs[SETTINGS])
        folder = stored.get("config_dir")  # studies of before this option have none
        typed = {
            "overrides": tuple(stored["overrides"]),
            "config_dir": None if folder is None else Path(folder),
        }
        return Settings(**stored | typed)
    except (KeyError, TypeError, ValueError):
        raise UsageError(
            f"the study {study.study_name!r} is not one of ganctl's", "choose another --name"
        ) from None


def _same(settings: Settings) -> tuple[Any, ...]:
    """Two ways to write a space are one."""
    return settings.space(), dataclasses.replace(settings, overrides=())
