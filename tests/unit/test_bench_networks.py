"""The benchmark of networks says what it measured, and docs/networks.md the networks that are built."""

from __future__ import annotations

import re
from pathlib import Path

import bench_networks
import pytest
import torch

from ganctl import config, networks
from ganctl.networks import resnet

pytestmark = pytest.mark.slow  # for all of it, which takes seconds

PAGE = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
# `dcgan` | 28 × 28 × 1 | 440,417 | 481,089 | speeds and memory
ROW = re.compile(r"\| `(\w+)` \| (\d+) × \2 × (\d) \| ([\d,]+) \| ([\d,]+) \|")


def test_a_row_in_markdown() -> None:
    row = {
        "network": "mlp",
        "size": "28x1",
        "parameters": {"G": 1_511_412, "D": 932_965},
        "train_images_per_s": 2187.6,
        "sample_images_per_s": 25_123.0,
        "peak_bytes": 957_400_000,
    }
    lines = bench_networks.table([row]).splitlines()
    assert lines[-1] == "| `mlp` | 28 × 28 × 1 | 1,511,412 | 932,965 | 2,190 | 25,100 | 957 |"
    assert {line.count("|") for line in lines} == {8}


def test_sampling_is_timed_by_the_clock_that_is_given() -> None:
    G = networks.build(
        {"_target_": "ganctl.networks.mlp.Generator", "widths": [4]},
        trust_code=False,
        **{"latent_dim": 4, "num_classes": 2, "channels": 1, "resolution": 4},
    )
    ticks = iter([0.0, 100.0, 200.0, 204.0, 300.0, 302.0, 400.0, 408.0])  # warm-up, then 4, 2 and 8 s
    assert bench_networks.sampling_speed(G, 4, 10.0, lambda: next(ticks)) == 64 / 4
    assert next(ticks, None) is None


def test_parameters_of_the_page_are_those_that_are_built() -> None:
    said = ROW.findall(PAGE)
    assert [row[:3] for row in said] == [
        (name, *size.split("x")) for size in bench_networks.SIZES for name in bench_networks.NETWORKS
    ]
    for name, resolution, channels, *counts in said:
        model = config.compose([f"model={name}"]).model
        facts = {"num_classes": 10, "channels": int(channels), "resolution": int(resolution)}
        with torch.device("meta"):
            G = networks.build(model.generator, trust_code=False, latent_dim=model.latent_dim, **facts)
            D = networks.build(model.discriminator, trust_code=False, **facts)
        assert [f"{bench_networks.parameters(net):,}" for net in (G, D)] == counts


@pytest.mark.parametrize("resolution", [28, 32, 64, 128])
def test_widths_of_the_page_are_those_of_the_table(resolution: int) -> None:
    sizes = resnet.pyramid(resolution)
    widths = resnet.WIDTHS[len(sizes) - 1]
    row = (f"{resolution} × {resolution}", ", ".join(map(str, sizes)), ", ".join(map(str, widths)))
    assert f"| {' | '.join(row)} |" in PAGE
