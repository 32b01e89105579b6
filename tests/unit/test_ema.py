"""The moving average: what its half-life means, and what it leaves alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ganctl import ema

LATE = 10_000_000  # images after which the ramp-up is over


@pytest.mark.parametrize("batch_images", [1, 10, 64, 500, 2000])
def test_old_weight_counts_half_after_the_half_life(batch_images: int) -> None:
    old, new = nn.Linear(1, 1, bias=False).double(), nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(old.weight, 1.0)
    nn.init.constant_(new.weight, 0.0)
    for step in range(32_000 // batch_images):
        ema.update(old, new, ema.decay(batch_images, 32.0, LATE + step * batch_images))
    assert float(old.weight.detach()) == pytest.approx(0.5, abs=1e-9)


def test_twice_the_half_life_leaves_a_quarter() -> None:
    assert ema.decay(20_000, 10.0, LATE) == pytest.approx(0.25)
    assert ema.decay(5_000, 10.0, LATE) == pytest.approx(2**-0.5)


def test_rampup_shortens_the_half_life_to_a_part_of_the_images_seen() -> None:
    # 5 % of 2 000 images is a half-life of 100.
    assert ema.decay(100, 10.0, 2_000) == pytest.approx(0.5)
    assert ema.decay(50, 10.0, 2_000) == pytest.approx(0.5**0.5)
    assert ema.decay(100, 10.0, 2_000, rampup=0.1) == pytest.approx(0.5**0.5)
    # 10 kimg are 5 % of 200 kimg: from there on the half-life itself counts.
    assert ema.decay(100, 10.0, 199_000) < ema.decay(100, 10.0, 200_000) == ema.decay(100, 10.0, LATE)


def test_decay_is_zero_at_the_first_step_and_without_half_life() -> None:
    assert ema.decay(64, 10.0, 0) == 0.0
    assert ema.decay(64, 0.0, LATE) == 0.0
    assert 0.0 < ema.decay(64, 0.001, LATE) < 1.0


def _pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    average, network = (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)) for _ in range(2))
    network.train()
    for _ in range(3):
        network(torch.randn(8, 3))
    return average, network


def test_parameters_are_lerped_and_the_network_is_left_alone() -> None:
    average, network = _pair()
    before, current = copy.deepcopy(average), copy.deepcopy(network)
    ema.update(average, network, 0.75)
    names = [name for name, _ in average.named_parameters()]
    assert len(names) == 6
    for name in names:
        old, new = before.get_parameter(name), current.get_parameter(name)
        torch.testing.assert_close(average.get_parameter(name), 0.75 * old + 0.25 * new)
    for key, value in network.state_dict().items():
        assert torch.equal(value, current.state_dict()[key])


def test_buffers_are_copied_even_the_integer_ones() -> None:
    average, network = _pair()
    ema.update(average, network, 0.999)
    buffers = dict(average.named_buffers())
    assert int(buffers["1.num_batches_tracked"]) == 3
    assert buffers["1.num_batches_tracked"].dtype == torch.int64
    for name, buffer in network.named_buffers():
        assert torch.equal(buffers[name], buffer)
        assert buffers[name].data_ptr() != buffer.data_ptr()


def test_beta_zero_copies() -> None:
    average, network = _pair()
    ema.update(average, network, 0.0)
    for key, value in network.state_dict().items():
        assert torch.equal(average.state_dict()[key], value)


@pytest.mark.parametrize("requires_grad", [False, True])
def test_no_gradient_is_tracked(requires_grad: bool) -> None:
    average, network = _pair()
    average.requires_grad_(requires_grad)
    ema.update(average, network, 0.5)
    for parameter in average.parameters():
        assert parameter.is_leaf
        assert parameter.grad_fn is None
        assert parameter.requires_grad is requires_grad
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
