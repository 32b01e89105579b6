"""What shells offer behind <TAB>, asked for as they do: through the environment."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from heavy_imports import HEAVY
from typer.testing import CliRunner

from ganctl import cli
from ganctl.data import LABEL_NAMES


def bash(*words: str) -> list[str]:
    """What bash is offered for the last of the words, broken at "=" as it breaks them."""
    env = {"_GANCTL_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(words) + "\n"}
    env["COMP_CWORD"] = str(len(words) - 1)
    return answered(env)


def fish(line: str) -> list[str]:
    """What fish is offered at the end of the line, without what it shows beside."""
    env = {"_GANCTL_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    return [offer.partition("\t")[0] for offer in answered(env | {"_TYPER_COMPLETE_ARGS": line})]


def answered(env: dict[str, str]) -> list[str]:
    done = CliRunner().invoke(cli.app, [], env=env, prog_name="ganctl")
    assert done.exit_code == 0, done.output
    return [line for line in done.stdout.splitlines() if line]


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


EXPERIMENTS = ["best", "cifar10", "dcgan", "fashion", "folder", "mlp", "quick", "stacked_mnist"]


def test_verbs_and_options() -> None:
    assert set(bash("ganctl", "")) >= {"train", "sample", "eval", "configs"}
    assert bash("ganctl", "configs", "s") == ["show"]
    assert bash("ganctl", "train", "--dr") == ["--dry-run"]
    assert bash("ganctl", "sample", "--device", "c") == ["cpu", "cuda"]


def test_options_of_groups_behind_the_equals_sign() -> None:
    assert bash("ganctl", "train", "+experiment", "=") == EXPERIMENTS
    assert bash("ganctl", "train", "seed", "=", "1", "loss", "=", "l") == ["lsgan"]
    assert fish("ganctl train +experiment=") == [f"+experiment={name}" for name in EXPERIMENTS]
    assert fish("ganctl train seed=1 loss=l") == ["loss=lsgan"]
    assert bash("ganctl", "train", "augment", "=") == ["ada", "diffaug", "none", "preview"]
    assert fish("ganctl train augment=p") == ["augment=preview"]
    assert bash("ganctl", "configs", "validate", "model", "=") == ["dcgan", "mlp", "resnet"]


def test_keys() -> None:
    assert bash("ganctl", "train", "model.l") == ["model.latent_dim=", "model.lr="]
    # the only one comes with its value, as shells put a blank behind a single offer
    assert bash("ganctl", "train", "model.lr") == ["model.lr=", "model.lr=1e-3"]
    assert fish("ganctl train ++model.lr") == ["++model.lr=", "++model.lr=1e-3"]
    assert {"experiment=", "model=", "seed=", "model.lr="} <= set(bash("ganctl", "train", ""))
    assert "trainer=" in bash("ganctl", "resume", "runs/x", "tr")


def test_keys_of_the_option_that_is_chosen() -> None:
    chosen = ["model.generator.widths=", "model.generator.widths=[128,256,512,1024]"]
    assert bash("ganctl", "train", "model", "=", "mlp", "model.generator.w") == chosen
    assert fish("ganctl train model=mlp model.generator.w") == chosen
    assert "model.generator.width=32" in fish("ganctl train model.generator.w")


def test_values_of_keys() -> None:
    assert bash("ganctl", "train", "trainer.precision", "=") == ["auto", "32", "bf16"]
    assert fish("ganctl train trainer.precision=b") == ["trainer.precision=bf16"]
    assert bash("ganctl", "train", "debug", "=") == ["true", "false"]
    assert bash("ganctl", "train", "trainer.max_epochs", "=") == ["10"]
    assert bash("ganctl", "train", "nothing.like.it", "=", "x") == []


def test_names_of_configurations() -> None:
    assert bash("ganctl", "configs", "show", "")[: len(EXPERIMENTS)] == EXPERIMENTS
    assert bash("ganctl", "configs", "show", "mod") == ["model/dcgan", "model/mlp", "model/resnet"]
    assert bash("ganctl", "configs", "diff", "mlp", "q") == ["quick"]
    assert bash("ganctl", "configs", "cp", "model/m") == ["model/mlp"]


def test_own_options(tmp_path: Path) -> None:
    for name in ("experiment/mine.yaml", "model/mini.yaml"):
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True)
        path.write_text("# Mine.\nlatent_dim: 3\ntiny: 1\n")
    assert bash("ganctl", "train", "--config-dir", "own", "+experiment", "=", "m") == ["mine", "mlp"]
    assert fish("ganctl train --config-dir own model=mi") == ["model=mini"]
    assert fish("ganctl train --config-dir own model=mini model.t") == ["model.tiny=", "model.tiny=1"]
    assert bash("ganctl", "configs", "show", "--config-dir", "own", "mi") == ["mine"]


def make_run(path: Path, data: str, *files: str) -> None:
    (path / "checkpoints").mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump({"data": {"name": data}}))
    for file in files:
        (path / "checkpoints" / file).touch()


def test_labels_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    digits = [*LABEL_NAMES["mnist"], "all"]
    assert bash("ganctl", "sample", "--label", "") == digits  # the bundled one
    make_run(tmp_path / "runs/fashion/1", "fashion", "last.ckpt")
    assert bash("ganctl", "sample", "--label", "s") == ["sandal", "shirt", "sneaker"]
    assert bash("ganctl", "sample", "--label", "bag,s") == ["bag,sandal", "bag,shirt", "bag,sneaker"]
    make_run(tmp_path / "other", "digits", "last.ckpt")
    assert bash("ganctl", "sample", "--ckpt", "other", "--label", "") == digits
    assert bash("ganctl", "sample", "--ckpt", "other/checkpoints/last.ckpt", "--label", "3") == ["3"]
    make_run(tmp_path / "stacked", "stacked_mnist", "last.ckpt")
    assert bash("ganctl", "sample", "--ckpt", "stacked", "--label", "") == []


@pytest.mark.parametrize("text", ["[", "data: 3", "data: {name: [1]}", "data: {name: others}", "\x00"])
def test_a_run_that_cannot_be_read_offers_nothing(text: str, tmp_path: Path) -> None:
    make_run(tmp_path / "run", "digits", "last.ckpt")
    (tmp_path / "run" / "config.yaml").write_text(text)
    assert bash("ganctl", "sample", "--ckpt", "run", "--label", "") == []


def test_checkpoints_are_files_and_runs(tmp_path: Path) -> None:
    assert bash("ganctl", "sample", "--ckpt", "") == []
    make_run(tmp_path / "runs/quick/1", "mnist", "last.ckpt")
    make_run(tmp_path / "runs/quick/2", "mnist", "last.ckpt", "best.ckpt", "notes.txt")
    (tmp_path / "small.safetensors").touch()
    (tmp_path / "picture.png").touch()
    offered = ["last.ckpt", "best.ckpt", "runs/quick/2", "runs/quick/1", "small.safetensors"]
    assert bash("ganctl", "sample", "--ckpt", "") == offered
    assert bash("ganctl", "eval", "--ckpt", "s") == ["small.safetensors"]
    inside = "runs/quick/2/checkpoints/"
    assert bash("ganctl", "eval", "--ckpt", inside) == [f"{inside}best.ckpt", f"{inside}last.ckpt"]
    assert bash("ganctl", "resume", "runs/q") == ["runs/quick/2", "runs/quick/1"]


ROOT = Path(__file__).parents[2]
START = 'import sys; sys.argv[0] = "ganctl"; from ganctl.cli import main; main()'
# Typer imports pydantic for the options before a verb, which it reads here.
PROBE = f"""
import atexit, json, sys
loaded = lambda: [name for name in {HEAVY!r} if name in sys.modules and name != "pydantic"]
atexit.register(lambda: print(json.dumps(loaded()), file=sys.stderr))
{START}
"""


@pytest.mark.parametrize(
    "words",
    [("train", "model.l"), ("train", "loss", "="), ("sample", "--label", ""), ("configs", "show", "")],
    ids=" ".join,
)
def test_completion_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    env = os.environ | {"_GANCTL_COMPLETE": "complete_bash", "COMP_CWORD": str(len(words))}
    env["COMP_WORDS"] = "\n".join(("ganctl", *words)) + "\n"
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip()
    assert json.loads(done.stderr.splitlines()[-1]) == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_script_that_is_installed_works_in_bash(tmp_path: Path) -> None:
    ganctl = tmp_path / "ganctl"
    ganctl.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(START)} "$@"\n')
    ganctl.chmod(0o755)
    script = f"""
eval "$({shlex.quote(str(ganctl))} --show-completion bash)"
complete -p ganctl
COMP_WORDS=(ganctl train loss = h); COMP_CWORD=4
_ganctl_completion {shlex.quote(str(ganctl))}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    env = os.environ | {"PYTHONPATH": str(ROOT), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.splitlines()[-1] == "hinge", done.stderr
    assert "ganctl" in done.stdout.splitlines()[0]
