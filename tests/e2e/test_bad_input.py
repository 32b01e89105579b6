"""Wrong input: exit code 2, no traceback, one line for what is wrong and one for what would work."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

Invoke = Callable[..., SimpleNamespace]
DIGITS = ("data=digits", "logger=none")


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    """What `ganctl train` saves, of an untrained generator of 8 × 8 digits."""
    from ganctl.data.dataset import DatasetFacts
    from ganctl.networks.dcgan import Generator
    from ganctl.snapshot import entry

    spec = {"_target_": "ganctl.networks.dcgan.Generator", "width": 4}
    G = Generator(latent_dim=4, num_classes=10, channels=1, resolution=8, width=4)
    facts = DatasetFacts("digits", tuple("0123456789"), 1, 8, (120,) * 10)
    return {
        "ganctl": entry(
            config={},
            facts=facts,
            latent_dim=4,
            generator=spec,
            ema=dict(G.state_dict()),
            nimg=64,
            steps=1,
            wandb_id=None,
        )
    }


@pytest.fixture
def good(content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint that works, in an otherwise empty working folder."""
    path = tmp_path / "good.ckpt"
    torch.save(content, path)
    monkeypatch.chdir(tmp_path)
    return path


def assert_refused(result: SimpleNamespace, *whats: str, fix: str = "", folder: Path | None = None) -> None:
    """Exit code 2; `Error:` with all of `whats`, then `Try:` with `fix`; a line each, and no traceback."""
    shown = result.stderr.replace("\r", "\n")
    assert result.exit_code == 2, shown
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert "Traceback" not in shown
    assert "--debug" not in shown
    lines = shown.strip().splitlines()
    assert [line[:7] for line in lines[-2:]] == ["Error: ", "Try:   "], shown
    assert sum(line.startswith(("Error:", "Try:")) for line in lines) == 2
    for what in whats:
        assert what in lines[-2]
    assert len(lines[-1]) > len("Try:   ")
    assert fix in lines[-1]
    if folder is not None:
        assert not [p.name for p in folder.rglob("*") if p.is_dir()], "a run folder was made for nothing"


def assert_refused_by_parser(result: SimpleNamespace, what: str) -> None:
    """What the option parser refuses: it says where the help is, then what is wrong."""
    assert result.exit_code == 2, result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert re.search(r"Try '.* --help' for help", result.stderr)
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert len(errors) == 1
    assert what in errors[0]


@pytest.mark.parametrize(
    ("overrides", "what", "fix"),
    [
        (["+experiment=dcgn"], "'dcgn'", "did you mean dcgan?"),
        (["experiment=qick"], "'qick'", "did you mean quick?"),
        (["data=digit"], "'digit'", "did you mean digits?"),
        (["loss=hing"], "'hing'", "did you mean hinge?"),
        (["model=vgg"], "'vgg'", "dcgan"),
        (["experiment=quick", "experiment=mlp"], "quick and mlp are 2 experiments", "give one"),
        (["trainer=dpp"], "'dpp'", "did you mean ddp"),
        (["logger=wadb"], "'wadb'", "did you mean wandb?"),
        (["callbacks=defualt"], "'defualt'", "did you mean default?"),
        (["modl=dcgan"], "'modl'", "did you mean model?"),
        (["modle.lr=1"], "'modle.lr'", "did you mean model.lr?"),
        (["model.latentdim=64"], "'model.latentdim'", "did you mean latent_dim?"),
        (["+model.latentdim=64"], "'model.latentdim'", "did you mean latent_dim?"),
        (["trainer.max_epoch=2"], "'trainer.max_epoch'", "did you mean max_epochs?"),
        (["callbacks.samples.per_clas=2"], "'callbacks.samples.per_clas'", "did you mean per_class?"),
        (["sed=1"], "'sed'", "did you mean seed?"),
        (["quick"], "'quick'", "+experiment="),
        (["model.lr=fast"], "model.lr='fast'", "model.lr"),
        (["model.lr=-5"], "model.lr=-5", "model.lr"),
        (["model.lr=0"], "model.lr=0", "model.lr"),
        (["model.lr=nan"], "model.lr=nan", "model.lr"),
        (["model.beta1=1"], "model.beta1=1", "model.beta1"),
        (["trainer.max_epochs=0"], "trainer.max_epochs=0", "trainer.max_epochs"),
        (["trainer.max_epochs=1.5"], "trainer.max_epochs=1.5", "trainer.max_epochs"),
        (["trainer.precision=16"], "trainer.precision=16", "trainer.precision"),
        (["data.batch_size=null"], "data.batch_size=None", "data.batch_size"),
        (["data.batch_size=[1,2]"], "data.batch_size=[1, 2]", "data.batch_size"),
        (["seed=-1"], "seed=-1", "seed"),
        (["debug=perhaps"], "debug='perhaps'", "debug"),
        (["name=../../elsewhere"], "name='../../elsewhere'", "name"),
        (["loss.name=focal"], "loss.name='focal'", "loss.name"),
    ],
)
def test_override_is_refused(
    invoke: Invoke, good: Path, tmp_path: Path, overrides: list[str], what: str, fix: str
) -> None:
    assert_refused(invoke("train", *DIGITS, *overrides), what, fix=fix, folder=tmp_path)


