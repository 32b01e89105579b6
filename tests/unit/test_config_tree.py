"""The files of configurations: what they say of themselves, copies, the user's own, and strangers'."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ganctl import config, config_diff, config_tree
from ganctl.errors import UsageError

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Options of the user: a model, a loss of a shipped name, and an experiment with both."""
    files = {
        "model/small.yaml": (CONF / "model/dcgan.yaml")
        .read_text()
        .replace("latent_dim: 64", "latent_dim: 9"),
        "loss/hinge.yaml": "# Mine.\nname: hinge\nr1_gamma: 3.0\nr2_gamma: 0.0\ngp_weight: 0.0\n",
        "experiment/mine.yaml": "# @package _global_\n# My recipe.\ndefaults:\n  - override /model: small\n"
        "  - override /loss: hinge\n  - override /data: digits\n\nname: mine\n",
    }
    for name, text in files.items():
        path = tmp_path / "it's mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "it's mine"


def test_every_shipped_option_says_in_a_line_what_it_is() -> None:
    files = [path for path in CONF.glob("*/*.yaml")]
    found = config_tree.listing()
    assert {option.path for option in found} == set(files)
    assert found[0].group == "experiment"
    for option in found:
        lines = option.path.read_text(encoding="utf-8").splitlines()
        assert f"# {option.about}" == lines[1 if lines[0].startswith("# @package") else 0]
        assert option.about.endswith("."), option
        assert len(option.about) <= 110, option


def test_own_options_go_before_shipped_ones(own: Path) -> None:
    cfg = config.compose(["experiment=mine"], own)
    assert (cfg.name, cfg.model.latent_dim, cfg.loss.r1_gamma, cfg.data.name) == ("mine", 9, 3.0, "digits")
    assert config.compose(["+experiment=dcgan", "model=small"], own).name == "dcgan"
    # and are gone with the next call
    assert config.compose(["loss=hinge"]).loss.r1_gamma == 0.0
    with pytest.raises(UsageError, match="'mine'"):
        config.compose(["experiment=mine"])


def test_messages_know_own_options(own: Path) -> None:
    for override, fix in (("model=smal", "did you mean small?"), ("experiment=mien", "did you mean mine?")):
        with pytest.raises(UsageError) as caught:
            config.compose([override], own)
        assert fix in caught.value.fix
    with pytest.raises(UsageError) as caught:
        config.compose(["mine"], own)
    assert "+experiment=mine" in caught.value.fix


def test_own_options_are_listed_as_such(own: Path) -> None:
    mine = [option for option in config_tree.listing(own) if option.own]
    found = {(option.full_name, option.about) for option in mine}
    about = "Convolutional pair, projection discriminator without normalisation, native resolution."
    assert found == {("experiment/mine", "My recipe."), ("loss/hinge", "Mine."), ("model/small", about)}
    assert len(config_tree.listing(own)) == len(config_tree.listing()) + 2


def test_a_broken_file_of_ones_own_is_named_with_its_line(own: Path) -> None:
    (own / "model" / "small.yaml").write_text("latent_dim: 9\nlr: [1\n")
    with pytest.raises(UsageError, match=r"small\.yaml, line 3: "):
        config.compose(["model=small"], own)


@pytest.mark.parametrize(
    ("folder", "what"), [("missing", "is no folder"), (".", "holds no folder of a group")]
)
def test_a_folder_without_options_is_refused(folder: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=what):
        config.compose([], tmp_path / folder)


def test_a_copy_is_the_file_and_replaces_nothing(tmp_path: Path) -> None:
    option = config_tree.find("dcgan")
    target = config_tree.copy(option, tmp_path / "own", force=False)
    assert target == tmp_path / "own/experiment/dcgan.yaml"
    assert target.read_bytes() == (CONF / "experiment/dcgan.yaml").read_bytes()
    target.write_text(target.read_text().replace("name: dcgan", "name: mine"))
    with pytest.raises(UsageError, match="there already"):
        config_tree.copy(option, tmp_path / "own", force=False)
    assert config.compose(["experiment=dcgan"], tmp_path / "own").name == "mine"
    config_tree.copy(option, tmp_path / "own", force=True)
    assert config.compose(["experiment=dcgan"], tmp_path / "own").name == "dcgan"


@pytest.mark.parametrize(
    ("name", "what", "fix"),
    [
        ("dcgn", "there is no experiment 'dcgn'", "did you mean dcgan?"),
        ("model/dcgn", "there is no model 'dcgn'", "did you mean dcgan?"),
        ("hinge", "there is no experiment 'hinge'", "did you mean loss/hinge?"),
        ("modle/mlp", "there is no experiment 'modle/mlp'", "did you mean model/mlp?"),
        ("../conf/train", "there is no experiment", "dcgan"),
    ],
)
def test_a_name_that_does_not_exist_is_answered_with_the_nearest(name: str, what: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        config_tree.find(name)
    assert what in caught.value.what
    assert fix in caught.value.fix


def test_what_completion_takes_for_defaults_is_what_is_composed() -> None:
    composed = config.compose(["model=mlp", "loss=hinge"]).model_dump()
    found = config_tree.defaults({"model": "mlp", "loss": "hinge"})
    assert config.validate(found).model_dump() == composed


LAUGHS = "\n".join(
    [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" if i else "a0: &a0 x" for i in range(30)]
)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (LAUGHS, "refers to parts of itself"),
        ("a: " + "[" * 1000, "nested too deeply"),
        ("# " + "x" * (1 << 17), "longer than"),
        ("[1, 2]", "is no configuration"),
        ("a: !!python/object/apply:os.system ['x']", "cannot read"),
        ("a: [1", "cannot read"),
        ("\x00", "cannot read"),
    ],
)
def test_a_hostile_config_is_refused(text: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=what):
        config_tree.read(path)


# -- differences -------------------------------------------------------------------------------------------


def test_only_what_differs_is_shown(own: Path, tmp_path: Path) -> None:
    found = config_diff.diff("dcgan", "experiment=dcgan model.lr=3e-4 'name=other'")
    assert found.values == {"name": ("dcgan", "other"), "model.lr": (1e-3, 3e-4)}
    titles, *rows = found.table().splitlines()
    assert titles.split() == ["dcgan", "experiment=dcgan", "model.lr=3e-4", "'name=other'"]
    assert [row.split() for row in rows] == [["name", "dcgan", "other"], ["model.lr", "0.001", "0.0003"]]
    assert len({titles.index("experiment"), rows[0].index("other"), rows[1].index("0.0003")}) == 1
    assert config_diff.diff("quick", "quick").table() == "no difference"
    sizes = config_diff.diff("model/dcgan", "model/small", own)
    assert sizes.to_dict()["differences"] == {"model.latent_dim": {"a": 64, "b": 9}}


def test_a_run_is_compared_by_its_config(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    plain = config.compose(["+experiment=quick", "seed=5"]).model_dump() | {"new": 1}
    (run / "config.yaml").write_text(yaml.safe_dump(plain))
    expected = {"seed": (0, 5), "new": (None, 1)}
    assert config_diff.diff("quick", str(run)).values == expected
    assert config_diff.diff("quick", str(run / "config.yaml")).values == expected
    with pytest.raises(UsageError, match="quote"):
        config_diff.diff("quick", "name='a")
