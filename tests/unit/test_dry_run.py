"""A dry run says what training does, and does none of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ganctl import config, data, probe, runs
from ganctl.config_schema import Config
from ganctl.data import mnist, stacked
from ganctl.data.dataset import ImageSet
from ganctl.dry_run import Plan, plan
from ganctl.errors import UsageError
from ganctl.train import train

TINY = [
    *("data=digits", "trainer=cpu", "trainer.precision=32", "logger=none", "callbacks=none"),
    *("model.generator.width=4", "model.discriminator.width=4", "model.discriminator.features=8"),
    *("trainer.max_epochs=2", "data.batch_size=100"),
]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(probe, "TIMED_S", 0.05)
    monkeypatch.chdir(tmp_path)


def planned(*overrides: str) -> Plan:
    found = plan(config.compose([*TINY, *overrides]))
    assert found is not None
    return found


def test_it_says_what_the_training_then_does(tmp_path: Path) -> None:
    before = planned()
    assert list(tmp_path.iterdir()) == []
    trained = train(config.compose([*TINY, "run.dir=run"]))
    assert trained is not None
    content = torch.load(trained.run.checkpoint("last.ckpt"), weights_only=True)
    D, G = (optimizer["state"].values() for optimizer in content["optimizer_states"])
    assert before.parameters == {
        "G": sum(state["exp_avg"].numel() for state in G),
        "D": sum(state["exp_avg"].numel() for state in D),
    }
    assert before.steps * 100 == trained.nimg == 2400
    assert before.to_dict()["images"] == 2400
    moments = [state[name] for net in (D, G) for state in net for name in ("exp_avg", "exp_avg_sq")]
    assert before.memory["adam"] == sum(m.numel() * m.element_size() for m in moments)


def test_time_and_memory_are_of_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "measure", lambda *_: probe.Measured(7, 0.25, 10**9))
    found = planned()
    assert found.seconds == 24 * 0.25
    # 1 200 + 300 + 297 digits of 64 bytes, and their labels
    assert found.memory["data"] == 1797 * (64 + 8)
    assert found.peak_bytes == 10**9 + 1797 * 72
    text = found.text()
    for words in ("about 6 s", "250 ms", "estimate", "1,200 training", "nothing was started", "24 of 100"):
        assert words in text


def test_the_clock_times_steps_and_stops() -> None:
    found = planned("trainer.max_epochs=1000").measured
    assert found is not None
    assert 1 <= found.steps < probe.MAX_STEPS
    assert 0 < found.seconds_per_step < 5
    assert found.peak_bytes > 50e6  # Python and torch alone


@pytest.mark.parametrize("name", ["mnist", "stacked_mnist"])
def test_data_that_is_not_here_is_neither_needed_nor_fetched(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fetch(*_: Any) -> None:
        raise AssertionError("it fetches")

    monkeypatch.setattr(mnist, "_fetch", fetch)
    monkeypatch.setattr(mnist, "SYSTEM_DIR", tmp_path / "none")
    found = planned(f"data={name}", "data.val_size=1000")
    assert found.outline.place is None
    assert found.to_dict()["data"]["place"] is None
    assert "fetch" in found.text()
    # what `load` would make, of pictures of one pixel
    blank = ImageSet(torch.zeros(60_000, 1, 1, 1, dtype=torch.uint8), torch.zeros(60_000, dtype=torch.int64))
    held_out = torch.randperm(60_000, generator=torch.Generator().manual_seed(0))[:1000].sort().values
    whole = stacked.dataset(blank, held_out, blank.subset(torch.arange(10)))
    expected = (59_000, 1) if name == "mnist" else (len(whole.train), 3)
    assert (found.outline.num_train, found.outline.facts.channels) == expected
    assert found.outline.num_val == 1000


def test_an_outline_is_that_of_what_is_loaded() -> None:
    outline, loaded = data.outline(data.Source("digits"), 200, 3), data.load(data.Source("digits"), 200, 3)
    sizes = outline.num_train, outline.num_val, outline.num_test
    assert sizes == (len(loaded.train), len(loaded.val), len(loaded.test))
    facts = outline.facts
    assert (facts.channels, facts.resolution) == tuple(loaded.train.images.shape[1:3])
    assert facts.label_names == loaded.facts.label_names


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (["logger=neptune"], "neptune"),
        (["data.batch_size=5000"], "5000"),
        (["trainer=ddp_cpu", "data.batch_size=99"], "2 devices"),
        (["data.root=/nowhere"], "digits"),
        (["ckpt_path=missing.ckpt"], "missing.ckpt"),
    ],
)
def test_what_would_keep_a_training_from_starting_is_said(overrides: list[str], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        planned(*overrides)


def test_a_folder_with_a_run_is_refused_unless_it_goes_on(tmp_path: Path) -> None:
    train(config.compose([*TINY, "run.dir=run", "trainer.max_steps=5"]))
    with pytest.raises(UsageError, match="already holds a run"):
        planned("run.dir=run")
    going_on = planned("ckpt_path=run/checkpoints/last.ckpt")
    assert (going_on.steps_done, going_on.steps) == (5, 24)
    assert going_on.measured is not None
    assert going_on.seconds == pytest.approx(19 * going_on.measured.seconds_per_step)
    with pytest.raises(UsageError, match="seed"):
        planned("ckpt_path=run/checkpoints/last.ckpt", "seed=1")


def test_several_processes_are_counted_and_none_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Config, int]] = []
    measure = probe.measure

    def watched(cfg: Config, gan: Any, facts: Any, batch: int) -> probe.Measured:
        seen.append((cfg, batch))
        return measure(cfg, gan, facts, batch)

    monkeypatch.setattr(probe, "measure", watched)
    found = planned("trainer=ddp_cpu")
    assert found.world_size == 2
    assert [batch for _, batch in seen] == [50]
    assert "without the others" in found.text()
    assert not runs.RunFolder(Path("runs")).path.exists()
    assert not torch.distributed.is_initialized()


def test_under_torchrun_the_first_process_plans_without_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x"}
    for name, value in {**names, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RANK", "1")
    assert plan(config.compose([*TINY, "trainer=ddp_cpu"])) is None
    monkeypatch.setenv("RANK", "0")
    found = planned("trainer=ddp_cpu")
    assert (found.world_size, found.measured, found.seconds) == (2, None, None)
    assert "no estimate" in found.text()
    assert found.to_dict()["estimate"] is None