def test_all_problems_are_named_at_once(invoke: Invoke, good: Path, tmp_path: Path) -> None:
    wrong = {"seed": "x", "model.lr": "-5", "trainer.max_epochs": "0", "loss.r1_gamma": "-1"}
    result = invoke("train", *DIGITS, *(f"{key}={value}" for key, value in wrong.items()))
    assert_refused(result, *(f"{key}=" for key in wrong), folder=tmp_path)
    assert "model.beta1" not in result.stderr  # what is right is not named


@pytest.mark.parametrize(
    ("overrides", "what", "fix"),
    [
        (["data.batch_size=100000"], "data.batch_size=100000", "at most 1200"),
        (["data.batch_size=1201"], "data.batch_size=1201", "at most 1200"),
        (["trainer=ddp_cpu", "data.batch_size=63"], "63 cannot be shared by 2", "64"),
        (["data.val_size=1500"], "val_size=1500", "1499"),
        (["model.generator._target_=nowhere.Net"], "'nowhere.Net'", "ganctl.networks."),
        (["model.generator._target_=ganctl.networks.dcgan.Generatr"], "Generatr", "ganctl.networks."),
        (["model.generator._target_=collections.OrderedDict"], "collections.OrderedDict", "network"),
        (["model.generator.width=wide"], "ganctl.networks.dcgan.Generator", "_target_"),
    ],
)
def test_configuration_that_cannot_work_is_refused(
    invoke: Invoke, good: Path, tmp_path: Path, overrides: list[str], what: str, fix: str
) -> None:
    assert_refused(invoke("train", *DIGITS, *overrides), what, fix=fix, folder=tmp_path)


def test_logger_that_cannot_be_had_is_refused_before_a_run_folder_is_made(
    invoke: Invoke, good: Path, tmp_path: Path
) -> None:
    result = invoke("train", "data=digits", "logger=neptune")
    assert_refused(result, "Neptune", fix="logger=wandb", folder=tmp_path)


@pytest.mark.parametrize("option", ["run.root=good.ckpt/runs", "run.dir=good.ckpt/run", "run.root=good.ckpt"])
def test_run_folder_below_a_file_is_refused(invoke: Invoke, good: Path, option: str) -> None:
    assert_refused(invoke("train", *DIGITS, option), option.partition("=")[2], fix="run.dir=DIR")


