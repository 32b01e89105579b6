"""Overrides become one checked configuration, or an error that names what would work."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ganctl import config
from ganctl.errors import UsageError

CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_an_experiment_is_named_with_or_without_plus(prefix: str) -> None:
    assert config.compose([f"{prefix}experiment=mlp"]).loss.name == "lsgan"


def test_a_group_takes_a_plus_as_well() -> None:
    assert config.compose(["+data=digits"]).data.name == "digits"


def test_overrides_win_over_the_experiment() -> None:
    cfg = config.compose(["+experiment=mlp", "model.latent_dim=7", "loss=hinge"])
    assert (cfg.model.latent_dim, cfg.loss.name, cfg.name) == (7, "hinge", "mlp")


@pytest.mark.parametrize(
    ("group", "option"),
    [(g, o) for g in config.GROUPS for o in sorted(p.stem for p in (CONF / g).glob("*.yaml"))],
)
def test_every_shipped_option_composes_and_validates(group: str, option: str) -> None:
    assert isinstance(config.compose([f"{group}={option}"]), config.Config)


def test_the_loss_section_holds_the_name_of_its_file() -> None:
    for file in (CONF / "loss").glob("*.yaml"):
        assert config.compose([f"loss={file.stem}"]).loss.name == file.stem


def test_a_configuration_survives_yaml() -> None:
    cfg = config.compose(["+experiment=quick"])
    assert config.validate(yaml.safe_load(yaml.safe_dump(cfg.model_dump()))) == cfg


def test_numbers_with_an_exponent_are_numbers() -> None:
    assert config.compose(["model.lr=1e-4"]).model.lr == 1e-4


def test_debug_runs_one_batch_under_a_name_of_its_own() -> None:
    cfg = config.compose(["+experiment=dcgan", "debug=true"])
    assert (cfg.name, cfg.trainer.max_epochs, cfg.trainer.max_steps) == ("debug", 1, 1)
    assert config.compose(["+experiment=dcgan"]).trainer.max_steps is None


@pytest.mark.parametrize(
    ("override", "what", "fix"),
    [
        ("experiment=dcgn", "dcgn", "dcgan"),
        ("data=mnits", "mnits", "mnist"),
        ("optimiser=adam", "optimiser", "model"),
        ("modle.lr=1", "modle.lr", "model.lr"),
        ("lr=1", "'lr'", "model.lr"),
        ("loss.r1=1", "loss.r1", "r1_gamma"),
        ("+model.lrr=1", "model.lrr", "lr"),
        ("+schedules.lr={final: 0, begin: 0, end: 1, shape: linear, strat: 1}", "strat", "begin"),
        ("a b", "a b", "key=value"),
        ("model.lr", "model.lr", "key=value"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(override: str, what: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        config.compose([override])
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert "\n" not in caught.value.what + caught.value.fix


def test_all_wrong_values_are_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        config.compose(["model.lr=-1", "seed=x", "trainer.precision=16", "loss.r1_gamma=nan"])
    for key in ("model.lr", "seed", "trainer.precision", "loss.r1_gamma"):
        assert key in caught.value.what


@pytest.mark.parametrize(
    "override",
    ["model.beta2=1", "data.batch_size=0", "trainer.max_epochs=0", "name=../up", "trainer.devices=0"],
)
def test_values_out_of_range_are_refused(override: str) -> None:
    with pytest.raises(UsageError, match=override.partition("=")[0]):
        config.compose([override])


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (["data=0"], "data=0"),
        (["data=null"], "data=null"),
        (["=1"], "=1"),
        (["seed=" + "9" * 5000], "4300 digits"),
        (["name=${oc.env:GANCTL_NO_SUCH_VARIABLE}"], "GANCTL_NO_SUCH_VARIABLE"),
        (["model.lr=${model.lr}"], "model.lr: "),
        (["name=${eval:1+1}"], "eval"),
        (["~debug"], "debug is missing"),
        (["callbacks.evaluate=3", "debug=true"], "callbacks.evaluate=3"),
        (["++model=5", "debug=true"], "model=5"),
        (["data=../../conf/passwd"], "there is no data '../../conf/passwd'"),
    ],
)
def test_what_hydra_cannot_compose_is_one_line(overrides: list[str], what: str) -> None:
    with pytest.raises(UsageError) as caught:
        config.compose(overrides)
    assert what in caught.value.what
    assert caught.value.fix
    assert "\n" not in caught.value.what + caught.value.fix


def test_an_override_may_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", "ada")
    assert config.compose(["name=${oc.env:WHO}"]).name == "ada"


def test_a_wrong_override_does_not_spoil_the_next_call() -> None:
    with pytest.raises(UsageError):
        config.compose(["nothing=1"])
    assert config.compose([]).data.name == "mnist"
