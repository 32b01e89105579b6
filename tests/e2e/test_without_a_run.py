"""What a user gets who has installed the package and trained nothing; and a generator as a portable file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL.PngImagePlugin import PngImageFile

from ganctl import checkpoint, runs

Invoke = Callable[..., SimpleNamespace]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANCTL_CACHE_DIR", str(tmp_path / "cache"))


def test_sampling_needs_no_run_and_says_whose_weights_it_uses(invoke: Invoke) -> None:
    done = invoke("sample", "--label", "5", "--n", "1", "--out", "five.png")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "five.png\n"
    digest = checkpoint.read(runs.BUNDLED).digest
    (line,) = (line for line in done.stderr.splitlines() if "bundled" in line)
    for words in ("generator_mnist", digest[:8], "+experiment=", "ganctl train"):
        assert words in line
    with PngImageFile("five.png") as picture:
        assert picture.mode == "L"
        assert picture.text["ganctl:checkpoint"] == digest


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")  # a user's file may still be TorchScript
def test_the_report_of_the_bundled_generator_goes_to_the_current_folder(
    invoke: Invoke, tmp_path: Path
) -> None:
    assets = sorted(runs.BUNDLED.parent.iterdir())
    assert invoke("sample", "--n", "2", "--seed", "1000", "--outdir", "pictures").exit_code == 0
    # Pixels as features: those of the classifier would need the data set, which is not everywhere.
    torch.jit.save(torch.jit.trace(torch.nn.Flatten(), torch.zeros(1, 1, 28, 28)), "pixels.pt")
    options = ("--features", "pixels.pt", "--trust-code", "--metrics", "prdc", "--n", "20")
    done = invoke("eval", "--real", "pictures", *options)
    assert done.exit_code == 0, done.stderr
    assert "bundled" in done.stderr
    report = json.loads((tmp_path / "generator_mnist.eval.json").read_text())
    assert report["protocol"]["checkpoint"] == checkpoint.read(runs.BUNDLED).digest
    assert sorted(runs.BUNDLED.parent.iterdir()) == assets


def test_a_portable_file_samples_and_scores_as_its_checkpoint(
    invoke: Invoke, trained: SimpleNamespace, tmp_path: Path
) -> None:
    last = trained.run / "checkpoints" / "last.ckpt"
    checkpoint.write(tmp_path / "mine.safetensors", checkpoint.read(last))
    found: dict[str, tuple[bytes, dict[str, object]]] = {}
    for name, file in {"full": str(last), "portable": "mine.safetensors"}.items():
        drawn = invoke("sample", "--ckpt", file, "--label", "0-9", "--n", "2", "--out", f"{name}.png")
        assert drawn.exit_code == 0, drawn.stderr
        scored = invoke(
            "eval", "--ckpt", file, "--metrics", "fast", "--n", "100", "--json", "--out", "x.json"
        )
        assert scored.exit_code == 0, scored.stderr
        report = json.loads(scored.stdout)
        report["protocol"].pop("timings")
        found[name] = (tmp_path / f"{name}.png").read_bytes(), report
    assert found["full"] == found["portable"]
    assert found["full"][1]["protocol"]["nimg"] > 0  # type: ignore[index]
    # Beside the file, as for a checkpoint.
    assert invoke("eval", "--ckpt", "mine.safetensors", "--metrics", "fast", "--n", "100").exit_code == 0
    assert (tmp_path / "mine.eval.json").is_file()