def test_run_folder_that_holds_a_run_is_refused(invoke: Invoke, good: Path, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.yaml").write_text("seed: 1\n")
    assert_refused(invoke("train", *DIGITS, "run.dir=old"), "old already holds a run", fix="run.dir=DIR")
    assert (tmp_path / "old" / "config.yaml").read_text() == "seed: 1\n"


@pytest.mark.parametrize(
    ("options", "what", "fix"),
    [
        (["--label", "12"], "'12'", "0 to 9"),
        (["--label", "banana"], "'banana'", "known: 0, 1, 2"),
        (["--label", "5-12"], "'5-12'", "0 to 9"),
        (["--label", "7-3"], "'7-3'", "0 to 9"),
        (["--label", "1,,3"], "''", "known: 0, 1, 2"),
        (["--label", "-1"], "'-1'", "0 to 9"),
        (["--seeds", "3-1"], "'3-1'", "0,1,4-6"),
        (["--seeds", "a"], "'a'", "0,1,4-6"),
        (["--seeds", "-4"], "'-4'", "0,1,4-6"),
        (["--seed", "9223372036854775807"], "9223372036854775807", "seed"),
        (["--seed", "4294967295", "--n", "2"], "4294967296", "4294967295"),
        (["--n", "400000000"], "4000000000 images", "10000000 at most"),
        (["--seeds", "0-20000000"], "20000001 images", "10000000 at most"),
        (["--format", "jpg"], "'jpg'", "png, npz and npy"),
        (["--out", "x.jpg"], "x.jpg", "png, npz and npy"),
        (["--out", "x.gif"], "gif", "png, npz and npy"),
        (["--truncation", "0"], "truncation of 0.0", "1 leaves"),
        (["--truncation", "nan"], "truncation of nan", "1 leaves"),
        (["--interpolate", "1", "12"], "'12'", "0 to 9"),
        (["--interpolate", "0-3", "2"], "'0-3'", "give one"),
        (["--interpolate", "1:x", "2"], "'x'", "LABEL:SEED"),
        (["--interpolate", "1:4294967296", "2"], "'4294967296'", "0 to 4294967295"),
        (["--interpolate", "1", "2", "--frames", "1"], "1 frames", "2 to 10000"),
        (["--interpolate", "1", "2", "--frames", "20000"], "20000 frames", "2 to 10000"),
        (["--interpolate", "1", "2", "--format", "npz"], "npz", "png, gif and mp4"),
        (["--interpolate", "1", "2", "--outdir", "x"], "--outdir", "--interpolate"),
        (["--interpolate", "1", "2", "--seeds", "3"], "--interpolate", "--seeds"),
        (["--interpolate", "1", "2", "--captions"], "--captions", "--captions"),
        (
            ["--interpolate", "1", "2", "--frames", "9000", "--scale", "32", "--out", "x.gif"],
            "MiB",
            "--frames",
        ),
        (["--out", "."], "--out", "grid.png"),
        (["--loop"], "--loop", "--interpolate"),
        (["--captions", "--format", "npz"], "--captions", ".png"),
        (["--scale", "2", "--outdir", "x"], "single images", "--scale"),
        (["--n", "500000", "--scale", "64"], "5,000,000 images", "--format npy"),
        (["--outdir", "x", "--format", "npz"], "--outdir", "--format"),
        (["--outdir", "x", "--out", "x.png"], "--outdir", "--out"),
        (["--device", "tpu"], "'tpu'", "cpu, cuda and mps"),
    ],
)
def test_sample_option_is_refused(
    invoke: Invoke, good: Path, tmp_path: Path, options: list[str], what: str, fix: str
) -> None:
    assert_refused(invoke("sample", "--ckpt", "good.ckpt", *options), what, fix=fix)
    assert [p.name for p in tmp_path.iterdir()] == ["good.ckpt"]


@pytest.mark.parametrize(
    ("options", "what", "fix"),
    [
        (["nowhere.png"], "nowhere.png", "readable"),
        (["good.ckpt"], "good.ckpt", "write it again"),
        (["."], "no regular file", "take it out"),
        (["plain.png"], "plain.png", "ganctl sample"),
        (["plain.png", "nowhere.png"], "2 of 2 pictures", "ganctl sample"),
        (["one.png"], "there are no weights", "--ckpt"),
        (["one.png", "--ckpt", "nowhere.ckpt"], "nowhere.ckpt", "ganctl train"),
        (["one.png", "--ckpt", "good.ckpt", "--out", "plain.png"], "plain.png is there", "--force"),
        (["one.png", "one.png", "--out", "x.png"], "--out", "one"),
        (["one.png", "--ckpt", "good.ckpt", "--device", "tpu"], "'tpu'", "cpu, cuda and mps"),
    ],
)
def test_replay_is_refused(
    invoke: Invoke, good: Path, tmp_path: Path, options: list[str], what: str, fix: str
) -> None:
    args = ("--ckpt", "good.ckpt", "--label", "3", "--seeds", "7")
    assert invoke("sample", *args, "--outdir", ".").exit_code == 0
    Path("3_seed000007.png").rename("one.png")
    Image.new("L", (8, 8)).save("plain.png")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert_refused(invoke("replay", *options), what, fix=fix)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("verb", ["sample", "eval"])
@pytest.mark.parametrize(("device", "backend"), [("cuda", "cuda"), ("mps", "backends.mps")])
def test_device_that_is_not_there_is_refused(
    invoke: Invoke, good: Path, monkeypatch: pytest.MonkeyPatch, verb: str, device: str, backend: str
) -> None:
    monkeypatch.setattr(f"torch.{backend}.is_available", lambda: False)
    result = invoke(verb, "--ckpt", "good.ckpt", "--device", device)
    assert_refused(result, f"no {device} device", fix="--device cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_trainer_without_a_gpu_is_refused(invoke: Invoke, good: Path, tmp_path: Path) -> None:
    assert_refused(invoke("train", *DIGITS, "trainer=gpu"), "gpu", fix="trainer=cpu", folder=tmp_path)


@pytest.mark.parametrize(
    ("options", "what", "fix"),
    [
        (("nowhere", "--data", "digits"), "nowhere", "folder"),
        (("folder", "--data", "digits"), "folder", "PNG"),
        (("folder",), "compare with", "--data"),
        (("folder", "--ckpt", "good.ckpt"), "a checkpoint and pictures", "one of them"),
        (("--ckpt", "good.ckpt", "--data", "mnits"), "'mnits'", "did you mean mnist"),
        (("--ckpt", "good.ckpt", "--real", "good.ckpt"), "good.ckpt", "folder"),
        (("--ckpt", "good.ckpt", "--real", "no.safetensors"), "no.safetensors", "statistics file"),
        (("--ckpt", "good.ckpt", "--metrics", "fidd"), "'fidd'", "did you mean fid"),
        (("--ckpt", "good.ckpt", "--precision", "fp8"), "'fp8'", "bf16"),
        (("--ckpt", "good.ckpt", "--n", "400000000"), "400000000 images", "10000000 at most"),
        (("--ckpt", "good.ckpt", "--n", "3000000000", "--repeats", "2"), "5999999999", "4294967295"),
        (("--ckpt", "good.ckpt", "--features", "a" * 5000), "aaa", "inception"),
    ],
)
def test_evaluation_that_makes_no_sense_is_refused(
    invoke: Invoke, good: Path, tmp_path: Path, options: tuple[str, ...], what: str, fix: str
) -> None:
    (tmp_path / "folder").mkdir()
    assert_refused(invoke("eval", *options), what, fix=fix)


def test_features_are_refused(invoke: Invoke, good: Path) -> None:
    result = invoke("eval", "--ckpt", "good.ckpt", "--features", "vgg")
    assert_refused(result, "'vgg'", fix="classifier, inception")


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["sample", "--n", "0"], "--n"),
        (["sample", "--n", "-1"], "--n"),
        (["sample", "--n", "many"], "--n"),
        (["sample", "--batch-size", "0"], "--batch-size"),
        (["sample", "--seed", "-1"], "--seed"),
        (["sample", "--fmt", "png"], "--fmt"),
        (["eval", "--n", "1"], "--n"),
        (["train", "--foo"], "--foo"),
        (["smaple"], "'sample'"),
        (["data", "fetsh"], "fetsh"),
    ],
)
def test_parser_refuses(invoke: Invoke, good: Path, args: list[str], what: str) -> None:
    assert_refused_by_parser(invoke(*args), what)


