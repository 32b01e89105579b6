"""Train, sample, evaluate: what the installed command leaves on disk and on its two streams."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from wandb_file import read_run

pytestmark = pytest.mark.slow

Invoke = Callable[..., SimpleNamespace]
Command = Callable[..., Any]

# 1,797 digits, of which 300 are test images; 300 of the other 1,500 are for validation (rounded by class).
STEPS_PER_EPOCH = 1200 // 64
STEPS = 2 * STEPS_PER_EPOCH
LOGGED = {
    "train/d_loss",
    "train/g_loss",
    "train/real_logit",
    "train/fake_logit",
    "train/r1",
    "train/r2",
    "train/images_per_s",
}


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def png_of(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    with Image.open(path) as image:
        assert isinstance(image.text, dict)  # type: ignore[attr-defined]
        return np.asarray(image), image.text  # type: ignore[attr-defined]


def npz_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture
def here(trained: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a link to the shared runs."""
    (tmp_path / "runs").symlink_to(trained.cwd / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- the run folder ----------------------------------------------------------------------------------------


def test_run_folder_has_the_documented_layout(trained: SimpleNamespace) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", trained.run.name)
    top = {p.name for p in trained.run.iterdir()}
    assert top == {"config.yaml", "checkpoints", "samples", "metrics.jsonl", "train.log", "wandb"}
    assert {p.name for p in (trained.run / "checkpoints").iterdir()} == {
        "last.ckpt",
        "previous.ckpt",
        "best.ckpt",
    }
    grids = {f"fakes_{step:06d}.png" for step in (0, STEPS_PER_EPOCH, STEPS)}
    found = {p.name for p in (trained.run / "samples").iterdir()}
    assert {name for name in found if name.startswith(("fakes", "reals"))} == grids | {"reals.png"}
    assert {p.name for p in trained.cwd.iterdir()} == {"runs"}, "something was written elsewhere"
    assert not [p for p in trained.run.rglob(".*")], "temporary files stay"


def test_config_is_resolved_and_complete(trained: SimpleNamespace) -> None:
    text = (trained.run / "config.yaml").read_text()
    assert "${" not in text
    config = yaml.safe_load(text)
    assert config["data"]["name"] == "digits"
    assert config["name"] == "quick"
    assert config["trainer"]["max_epochs"] == 2
    assert config["loss"]["name"] == "relativistic"
    assert config["model"]["generator"]["_target_"] == "ganctl.networks.dcgan.Generator"


def test_grids_show_a_column_for_each_class_and_change_while_training(trained: SimpleNamespace) -> None:
    grids = [png_of(p)[0] for p in sorted((trained.run / "samples").glob("fakes_*.png"))]
    reals = png_of(trained.run / "samples" / "reals.png")[0]
    for grid in (*grids, reals):
        assert grid.ndim == 2  # grey
        assert grid.shape[1] == 2 * (10 * (8 + 2) + 2)
    assert not np.array_equal(grids[0], grids[1])
    assert not np.array_equal(grids[1], grids[2])


def test_every_step_is_logged_once(trained: SimpleNamespace) -> None:
    rows = rows_of(trained.run)
    training = [row for row in rows if "train/d_loss" in row]
    assert [row["step"] for row in training] == list(range(1, STEPS + 1))
    for row in training:
        assert LOGGED <= row.keys()
        assert row["images_seen"] == 64 * row["step"]
        assert all(isinstance(row[key], float) and math.isfinite(row[key]) for key in LOGGED)
        assert row["train/images_per_s"] > 0
        assert row["train/r1"] >= 0
        assert row["train/r2"] >= 0
    validation = [row for row in rows if any(key.startswith("val/") for key in row)]
    assert {row["step"] for row in validation} == {STEPS_PER_EPOCH, STEPS}
    scored = [row for row in validation if "val/label_accuracy" in row]
    assert [row["step"] for row in scored] == [STEPS_PER_EPOCH, STEPS]
    assert all(0 <= row["val/label_accuracy"] <= 1 and row["val/digit_fd"] > 0 for row in scored)
    assert [row["step"] for row in rows if "test/d_loss" in row] == [STEPS]


def test_wandb_file_has_the_same_rows_and_the_pictures_of_every_epoch(trained: SimpleNamespace) -> None:
    history, config, records = read_run(trained.run)
    expected: dict[int, dict[str, Any]] = {}
    for row in rows_of(trained.run):
        expected.setdefault(row.pop("step"), {}).update(row)
    assert [step for step in sorted(history) if "train/d_loss" in history[step]] == list(range(1, STEPS + 1))
    for step, row in expected.items():
        assert {key: history[step].get(key) for key in row} == row
    pictures = {
        (step, key): value
        for step, row in history.items()
        for key, value in row.items()
        if isinstance(value, dict) and value.get("_type") == "image-file"
    }
    assert {step for step, key in pictures if key == "samples/fakes"} == {0, STEPS_PER_EPOCH, STEPS}
    assert (0, "samples/reals") in pictures
    for (step, key), entry in pictures.items():
        assert entry["caption"]
        (file,) = trained.run.glob(f"wandb/offline-run-*/files/{entry['path']}")
        if key == "samples/fakes":
            saved = trained.run / "samples" / f"fakes_{step:06d}.png"
            assert np.array_equal(png_of(file)[0], png_of(saved)[0])
    assert config["data"]["name"] == "digits"
    assert [r.exit.exit_code for r in records if r.WhichOneof("record_type") == "exit"] == [0]


def test_stdout_has_results_and_stderr_the_progress(trained: SimpleNamespace) -> None:
    lines = dict(re.split(r"  +", line, maxsplit=1) for line in trained.stdout.splitlines())
    shown = trained.run.relative_to(trained.cwd)
    assert lines["run"] == str(shown)
    assert lines["checkpoint"] == str(shown / "checkpoints" / "last.ckpt")
    assert int(lines["images seen"]) == 64 * STEPS
    assert 0 <= float(lines["val/label_accuracy"]) <= 1
    assert set(lines) == {"run", "checkpoint", "images seen", "val/label_accuracy", "val/digit_fd"}
    assert f"{STEPS}/{STEPS}" in trained.stderr
    assert f"ganctl sample --ckpt {shown}" in trained.stderr
    assert "Warning" not in trained.stderr
    assert "Lightning" not in trained.stderr
    assert str(shown) in (trained.run / "train.log").read_text()


# -- the checkpoint ----------------------------------------------------------------------------------------


def types_in(value: Any) -> Counter[type]:
    found = Counter([type(value)])
    if isinstance(value, dict):
        for key, item in value.items():
            found += types_in(key) + types_in(item)
    elif isinstance(value, list | tuple | set):
        for item in value:
            found += types_in(item)
    return found


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_checkpoint_is_plain(trained: SimpleNamespace, name: str) -> None:
    path = trained.run / "checkpoints" / name
    content = torch.load(path, weights_only=True, map_location="cpu")
    entry = content["ganctl"]
    plain = {dict, list, tuple, str, int, float, bool, type(None)}
    assert set(types_in(entry)) - {torch.Tensor} <= plain
    assert b"omegaconf" not in path.read_bytes().lower()
    assert entry["format_version"] == 1
    assert entry["config"]["data"]["name"] == "digits"
    assert entry["data"]["label_names"] == [str(k) for k in range(10)]
    assert (entry["data"]["channels"], entry["data"]["resolution"]) == (1, 8)
    assert entry["nimg"] == 64 * entry["steps"]
    assert {"ganctl", "torch", "python"} <= entry["versions"].keys()
    (folder,) = trained.run.glob("wandb/offline-run-*")
    assert entry["wandb_id"] == folder.name.rpartition("-")[2]


def test_best_checkpoint_is_of_the_best_epoch(trained: SimpleNamespace) -> None:
    last, best = (
        torch.load(trained.run / "checkpoints" / name, weights_only=True)["ganctl"]
        for name in ("last.ckpt", "best.ckpt")
    )
    scores = {row["step"]: row["val/digit_fd"] for row in rows_of(trained.run) if "val/digit_fd" in row}
    assert best["steps"] == min(scores, key=lambda step: scores[step])
    assert last["steps"] == STEPS


# -- sample ------------------------------------------------------------------------------------------------


def test_same_bytes_whatever_the_batch_size_and_the_number(invoke: Invoke, here: Path) -> None:
    calls = {
        "a.png": (),
        "b.png": (),
        "c.png": ("--batch-size", "1"),
        "d.png": ("--batch-size", "7"),
        "other.png": ("--seed", "1"),
    }
    for out, options in calls.items():
        done = invoke("sample", "--label", "0-9", "--n", "3", "--out", out, *options)
        assert done.exit_code == 0, done.stderr
        assert done.stdout == f"{out}\n"
    a, b, c, d, other = ((here / name).read_bytes() for name in calls)
    assert a == b == c == d != other

    for n in ("1", "5"):
        invoke("sample", "--label", "4", "--n", n, "--format", "npz", "--out", f"{n}.npz")
    one, five = (npz_of(here / f"{n}.npz")["images"] for n in ("1", "5"))
    assert len(five) == 5
    assert np.array_equal(one[0], five[0])
    assert len({image.tobytes() for image in five}) == 5  # five seeds, five pictures


def test_grid_of_the_console_script_is_the_same(command: Command, invoke: Invoke, here: Path) -> None:
    args = ("sample", "--label", "1,3", "--seeds", "0,4-6")
    assert invoke(*args, "--out", "a.png").exit_code == 0
    done = command(*args, "--out", "b.png", cwd=here)
    assert (done.returncode, done.stdout) == (0, "b.png\n")
    assert "checkpoint " in done.stderr
    assert (here / "a.png").read_bytes() == (here / "b.png").read_bytes()


def test_labels_and_seeds(invoke: Invoke, here: Path) -> None:
    forms = {
        "5": [5],
        "2-4": [2, 3, 4],
        "1,3,5": [1, 3, 5],
        "all": list(range(10)),
        "7,0-2,7": [7, 0, 1, 2],
    }
    everything: dict[tuple[int, int], np.ndarray] = {}
    for label, expected in forms.items():
        done = invoke("sample", "--label", label, "--seeds", "0,4-6", "--format", "npz", "--out", "x.npz")
        assert done.exit_code == 0, done.stderr
        file = npz_of(here / "x.npz")
        assert sorted(file) == ["images", "labels", "seeds"]
        images, labels, seeds = file["images"], file["labels"], file["seeds"]
        assert images.dtype == np.uint8
        assert images.shape == (4 * len(expected), 8, 8, 1)
        assert labels.tolist() == [y for y in expected for _ in range(4)]
        assert seeds.tolist() == [0, 4, 5, 6] * len(expected)
        for y, s, image in zip(labels.tolist(), seeds.tolist(), images, strict=True):
            assert np.array_equal(everything.setdefault((y, s), image), image)
    assert len({image.tobytes() for image in everything.values()}) == 40  # labels and seeds both matter


def test_seed_counts_up(invoke: Invoke, here: Path) -> None:
    for out, options in {"a": ("--seed", "7", "--n", "3"), "b": ("--seeds", "7-9")}.items():
        invoke("sample", "--label", "2", "--format", "npz", "--out", f"{out}.npz", *options)
    a, b = (npz_of(here / f"{name}.npz") for name in "ab")
    assert a["seeds"].tolist() == [7, 8, 9]
    assert all(np.array_equal(a[key], b[key]) for key in a)


def test_singles_are_the_images_of_the_npz_and_say_where_they_come_from(invoke: Invoke, here: Path) -> None:
    args = ("sample", "--label", "1,8", "--seeds", "0,12")
    assert invoke(*args, "--format", "npz", "--out", "x.npz").exit_code == 0
    done = invoke(*args, "--outdir", "singles")
    assert (done.exit_code, done.stdout) == (0, "singles\n")
    file = npz_of(here / "x.npz")
    triples = list(zip(file["images"], file["labels"].tolist(), file["seeds"].tolist(), strict=True))
    assert len(list((here / "singles").iterdir())) == len(triples) == 4
    digests = set()
    for image, y, s in triples:
        pixels, text = png_of(here / "singles" / f"{y}_seed{s:06d}.png")
        assert np.array_equal(pixels, image[:, :, 0])
        assert (text["ganctl:label"], text["ganctl:seed"]) == (str(y), str(s))
        assert text["ganctl:version"]
        digests.add(text["ganctl:checkpoint"])
    (digest,) = digests
    assert re.fullmatch(r"[0-9a-f]{64}", digest)


def test_grid_is_the_images_laid_out_and_says_where_it_comes_from(invoke: Invoke, here: Path) -> None:
    args = ("sample", "--label", "3,6", "--n", "4")
    done = invoke(*args)  # the name of the file is ours to choose
    assert done.exit_code == 0, done.stderr
    grid, text = png_of(here / done.stdout.strip())
    assert text["ganctl:label"] == "3,6"
    assert text["ganctl:seed"] == "0-3"
    invoke(*args, "--format", "npz", "--out", "x.npz")
    images = npz_of(here / "x.npz")["images"]
    assert grid.shape == (2 * 10 + 2, 4 * 10 + 2)
    for i, image in enumerate(images):
        top, left = 2 + 10 * (i // 4), 2 + 10 * (i % 4)
        assert np.array_equal(grid[top : top + 8, left : left + 8], image[:, :, 0])


def test_another_checkpoint_has_another_digest(invoke: Invoke, here: Path, trained: SimpleNamespace) -> None:
    content = torch.load(trained.run / "checkpoints" / "last.ckpt", weights_only=True)
    torch.save(content, here / "same.ckpt")
    name, weights = next(iter(content["ganctl"]["ema"].items()))
    content["ganctl"]["ema"][name] = weights + 0.5
    content["ganctl"]["checksum"] = None
    torch.save(content, here / "other.ckpt")
    digests = []
    for ckpt in (str(trained.run), "same.ckpt", "other.ckpt"):
        assert invoke("sample", "--ckpt", ckpt, "--label", "1", "--n", "1", "--out", "x.png").exit_code == 0
        digests.append(png_of(here / "x.png")[1]["ganctl:checkpoint"])
    assert digests[0] == digests[1] != digests[2]


def test_checkpoint_alone_is_enough(
    command: Command, invoke: Invoke, trained: SimpleNamespace, here: Path, tmp_path_factory: Any
) -> None:
    """No run folder, no config, no data set of that name, and neither W&B nor Hydra can be imported."""
    alone = tmp_path_factory.mktemp("alone")
    content = torch.load(trained.run / "checkpoints" / "last.ckpt", weights_only=True)
    assert content["ganctl"]["data"]["name"] == "digits"
    content["ganctl"]["data"]["name"] = "nowhere"
    content["ganctl"]["checksum"] = None
    torch.save(content, alone / "g.ckpt")
    blocked = ("wandb", "hydra", "omegaconf", "sklearn", "ganctl.config", "ganctl.train", "ganctl.gan")
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); from ganctl.cli import main; main()"
    options = ("--label", "5", "--n", "4", "--out", "five.png")
    done = command(
        "sample", "--ckpt", "g.ckpt", *options, cwd=alone, program=[sys.executable, "-I", "-c", code]
    )
    assert done.returncode == 0, done.stderr
    assert {p.name for p in alone.iterdir()} == {"g.ckpt", "five.png"}
    assert invoke("sample", "--ckpt", str(trained.run), *options).exit_code == 0
    assert (here / "five.png").read_bytes() == (alone / "five.png").read_bytes()


# -- eval --------------------------------------------------------------------------------------------------

OURS = ("--features", "classifier")  # Inception would be fetched


def test_report(command: Command, trained: SimpleNamespace, here: Path) -> None:
    done = command(
        "eval", "--ckpt", str(trained.run), "--n", "250", "--json", *OURS, "--out", "r.json", cwd=here
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((here / "r.json").read_text())
    assert set(report["metrics"]) == {"label_accuracy", "digit_fd", "digit_is"}
    for metric in report["metrics"].values():
        assert math.isfinite(metric["value"])
        assert math.isfinite(metric["floor"])
    accuracy, fd = report["metrics"]["label_accuracy"], report["metrics"]["digit_fd"]
    assert 0.95 <= accuracy["floor"] <= 1
    assert 0 <= accuracy["value"] < accuracy["floor"]  # two epochs teach little
    assert 0 < fd["floor"] < fd["value"] / 2
    inception_score = report["metrics"]["digit_is"]
    assert 1 <= inception_score["value"] < inception_score["floor"] <= 10

    protocol = report["protocol"]
    expected = {"real", "num_gen", "num_real", "seed", "versions", "device", "weights", "nimg", "timings"}
    assert expected <= protocol.keys()
    (stamp,) = protocol["extractors"].values()
    assert stamp.keys() == {"sha256", "resize", "precision"}
    assert re.fullmatch(r"[0-9a-f]{64}", stamp["sha256"])
    assert (protocol["num_gen"], protocol["seed"]) == (250, 0)
    assert protocol["nimg"] == 64 * STEPS

    confusion = np.asarray(report["confusion"])
    assert confusion.shape == (10, 10)
    assert confusion.sum() == 250
    assert np.trace(confusion) / 250 == pytest.approx(accuracy["value"])
    assert list(report["per_class"]) == [str(k) for k in range(10)]
    for k, scores in enumerate(report["per_class"].values()):
        assert scores["accuracy"] == pytest.approx(confusion[k, k] / confusion[k].sum())
    assert (here / "r.confusion.png").is_file()


def test_evaluating_again_gives_the_same_numbers(invoke: Invoke, here: Path) -> None:
    reports = []
    for out, seed in (("a.json", "3"), ("b.json", "3"), ("c.json", "4")):
        done = invoke("eval", "--n", "100", "--seed", seed, *OURS, "--out", out)
        assert done.exit_code == 0, done.stderr
        assert "label_accuracy" in done.stdout  # a table, not JSON
        reports.append(json.loads((here / out).read_text())["metrics"])
    assert reports[0] == reports[1] != reports[2]


def test_pictures_are_scored_and_compared(invoke: Invoke, trained: SimpleNamespace, here: Path) -> None:
    """The same images by way of a folder of PNGs: the same label accuracy, the same distance."""
    drawn = invoke("sample", "--ckpt", str(trained.run), "--label", "all", "--n", "12", "--outdir", "fakes")
    assert drawn.exit_code == 0, drawn.stderr
    for out in ("a.json", "b.json"):
        done = invoke("eval", "fakes", "--data", "digits", *OURS, "--out", out)
        assert done.exit_code == 0, done.stderr
    report = json.loads((here / "a.json").read_text())
    assert report["protocol"]["num_gen"] == 120
    assert sum(map(sum, report["confusion"])) == 120
    compared = invoke("compare", "a.json", "b.json")
    assert compared.exit_code == 0, compared.stderr
    assert "digit_fd" in compared.stdout
    other = invoke("eval", "fakes", "--data", "digits", *OURS, "--n", "60", "--out", "c.json")
    assert other.exit_code == 0, other.stderr
    refused = invoke("compare", "a.json", "c.json")
    assert refused.exit_code == 2
    assert "num_real is 120 in a, 60 in c" in refused.stderr
    assert invoke("compare", "a.json", "c.json", "--force").exit_code == 0


def test_interrupted_evaluation_keeps_what_is_finished(
    invoke: Invoke, trained: SimpleNamespace, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ganctl import scoring

    def interrupted(path: Path | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scoring.inception_weights, "find_or_fetch", interrupted)
    done = invoke("eval", "--ckpt", str(trained.run), "--n", "50", "--out", "half.json")
    assert done.exit_code == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr
    assert set(json.loads((here / "half.json").read_text())["metrics"]) >= {"label_accuracy", "digit_fd"}


# -- which run ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_runs(command: Command, trained: SimpleNamespace, tmp_path_factory: Any) -> SimpleNamespace:
    """A copy of the shared run, a newer one of a single step, and a debugging run that is newest of all."""
    cwd = tmp_path_factory.mktemp("two_runs")
    shutil.copytree(trained.cwd / "runs", cwd / "runs")
    steps = ("trainer.max_steps=1", "logger=none", "seed=5")
    newer = command("train", "experiment=quick", "data=digits", *steps, cwd=cwd)
    assert newer.returncode == 0, newer.stderr
    debug = command("train", "+experiment=quick", "data=digits", "debug=true", "logger=csv", cwd=cwd)
    assert debug.returncode == 0, debug.stderr
    (old,) = (path for path in (cwd / "runs" / "quick").iterdir() if path.name == trained.run.name)
    (new,) = (path for path in (cwd / "runs" / "quick").iterdir() if path != old)
    (debugging,) = (cwd / "runs" / "debug").iterdir()
    return SimpleNamespace(cwd=cwd, old=old, new=new, debug=debugging)


def test_default_and_last_are_the_newest_run_that_is_not_for_debugging(
    two_runs: SimpleNamespace, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(two_runs.cwd)
    names: dict[str, tuple[str, ...]] = {
        "default": (),
        "last": ("--ckpt", "last.ckpt"),
        "network": ("--network", "last.ckpt"),
        "new": ("--ckpt", str(two_runs.new / "checkpoints" / "last.ckpt")),
        "folder": ("--ckpt", str(two_runs.new)),
        "old": ("--ckpt", str(two_runs.old)),
        "debug": ("--ckpt", str(two_runs.debug)),
    }
    digests = {}
    for name, options in names.items():
        done = invoke("sample", *options, "--label", "0", "--n", "1", "--out", "x.png")
        assert done.exit_code == 0, done.stderr
        digests[name] = png_of(two_runs.cwd / "x.png")[1]["ganctl:checkpoint"]
    assert len({digests[name] for name in ("default", "last", "network", "new", "folder")}) == 1
    assert len({digests[name] for name in ("new", "old", "debug")}) == 3
    # A file of that name in the working folder comes first.
    shutil.copy(two_runs.old / "checkpoints" / "last.ckpt", two_runs.cwd / "last.ckpt")
    try:
        invoke("sample", "--ckpt", "last.ckpt", "--label", "0", "--n", "1", "--out", "x.png")
        assert png_of(two_runs.cwd / "x.png")[1]["ganctl:checkpoint"] == digests["old"]
    finally:
        (two_runs.cwd / "last.ckpt").unlink()


def test_plus_makes_no_difference(two_runs: SimpleNamespace, trained: SimpleNamespace) -> None:
    """`experiment=quick` trained the newer run, `+experiment=quick` the older one."""
    with_plus, without = (
        yaml.safe_load((run / "config.yaml").read_text()) for run in (two_runs.old, two_runs.new)
    )
    assert without["seed"] == 5
    assert without["trainer"]["max_steps"] == 1
    for config in (with_plus, without):
        config.pop("seed")
        config.pop("logger")
        config["trainer"].pop("max_epochs")
        config["trainer"].pop("max_steps")
    assert with_plus == without


def test_debug_is_one_batch_of_everything(two_runs: SimpleNamespace) -> None:
    rows = rows_of(two_runs.debug)
    assert {row["step"] for row in rows} == {1}
    assert [row["images_seen"] for row in rows if "train/d_loss" in row] == [64]
    keys = {key for row in rows for key in row}
    assert {"val/d_loss", "test/d_loss", "val/label_accuracy"} <= keys
    files = {p.name for p in (two_runs.debug / "samples").iterdir()}
    assert {"reals.png", "fakes_000000.png", "fakes_000001.png"} <= files
    assert (two_runs.debug / "checkpoints" / "last.ckpt").is_file()


# -- loggers -----------------------------------------------------------------------------------------------


def test_logger_none_leaves_only_our_own_files(two_runs: SimpleNamespace) -> None:
    top = {p.name for p in two_runs.new.iterdir()}
    assert top == {"config.yaml", "checkpoints", "samples", "metrics.jsonl", "train.log"}
    assert not (two_runs.cwd / "wandb").exists()


def test_csv_has_the_values_of_metrics_jsonl(two_runs: SimpleNamespace) -> None:
    import csv

    assert not (two_runs.debug / "wandb").exists()
    (path,) = two_runs.debug.glob("csv/version_*/metrics.csv")
    with path.open(newline="") as file:
        table = list(csv.DictReader(file))
    row = next(row for row in rows_of(two_runs.debug) if "train/d_loss" in row)
    (found,) = (line for line in table if line.get("train/d_loss"))
    assert int(found["step"]) == 1
    for key in ("train/d_loss", "train/g_loss", "train/r1", "images_seen"):
        assert float(found[key]) == pytest.approx(row[key])


def test_tensorboard_has_the_values_of_metrics_jsonl(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = command("train", "data=digits", "debug=true", "logger=tensorboard", "run.dir=mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"mine"}  # run.dir is exactly that folder
    (events,) = (tmp_path / "mine" / "tensorboard").rglob("events.out.tfevents.*")
    read = EventAccumulator(str(events.parent)).Reload()
    row = next(row for row in rows_of(tmp_path / "mine") if "train/d_loss" in row)
    for key in LOGGED & row.keys():
        (event,) = read.Scalars(key)
        assert event.step == 1
        assert event.value == pytest.approx(row[key], rel=1e-6)
    assert "samples/fakes" in read.Tags()["images"]


# -- the other way in --------------------------------------------------------------------------------------


def test_module_and_console_script_say_the_version(command: Command, tmp_path: Path) -> None:
    from importlib.metadata import version

    script = command("--version", cwd=tmp_path)
    module = command("--version", cwd=tmp_path, program=[sys.executable, "-m", "ganctl"])
    assert (script.returncode, module.returncode) == (0, 0)
    assert script.stdout == module.stdout == f"{version('ganctl')}\n"
    assert script.stderr == module.stderr == ""
