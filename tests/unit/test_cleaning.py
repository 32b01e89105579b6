"""What `ganctl clean` removes, and above all what it does not."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from run_folders import CONFIG, END, make, rows
from typer.testing import CliRunner

from ganctl import cleaning, config
from ganctl.cli import app
from ganctl.errors import UsageError
from ganctl.metrics import cache
from ganctl.runs import RunFolder

DEBUG = yaml.safe_dump(config.compose(["data=digits", "debug=true"]).model_dump())
DAY = 86_400


def age(folder: Path, days: float = 30) -> None:
    """Everything in it was written so long ago."""
    then = time.time() - days * DAY
    for place, _, files in os.walk(folder):
        for name in files:
            os.utime(Path(place, name), (then, then), follow_symlinks=False)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """`runs/` with something of each kind, and files of others wherever there is a place for them."""
    root = tmp_path / "runs"
    finished = make(root / "quick" / "finished", *rows((0.1, 0.9)), END)
    (finished / "checkpoints" / "previous.ckpt").write_bytes(b"p" * 2000)
    (finished / "samples").mkdir()
    (finished / "samples" / ".fakes_000001.png.0123abcd").write_bytes(b"t" * 30)
    (finished / "samples" / ".mine.png").write_bytes(b"keep")
    for name, uploaded in (("offline-run-1-aa", True), ("offline-run-2-bb", False)):
        (finished / "wandb" / name).mkdir(parents=True)
        (finished / "wandb" / name / "run-aa.wandb").write_bytes(b"w" * 400)
        if uploaded:
            (finished / "wandb" / name / "run-aa.wandb.synced").touch()
    stopped = make(root / "quick" / "stopped", *rows((0.1, 0.9)))
    (stopped / "checkpoints" / "previous.ckpt").write_bytes(b"p")
    empty = make(root / "quick" / "empty", saved=False)
    debug = make(root / "debug" / "1", END, config=DEBUG)
    (debug / "notes.txt").write_text("of mine")
    (debug / "checkpoints" / "mine.ckpt").write_bytes(b"of mine")
    other = make(root / "other", config="a: program\n", saved=False)
    (root / ".other.txt.0123abcd").write_text("in no run folder")
    key = cache.entry_path({})
    key.parent.mkdir(parents=True)
    key.write_bytes(b"s" * 70)
    (key.parent / "mine.safetensors").write_bytes(b"of mine")
    age(tmp_path)
    age(key.parent)
    monkeypatch.chdir(tmp_path)
    return SimpleNamespace(
        root=root, finished=finished, stopped=stopped, empty=empty, debug=debug, other=other, cached=key
    )


def everything(*folders: Path) -> set[str]:
    return {os.path.join(place, name) for f in folders for place, ds, fs in os.walk(f) for name in ds + fs}


def clean(*args: str) -> Any:
    return CliRunner().invoke(app, ["clean", *args])


EVERY = ",".join(cleaning.KINDS)


def test_a_dry_run_lists_what_can_go_and_removes_nothing(house: SimpleNamespace) -> None:
    before = everything(house.root, house.cached.parent)
    done = clean("--what", EVERY, "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["removed"] is False
    assert {(item["kind"], item["path"]) for item in found["items"]} == {
        ("debug", "runs/debug/1"),
        ("empty", "runs/quick/empty"),
        ("previous", "runs/quick/finished/checkpoints/previous.ckpt"),
        ("temporary", "runs/quick/finished/samples/.fakes_000001.png.0123abcd"),
        ("wandb", "runs/quick/finished/wandb/offline-run-1-aa"),
        ("cache", str(house.cached)),
    }
    sizes = {item["kind"]: item["bytes"] for item in found["items"]}
    assert (sizes["previous"], sizes["temporary"], sizes["wandb"], sizes["cache"]) == (2000, 30, 400, 70)
    assert sizes["empty"] == len(CONFIG.encode())
    assert found["bytes"] == sum(sizes.values())
    assert "--force" in clean().stdout
    assert everything(house.root, house.cached.parent) == before


def test_force_removes_exactly_that_and_prints_it(house: SimpleNamespace) -> None:
    before = everything(house.root, house.cached.parent)
    done = clean("--what", EVERY, "--force")
    assert done.exit_code == 0
    gone = before - everything(house.root, house.cached.parent)
    debug = house.debug
    expected = {
        *map(str, (house.cached, house.finished / "checkpoints" / "previous.ckpt")),
        str(house.finished / "samples" / ".fakes_000001.png.0123abcd"),
        *everything(house.empty),
        str(house.empty),
        *(str(debug / name) for name in ("config.yaml", "metrics.jsonl", "checkpoints/last.ckpt")),
        *everything(Path("nothing")),
    }
    wandb = {path for path in before if "offline-run-1-aa" in path}
    assert wandb
    # `empty` is gone, so that its files are listed from what there was before.
    assert gone == expected | wandb | {path for path in before if path.startswith(f"{house.empty}/")}
    assert (debug / "notes.txt").read_text() == (debug / "checkpoints" / "mine.ckpt").read_text() == "of mine"
    for path in ("runs/quick/empty", "previous.ckpt", "offline-run-1-aa", str(house.cached)):
        assert path in done.stdout
    assert "runs/debug/1, but for files that ganctl did not write" in done.stdout
    assert clean("--what", EVERY).stdout == "nothing to clean\n"


def test_a_run_that_trains_is_left_alone(house: SimpleNamespace) -> None:
    items = cleaning.plan(house.root, ["debug"])
    with RunFolder(house.debug).held(), RunFolder(house.empty).held(), RunFolder(house.finished).held():
        assert cleaning.plan(house.root) == []
        with pytest.raises(UsageError, match="training"):  # it has begun since
            cleaning.remove(items[0])
    assert (house.debug / "config.yaml").exists()


def test_links_are_neither_followed_nor_removed(house: SimpleNamespace, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("reals.png", "last.ckpt", ".reals.png.0123abcd", "run.wandb"):
        (outside / name).write_text("of others")
    run = make(house.root / "debug" / "2", config=DEBUG, saved=False)
    (run / "checkpoints").rmdir()
    for name in ("checkpoints", "samples", "wandb"):
        (run / name).symlink_to(outside)
    (run / "train.log").symlink_to(outside / "last.ckpt")
    (house.root / "link").symlink_to(outside)
    (house.cached.parent / f"{'0' * 64}.safetensors").symlink_to(outside / "last.ckpt")
    age(tmp_path)
    before = everything(outside)
    assert clean("--what", EVERY, "--force").exit_code == 0
    assert everything(outside) == before
    assert {p.name for p in run.iterdir()} == {"checkpoints", "samples", "wandb", "train.log"}


def test_what_is_young_or_among_the_newest_stays(house: SimpleNamespace) -> None:
    assert {i.kind for i in cleaning.plan(house.root, older_than_s=29 * DAY)} == set(cleaning.DEFAULT)
    assert cleaning.plan(house.root, EVERY.split(","), older_than_s=31 * DAY) == []
    newest = [house.debug, house.empty, house.stopped, house.finished]
    for i, run in enumerate(newest):
        then = time.time() - (20 + i) * DAY
        os.utime(run / "config.yaml", (then, then))
    kinds = [{i.kind for i in cleaning.plan(house.root, keep=n)} for n in range(5)]
    rest = {"previous", "temporary", "wandb"}
    assert kinds == [{"debug", "empty", *rest}, {"empty", *rest}, rest, rest, set()]
    os.utime(house.debug / "config.yaml")  # a moment ago: it may be starting
    assert "debug" not in {i.kind for i in cleaning.plan(house.root)}


def test_a_file_with_another_name_frees_nothing(house: SimpleNamespace) -> None:
    previous = house.finished / "checkpoints" / "previous.ckpt"
    os.link(previous, house.finished / "checkpoints" / "best.ckpt")
    (item,) = cleaning.plan(house.root, ["previous"])
    assert (item.path, item.bytes) == (previous, 0)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--what", "debugs"], "did you mean debug?"),
        (["--older-than", "a week"], "write 12h, 7d or 2w"),
        (["rns"], "did you mean runs?"),
        (["--keep", "-1"], "--keep"),
    ],
)
def test_wrong_input_removes_nothing(house: SimpleNamespace, args: list[str], said: str) -> None:
    before = everything(house.root)
    done = clean(*args, "--force")
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert everything(house.root) == before
