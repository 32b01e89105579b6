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


@pytest.mark.parametrize("experiment", sorted(p.stem for p in (CONF / "experiment").glob("*.yaml")))
def test_every_experiment_takes_an_augmentation(experiment: str) -> None:
    cfg = config.compose([f"+experiment={experiment}", "augment=ada", "augment.target=0.5"])
    assert (cfg.augment.name, cfg.augment.target, cfg.augment.speed_kimg) == ("ada", 0.5, 500)
    assert config.compose([f"+experiment={experiment}"]).data.flip == (experiment == "cifar10")


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
        ("dcgan", "dcgan", "+experiment=dcgan"),
        ("model/mlp", "model/mlp", "model=mlp"),
        ("epochs=3", "epochs", "did you mean trainer.max_epochs?"),
        ("+epochs=3", "epochs", "did you mean trainer.max_epochs?"),
        ("batch_size=3", "batch_size", "did you mean data.batch_size?"),
        ("schedule.lr=1", "schedule.lr", "did you mean schedules.lr?"),
        (
            "schedules.lr.final=0",
            "schedules.lr.final",
            "++schedules.lr={final: …, begin: …, end: …, shape: …}",
        ),
        ("logger.csv.flush_every_steps=1", "logger.csv", "++logger.csv={flush_every_steps: …}"),
        ("trainer.max_epochs=1,2", "several values", "[1,2]"),
        ("loss=wgan-gp", "wgan-gp", "did you mean wgan_gp?"),
        ("augment=prevew", "prevew", "did you mean preview?"),
        ("augment=adda", "adda", "did you mean ada?"),
        # of `ganctl train` alone
        ("augment=preview", "preview", "known: ada, diffaug, none"),
        ("augment.target=0.7", "augment.target", "augment=ada"),
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


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        config.compose(["modle.lr=1", "seed", "model.lr=-1", "epochs=3", "seed=1"])
    for what in ("'modle.lr'", "'seed'", "model.lr=-1", "'epochs'"):
        assert caught.value.what.count(what) == 1
    assert "seed=1" not in caught.value.what


def test_keys_are_judged_by_the_options_that_are_chosen() -> None:
    assert config.compose(["model=mlp", "model.generator.widths=[8]"]).model.generator["widths"] == [8]
    with pytest.raises(UsageError) as caught:
        config.compose(["model=mlp", "model.generator.tanh_gain=1"])
    assert caught.value.what == "there is no key 'model.generator.tanh_gain'"
    assert "widths" in caught.value.fix
    # not before they are known
    with pytest.raises(UsageError) as caught:
        config.compose(["model=mpl", "model.generator.widths=[8]", "data=mnits"])
    assert caught.value.what == "there is no model 'mpl'; there is no data 'mnits'"


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
