"""Who has which trial of a sweep: nobody's is taken, nobody's is lost, whoever dies."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ganctl.errors import UsageError
from ganctl.sweeps.search_space import Value
from ganctl.sweeps.settings import Settings, higher_is_better
from ganctl.sweeps.storage import connect, require_optuna, without_password
from ganctl.sweeps.study import Study

optuna = pytest.importorskip("optuna")
OVERRIDES = ("data=digits", "model.lr=tag(log,interval(1e-4,1e-2))", "loss=hinge,lsgan")
SETTINGS = Settings(OVERRIDES, False, "val/digit_fd", False, "median", 0)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    require_optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # connections that live until the interpreter finds them
        yield


def open_study(
    tmp_path: Path, settings: Settings = SETTINGS, place: str = "a", url: str | None = None
) -> Study:
    return Study.create(tmp_path / place / "s", settings, url)


def finish(study: Study, number: int, lock: int, state: str = "COMPLETE") -> None:
    value = 1.0 if state == "COMPLETE" else None
    study.optuna.tell(number, value, state=optuna.trial.TrialState[state])
    os.close(lock)


@pytest.mark.slow
def test_each_trial_is_given_once_until_there_are_enough(tmp_path: Path) -> None:
    one, two = open_study(tmp_path), open_study(tmp_path)
    claims = [one.claim(3), two.claim(3), one.claim(3)]
    assert [claim and claim[0].number for claim in claims] == [0, 1, 2]
    assert two.claim(3) is None
    assert two.claim(4) is not None


def test_a_trial_whose_process_died_is_given_again_with_its_settings(tmp_path: Path) -> None:
    one, two = open_study(tmp_path), open_study(tmp_path)
    claimed = one.claim(2)
    assert claimed is not None
    trial, lock = claimed
    point = one.propose(trial)
    assert two.claim(1) is None, "it lives"
    os.close(lock)  # as the kernel does when a process dies
    again = two.claim(1)
    assert again is not None
    assert again[0].number == trial.number
    assert two.propose(again[0]) == point
    assert one.claim(1) is None


def test_a_lock_lives_as_long_as_a_training_that_inherited_it(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    claimed = study.claim(1)
    assert claimed is not None
    inherited = os.dup(claimed[1])
    os.close(claimed[1])
    assert study.claim(1) is None
    os.close(inherited)
    assert study.claim(1) is not None


def test_one_that_died_before_its_settings_were_known_gets_some(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    claimed = study.claim(1)
    assert claimed is not None
    os.close(claimed[1])
    again = study.claim(1)
    assert again is not None
    assert study.propose(again[0]).keys() == {"model.lr", "loss"}


def test_several_at_once_never_get_the_same(tmp_path: Path) -> None:
    open_study(tmp_path)

    def work(_: int) -> list[int]:
        study, found = open_study(tmp_path), []
        while (claimed := study.claim(12)) is not None:
            found.append(claimed[0].number)
        return found

    with ThreadPoolExecutor(3) as pool:
        numbers = [number for found in pool.map(work, range(3)) for number in found]
    assert sorted(numbers) == list(range(12))


def test_folders_that_share_a_storage_leave_each_other_s_trials_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    here, there = open_study(tmp_path, url=url), open_study(tmp_path, place="b", url=url)
    claimed = here.claim(2)
    assert claimed is not None
    os.close(claimed[1])
    other = there.claim(2)
    assert other is not None
    assert other[0].number == 1
    assert there.claim(2) is None, "trial 0 died, but its run is in another folder"
    assert (there.beside(), there.elsewhere()) == ([1], [0])
    assert here.claim(2) is not None


def test_a_journal_is_a_storage(tmp_path: Path) -> None:
    url = f"journal:{tmp_path / 'sweep.journal'}"
    one, two = open_study(tmp_path, url=url), open_study(tmp_path, url=url)
    claimed = one.claim(2)
    assert claimed is not None
    point = one.propose(claimed[0])
    second = two.claim(2)
    assert second is not None
    assert second[0].number == 1
    os.close(claimed[1])
    again = two.claim(2)
    assert again is not None
    assert two.propose(again[0]) == point


def test_a_failed_trial_is_replaced_except_in_a_grid(tmp_path: Path) -> None:
    for grid, expected in ((False, 1), (True, None)):
        overrides = ("loss=hinge,lsgan",) if grid else OVERRIDES
        study = open_study(tmp_path, Settings(overrides, grid, "val/x", False, "none", 0), place=str(grid))
        claimed = study.claim(1)
        assert claimed is not None
        finish(study, claimed[0].number, claimed[1], "FAIL")
        more = study.claim(1)
        assert (more and more[0].number) == expected
        assert study.finished() == (1 if grid else 0)


def test_a_grid_gives_every_point_once(tmp_path: Path) -> None:
    study = open_study(
        tmp_path, Settings(("loss=hinge,lsgan", "seed=1,2,3"), True, "val/x", False, "none", 0)
    )
    points = []
    while (claimed := study.claim(6)) is not None:
        points.append(study.propose(claimed[0]))
    assert points == [{"loss": loss, "seed": seed} for loss in ("hinge", "lsgan") for seed in (1, 2, 3)]


def proposals(tmp_path: Path, seed: int, reopened: bool, place: str) -> list[dict[str, Value]]:
    settings = Settings(OVERRIDES, False, "val/x", False, "none", seed)
    study, found = open_study(tmp_path, settings, place), []
    for _ in range(5):
        study = open_study(tmp_path, settings, place) if reopened else study
        claimed = study.claim(5)
        assert claimed is not None
        found.append(dict(study.propose(claimed[0])))
        finish(study, claimed[0].number, claimed[1])
    return found


@pytest.mark.slow
def test_proposals_follow_from_the_seed_however_often_the_sweep_was_stopped(tmp_path: Path) -> None:
    first = proposals(tmp_path, 0, False, "a")
    assert proposals(tmp_path, 0, True, "b") == first
    assert proposals(tmp_path, 100, False, "c") != first
    rates = [point["model.lr"] for point in first]
    assert len(set(rates)) == 5
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)  # type: ignore[operator]


def test_another_sweep_of_that_name_is_refused(tmp_path: Path) -> None:
    open_study(tmp_path)
    same = ("data=digits", "model.lr=tag(log,interval(0.0001,0.01))", "loss=choice(hinge,lsgan)")
    open_study(tmp_path, Settings(same, False, "val/digit_fd", False, "median", 0))
    for other in (
        Settings((*OVERRIDES, "seed=1"), False, "val/digit_fd", False, "median", 0),
        Settings(OVERRIDES, False, "val/d_loss", False, "median", 0),
        Settings(OVERRIDES, False, "val/digit_fd", False, "none", 0),
    ):
        with pytest.raises(UsageError, match="another one"):
            open_study(tmp_path, other)


def test_what_is_not_ours_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    optuna.create_study(storage=url, study_name="s").add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(UsageError, match="not one of ganctl's"):
        open_study(tmp_path, url=url)
    with pytest.raises(UsageError, match=r"no sweep\.db"):
        Study.load(tmp_path, None)
    with pytest.raises(UsageError) as caught:
        Study.load(tmp_path / "z", url)
    assert "known: s" in caught.value.fix


def test_runs_that_the_storage_does_not_know_are_not_taken_for_its_own(tmp_path: Path) -> None:
    run = tmp_path / "a" / "s" / "trial_0000"
    run.mkdir(parents=True)
    (run / "config.yaml").touch()
    with pytest.raises(UsageError, match="trial_0000"):
        open_study(tmp_path)


@pytest.mark.parametrize(
    "url",
    ["nonsense", "sqlite:////does/not/exist/x.db", "nodb://host/x", "journal:/does/not/exist", "redis://x"],
)
def test_a_storage_that_cannot_be_had_is_one_line(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        connect(url, tmp_path)
    assert "\n" not in caught.value.what
    assert "journal:" in caught.value.fix


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    assert without_password("postgresql://me:secret@host/x") == "postgresql://me:…@host/x"
    assert without_password("sqlite:////a/b.db") == "sqlite:////a/b.db"
    with pytest.raises(UsageError) as caught:
        connect("postgresql+nodriver://me:secret@host/x", tmp_path)
    assert "secret" not in str(caught.value)


def test_without_optuna_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError) as caught:
        require_optuna()
    assert caught.value.fix == "pip install 'ganctl[sweep]'"


@pytest.mark.parametrize(
    ("objective", "higher"),
    [
        ("val/digit_fd", False),
        ("val/d_loss", False),
        ("val/mode_kl", False),
        ("val/label_accuracy", True),
        ("val/digit_is", True),
        ("val/modes", True),
        ("train/images_per_s", True),
    ],
)
def test_the_name_says_which_way_is_better(objective: str, higher: bool) -> None:
    assert higher_is_better(objective, None) is higher
    assert higher_is_better(objective, not higher) is not higher


@pytest.mark.parametrize(
    ("objective", "fix"),
    [("test/digit_fd", "val/digit_fd"), ("fd", "val/"), ("val/", "val/"), ("train/real_logit", "--maximize")],
)
def test_what_is_no_objective(objective: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        higher_is_better(objective, None)
    assert fix in caught.value.fix
