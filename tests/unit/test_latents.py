"""A latent is a function of its seed, a step's randomness one of (seed, step, rank)."""

from __future__ import annotations

import itertools

import pytest
import torch

from ganctl.latents import MAX_SEED, from_seeds, seed_device, slerp, step_seed


@pytest.mark.parametrize("latent_dim", [1, 7, 16, 64, 100])
def test_latent_is_what_torch_draws_for_its_seed(latent_dim: int) -> None:
    seeds = [0, 1, 5, 123_456, 2**32 - 1]
    found = from_seeds(seeds, latent_dim)
    assert found.dtype == torch.float32
    assert found.shape == (5, latent_dim)
    for row, seed in zip(found, seeds, strict=True):
        fresh = torch.Generator().manual_seed(seed)
        assert torch.equal(row, torch.randn(latent_dim, generator=fresh))


def test_latent_depends_on_the_seed_alone() -> None:
    alone = {seed: from_seeds([seed], 33)[0] for seed in range(20)}
    for seeds in (list(range(20)), list(range(19, -1, -1)), [3, 3, 11], [7]):
        for row, seed in zip(from_seeds(seeds, 33), seeds, strict=True):
            assert torch.equal(row, alone[seed])
    assert len({tuple(z.tolist()) for z in alone.values()}) == 20


def test_global_generator_is_neither_read_nor_moved() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = from_seeds([4], 8)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(from_seeds([4], 8), first)


def test_no_seeds_no_latents() -> None:
    assert from_seeds([], 8).shape == (0, 8)


def test_different_seeds_have_different_latents_up_to_the_largest() -> None:
    # torch's CPU generator keeps the lower 32 bits of its seed; the range of seeds has to respect that.
    wanted = [7, 8, 2**32 - 1, 2**32, 2**32 + 7, 2**33 + 7, 2**62 + 7, MAX_SEED - 1, MAX_SEED]
    seeds = sorted({seed for seed in wanted if seed <= MAX_SEED})
    assert len(seeds) >= 4
    assert len({tuple(z.tolist()) for z in from_seeds(seeds, 8)}) == len(seeds)


def test_latents_are_standard_normal() -> None:
    z = from_seeds(range(4000), 32)
    # 128 000 values: the mean's standard error is .0028, that of the standard deviation .002.
    assert abs(float(z.mean())) < 0.012
    assert float(z.std()) == pytest.approx(1, abs=0.009)
    assert float((z.abs() < 1).float().mean()) == pytest.approx(0.6827, abs=0.006)
    # across seeds too, at each place: standard errors .0158 and .0112
    assert float(z.mean(0).abs().max()) < 0.08
    assert float((z.std(0) - 1).abs().max()) < 0.06


def test_neighbouring_seeds_are_uncorrelated() -> None:
    z = from_seeds(range(2001), 64).double()
    for apart in (1, 2, 10):
        products = (z[apart:] * z[:-apart]).mean()
        # about 128 000 products of variance one
        assert abs(float(products)) < 0.013


def test_step_seeds_are_distinct_and_in_range() -> None:
    found = [step_seed(*key) for key in itertools.product(range(5), range(500), range(8))]
    assert len(set(found)) == 5 * 500 * 8
    assert all(0 <= seed < 2**63 for seed in found)
    # spread over the whole range, not crowded at its start
    assert max(found) > 2**62
    assert sum(seed & 1 for seed in found) == pytest.approx(10_000, abs=500)


def test_step_seed_does_not_mix_its_arguments_up() -> None:
    # 1/23/4 and 12/3/4 would be one if the numbers were just written in a row.
    keys = [(1, 23, 4), (12, 3, 4), (1, 2, 34), (4, 23, 1), (23, 1, 4), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    assert len({step_seed(*key) for key in keys}) == len(keys)


def test_step_seed_is_the_same_in_every_process_and_version() -> None:
    # blake2b of "0/0/0" and "3/1000/1" in 8 bytes, little-endian, halved
    assert step_seed(0, 0, 0) == 4808561972376111626
    assert step_seed(3, 1000, 1) == 8369911583808068080


def test_step_seed_gives_uncorrelated_noise() -> None:
    noise = torch.stack(
        [
            torch.randn(64, generator=torch.Generator().manual_seed(step_seed(0, step, rank)))
            for step in range(500)
            for rank in range(2)
        ]
    ).double()
    assert abs(float((noise[1:] * noise[:-1]).mean())) < 0.02
    assert abs(float((noise[2:] * noise[:-2]).mean())) < 0.02


def test_seeding_the_device_is_seeding_torch() -> None:
    torch.manual_seed(2**40 + 5)
    expected = torch.randn(4)
    torch.randn(3)
    seed_device(torch.device("cpu"), 2**40 + 5)
    assert torch.equal(torch.randn(4), expected)
    seed_device(torch.device("cpu"), 6)
    assert not torch.equal(torch.randn(4), expected)


def test_slerp_is_the_arc_between_latents() -> None:
    a, b = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([0.0, 3.0, 0.0])
    for t in (0.0, 0.1, 0.25, 0.5, 1.0):
        angle = torch.tensor(t * torch.pi / 2)
        expected = 3 * torch.tensor([torch.cos(angle), torch.sin(angle), 0.0])
        assert torch.allclose(slerp(a, b, t), expected, atol=1e-6)


def test_slerp_begins_and_ends_exactly() -> None:
    z = from_seeds(range(20), 64)
    for a, b in zip(z[:10], z[10:], strict=True):
        assert torch.equal(slerp(a, b, 0.0), a)
        assert torch.equal(slerp(a, b, 1.0), b)
        middle = slerp(a, b, 0.5).norm()
        assert 0.9 < middle / ((a.norm() + b.norm()) / 2) < 1.1  # the straight line has 0.71


def test_slerp_between_parallel_latents_is_straight() -> None:
    a = torch.tensor([1.0, 2.0])
    assert torch.equal(slerp(a, a, 0.3), a)
    assert torch.allclose(slerp(a, 3 * a, 0.5), 2 * a)
    assert torch.isfinite(slerp(a, -a, 0.5)).all()
    assert torch.equal(slerp(a, 0 * a, 1.0), 0 * a)