def test_unknown_data_set_is_refused(invoke: Invoke) -> None:
    assert_refused(invoke("data", "fetch", "minst"), "'minst'", fix="did you mean mnist?")


@pytest.mark.parametrize(
    "args",
    [
        ("sample", "--n", "1", "--out", "good.ckpt/x.png"),
        ("sample", "--n", "1", "--out", "good.ckpt/deep/x.png"),
        ("sample", "--n", "1", "--format", "npz", "--out", "good.ckpt/x.npz"),
        ("sample", "--n", "1", "--outdir", "good.ckpt"),
        ("sample", "--n", "1", "--outdir", "good.ckpt/deep"),
        ("sample", "--n", "1", "--out", "folder"),
        ("eval", "--n", "20", "--features", "classifier", "--out", "good.ckpt/x.json"),
    ],
)
def test_unwritable_output_is_refused(invoke: Invoke, good: Path, tmp_path: Path, args: tuple[str]) -> None:
    (tmp_path / "folder").mkdir()
    before = good.read_bytes()
    assert_refused(invoke(args[0], "--ckpt", "good.ckpt", *args[1:]), args[-1], fix="write to")
    assert good.read_bytes() == before
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["folder", "good.ckpt"]


# -- checkpoints -------------------------------------------------------------------------------------------


