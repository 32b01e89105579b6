"""Overrides in Hydra's grammar of sweeps: what varies, what is refused, and in which order a grid goes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from ganctl import config
from ganctl.errors import UsageError
from ganctl.sweeps.grammar import parse, quoted
from ganctl.sweeps.search_space import Choice, Interval, Range


@pytest.mark.parametrize(
    ("override", "parameter"),
    [
        ("model.lr=choice(1e-4,3e-4)", Choice((1e-4, 3e-4))),
        ("model.lr=1e-4,3e-4", Choice((1e-4, 3e-4))),
        ("model=dcgan,mlp", Choice(("dcgan", "mlp"))),
        ("debug=true,false", Choice((True, False))),
        ("data.root=null,'a b'", Choice(("null", "'a b'"))),
        ("model.generator.widths=choice([32,64],[64])", Choice(("[32,64]", "[64]"))),
        ("model.lr=sort(3,1,2)", Choice((1, 2, 3))),
        ("seed=range(3)", Range(0, 1, 3)),
        ("seed=range(1,10,4)", Range(1, 4, 3)),
        ("seed=range(10,1,-3)", Range(4, 3, 3)),
        ("model.lr=range(0.1,0.5,0.1)", Range(0.1, 0.1, 4)),
        ("loss.r1_gamma=interval(0.1,10)", Interval(0.1, 10.0)),
        ("loss.r1_gamma=tag(log,interval(0.1,10))", Interval(0.1, 10.0, log=True)),
        ("model.latent_dim=int(interval(16,64))", Interval(16, 64)),
        ("model.latent_dim=tag(log,int(interval(16,64)))", Interval(16, 64, log=True)),
    ],
)
def test_what_varies(override: str, parameter: object) -> None:
    space = parse(["model.beta1=0.5", override])
    assert space.fixed == ("model.beta1=0.5",)
    assert list(space.parameters.values()) == [parameter]
    (found,) = space.parameters.values()
    assert isinstance(getattr(found, "low", 0.0), type(getattr(parameter, "low", 0.0)))
    if "null" not in override:  # Hydra's choice() does not take it
        again = parse([f"{key}={p}" for key, p in space.parameters.items()])
        assert again.parameters == space.parameters, "it is not written as it is read"


def test_a_float_range_holds_the_numbers_that_were_meant() -> None:
    (found,) = parse(["model.lr=range(0.1,1.0,0.1)"]).parameters.values()
    assert isinstance(found, Range)
    assert list(iter(found)) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


@pytest.mark.parametrize(
    ("overrides", "what", "fix"),
    [
        ([], "nothing varies", "choice"),
        (["model.lr=1e-3"], "nothing varies", "choice"),
        (["model.lr=choice()"], "empty choice", "interval"),
        (["model.lr=1,1.0"], "twice", "once"),
        (["model.lr=interval(3,1)"], "lies above", "interval(1.0,3.0)"),
        (["model.lr=interval(nan,1)"], "nan", "finite"),
        (["model.lr=tag(log,interval(0,1))"], "no logarithm", "above 0"),
        (["model.lr=tag(lgo,interval(1,2))"], "'lgo'", "log"),
        (["model.lr=tag(log,choice(1,2))"], "only an interval", "tag(log,interval"),
        (["seed=range(3,1)"], "no number in it", "range(start"),
        (["seed=range(1,2,0)"], "no number in it", "range(start"),
        (["seed=range(100000000)"], "too many", "interval"),
        (["model=glob(*)"], "glob", "choice(dcgan,mlp,resnet)"),
        (["model.lr=shuffle(1,2)"], "order", "shuffle"),
        (["model.lr"], "cannot read", "key=value"),
        (["run.dir=a,b"], "run folder", "--name"),
        (["run.dir=a", "seed=1,2"], "run folder", "--name"),
        (["run.root=a,b"], "run folder", "--name"),
        (["ckpt_path=last.ckpt", "seed=1,2"], "run folder", "ckpt_path"),
        (["model.lr=1", "model.lr=1,2"], "twice", "one of them"),
    ],
)
def test_what_is_refused(overrides: list[str], what: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(overrides)
    assert what in caught.value.what
    assert fix in caught.value.fix


def test_options_of_one_s_own_are_proposed_as_well(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").touch()
    with pytest.raises(UsageError) as caught:
        parse(["model=glob(*)"], tmp_path)
    assert "choice(dcgan,mine,mlp,resnet)" in caught.value.fix


@pytest.mark.parametrize(
    ("overrides", "what", "fix"),
    [
        (["modle.lr=1e-3,1e-4"], "modle.lr", "model.lr"),
        (["loss=hinge,lsgann"], "lsgann", "lsgan"),
        (["model.lr=interval(-1,1)"], "model.lr=-1.0", "model.lr="),
        (["model.latent_dim=16,x"], "model.latent_dim='x'", "model.latent_dim=64"),
        (["model.latent_dim=interval(16,64)"], "fractional", "model.latent_dim=int(interval(16.0,64.0))"),
    ],
)
def test_every_value_is_composed_before_anything_starts(overrides: list[str], what: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(["data=digits", *overrides]).check()
    assert what in caught.value.what
    assert fix in caught.value.fix


def test_the_first_point_is_what_check_returns() -> None:
    cfg = parse(["+experiment=quick", "model.lr=3e-4,1e-4", "seed=range(5,7)"]).check()
    assert (cfg.name, cfg.model.lr, cfg.seed) == ("quick", 3e-4, 5)


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss=hinge,lsgan", "data=digits", "seed=range(2,7,2)"],
        ["model.lr=1e-3,1e-4", "data.root=null,'a b'", "model.generator.widths=choice([1,2],[3])"],
    ],
)
def test_a_grid_is_that_of_hydra(overrides: list[str]) -> None:
    parsed = OverridesParser.create().parse_overrides(overrides)
    ((*expected,),) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    space = parse(overrides)
    ours = [space.arguments(space.point(i)) for i in range(space.size())]
    assert [sorted(one) for one in ours] == [sorted(one) for one in expected]


def test_a_grid_has_no_intervals() -> None:
    with pytest.raises(UsageError, match="grid"):
        parse(["model.lr=interval(1,2)"]).size()


@pytest.mark.parametrize(
    "name", ["runs/a", "a b", "it's", "1e5", "12", "null", "True", "a,b", "-x", "a\\", "é=ü"]
)
def test_any_name_arrives_as_it_was(name: str) -> None:
    assert config.compose([f"run.dir={quoted(name)}"]).run.dir == name