class _RunsCode:
    """Unpickled naively, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.mark}'",)


def _changed(content: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"ganctl": content["ganctl"] | {"checksum": None} | changes}


def missing(path: Path, content: dict[str, Any]) -> None:
    pass


def empty(path: Path, content: dict[str, Any]) -> None:
    path.touch()


def garbage(path: Path, content: dict[str, Any]) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def text(path: Path, content: dict[str, Any]) -> None:
    path.write_text("not a checkpoint\n")


def cut_in_half(path: Path, content: dict[str, Any]) -> None:
    torch.save(content, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_early(path: Path, content: dict[str, Any]) -> None:
    torch.save(content, path)
    path.write_bytes(path.read_bytes()[:1000])


def cut_at_the_end(path: Path, content: dict[str, Any]) -> None:
    torch.save(content, path)
    path.write_bytes(path.read_bytes()[:-10])


def tensor(path: Path, content: dict[str, Any]) -> None:
    torch.save(torch.zeros(3), path)


def weights(path: Path, content: dict[str, Any]) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)


def lightning(path: Path, content: dict[str, Any]) -> None:
    import pytorch_lightning as pl

    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, max_epochs=0)
    trainer.strategy.connect(Model())
    trainer.save_checkpoint(path)


def other_version(path: Path, content: dict[str, Any]) -> None:
    torch.save(_changed(content, format_version=99, versions={"ganctl": "7.8.9"}), path)


def no_version(path: Path, content: dict[str, Any]) -> None:
    torch.save({"ganctl": {}}, path)


def not_a_mapping(path: Path, content: dict[str, Any]) -> None:
    torch.save({"ganctl": [1, 2]}, path)


def incomplete(path: Path, content: dict[str, Any]) -> None:
    torch.save({"ganctl": {k: v for k, v in content["ganctl"].items() if k != "ema"}}, path)


def mistyped(path: Path, content: dict[str, Any]) -> None:
    torch.save(_changed(content, latent_dim="four"), path)


def unfitting(path: Path, content: dict[str, Any]) -> None:
    torch.save(_changed(content, latent_dim=5), path)


def weights_of_others(path: Path, content: dict[str, Any]) -> None:
    torch.save(_changed(content, ema={"weight": torch.zeros(3)}), path)


REFUSED: list[tuple[Callable[[Path, dict[str, Any]], None], str, str]] = [
    (missing, "bad.ckpt", "--ckpt"),
    (empty, "bad.ckpt", ""),
    (garbage, "bad.ckpt", ""),
    (text, "bad.ckpt", ""),
    (cut_in_half, "damaged", ""),
    (cut_early, "damaged", ""),
    (cut_at_the_end, "damaged", ""),
    (tensor, "another program", "ganctl train"),
    (weights, "another program", "ganctl train"),
    (lightning, "another program", "ganctl train"),
    (other_version, "format 99", "7.8.9"),
    (no_version, "format None", "ganctl"),
    (not_a_mapping, "another program", "ganctl train"),
    (incomplete, "ema", ""),
    (mistyped, "latent_dim", ""),
    (unfitting, "do not fit", ""),
    (weights_of_others, "do not fit", ""),
]


@pytest.mark.parametrize("verb", ["sample", "eval"])
@pytest.mark.parametrize(("make", "what", "fix"), REFUSED, ids=lambda x: getattr(x, "__name__", None))
@pytest.mark.filterwarnings("ignore::UserWarning:pytorch_lightning")  # of the untrained model's trainer
def test_checkpoint_is_refused(
    invoke: Invoke,
    good: Path,
    content: dict[str, Any],
    verb: str,
    make: Callable[[Path, dict[str, Any]], None],
    what: str,
    fix: str,
) -> None:
    make(good.with_name("bad.ckpt"), content)
    assert_refused(invoke(verb, "--ckpt", "bad.ckpt"), what, fix=fix)


def test_the_checkpoint_that_the_bad_ones_were_made_from_is_accepted(invoke: Invoke, good: Path) -> None:
    result = invoke("sample", "--ckpt", "good.ckpt", "--label", "3", "--n", "1", "--out", "x.png")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == "x.png"
    assert good.with_name("x.png").is_file()


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("1,3", "label1,3_seed0_n1.png"),
        ("\n3 ", "labels1_seed0_n1.png"),
        (",".join("05" * 2000), "labels2_seed0_n1.png"),
    ],
)
def test_what_is_typed_as_a_label_makes_a_file_name_or_none(
    invoke: Invoke, good: Path, label: str, name: str
) -> None:
    result = invoke("sample", "--ckpt", "good.ckpt", "--label", label, "--n", "1")
    assert (result.exit_code, result.stdout) == (0, f"{name}\n"), result.stderr
    assert good.with_name(name).is_file()


def test_control_characters_do_not_reach_the_terminal(invoke: Invoke, good: Path) -> None:
    typed = "\x1b[31mred\nTry:   this\x9b\u202e\udcff"
    for args in (["--label", typed], ["--ckpt", typed], ["--device", typed], ["--out", f"good.ckpt/{typed}"]):
        result = invoke("sample", "--ckpt", "good.ckpt", *args)
        assert_refused(result, "[31mred")
        assert result.stderr.replace("\n", "").isprintable()


@pytest.mark.parametrize("where", ["missing/last.ckpt", "missing"])
def test_missing_checkpoint_with_a_folder_is_refused(invoke: Invoke, good: Path, where: str) -> None:
    assert_refused(invoke("sample", "--ckpt", where), where, fix="")


@pytest.mark.parametrize("options", [("--ckpt", "last.ckpt"), ("--ckpt", "best.ckpt")])
def test_name_without_a_run_is_refused(invoke: Invoke, good: Path, options: tuple[str, ...]) -> None:
    assert_refused(invoke("eval", *options), "runs/", fix="ganctl train")


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
@pytest.mark.parametrize("options", [(), ("--trust-code",)], ids=["plain", "trust-code"])
def test_code_in_a_pickle_is_never_run(
    invoke: Invoke,
    good: Path,
    content: dict[str, Any],
    tmp_path: Path,
    legacy: bool,
    options: tuple[str, ...],
) -> None:
    mark, path = tmp_path / "mark", tmp_path / "bad.ckpt"
    torch.save({**content, "hook": _RunsCode(mark)}, path, _use_new_zipfile_serialization=not legacy)
    assert_refused(invoke("sample", "--ckpt", "bad.ckpt", *options), "bad.ckpt", fix="ganctl train")
    assert not mark.exists()
    # The file is what it claims to be: a naive reader runs the code.
    torch.load(path, weights_only=False)
    assert mark.exists()


def test_foreign_class_needs_trust(
    invoke: Invoke,
    good: Path,
    content: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = (
        "import pathlib\n"
        "from ganctl.networks.dcgan import Generator as Base\n"
        f"pathlib.Path({str(tmp_path / 'mark')!r}).touch()\n"
        "class Generator(Base): pass\n"
    )
    (tmp_path / "strangers_network.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    spec = content["ganctl"]["generator"] | {"_target_": "strangers_network.Generator"}
    torch.save(_changed(content, generator=spec), tmp_path / "foreign.ckpt")
    args = ("sample", "--ckpt", "foreign.ckpt", "--n", "1", "--label", "1", "--out", "x.png")
    try:
        assert_refused(invoke(*args), "'strangers_network.Generator'", fix="--trust-code")
        assert not (tmp_path / "mark").exists()
        assert "strangers_network" not in sys.modules
        assert invoke(*args, "--trust-code").exit_code == 0
        assert (tmp_path / "mark").exists()
    finally:
        sys.modules.pop("strangers_network", None)


@pytest.mark.parametrize(
    "target", ["", "os.system", "ganctl.cli.main", "ganctl.networks.os.system", "ganctl_evil.networks.Net"]
)
def test_target_that_is_no_network_of_ours_is_refused(
    invoke: Invoke, good: Path, content: dict[str, Any], target: str
) -> None:
    torch.save(_changed(content, generator={"_target_": target}), good.with_name("bad.ckpt"))
    assert_refused(invoke("sample", "--ckpt", "bad.ckpt"), target or "''")


# -- the console script itself -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "what", "fix"),
    [
        (["train", "+experiment=dcgn"], "dcgn", "dcgan"),
        (["sample", "--ckpt", "good.ckpt", "--label", "12"], "12", "0 to 9"),
        (["sample", "--ckpt", "good.ckpt/last.ckpt"], "good.ckpt/last.ckpt", ""),
    ],
)
def test_console_script_says_the_same(
    command: Callable[..., Any], good: Path, tmp_path: Path, args: list[str], what: str, fix: str
) -> None:
    done = command(*args, cwd=tmp_path)
    exception = SystemExit(done.returncode)
    shown = SimpleNamespace(
        exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr, exception=exception
    )
    assert_refused(shown, what, fix=fix)
    assert [p.name for p in tmp_path.iterdir()] == ["good.ckpt"]
