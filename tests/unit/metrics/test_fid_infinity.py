from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import linregress

from ganctl.metrics.fid_infinity import frechet_infinity
from ganctl.metrics.frechet import Moments, frechet_distance

D = 16


def gaussian(n: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed)) + shift


def exact_moments() -> Moments:
    """A Gaussian's own moments, as of infinitely many features: mean 0, covariance 1."""
    count = torch.tensor(1e12, dtype=torch.float64)
    return Moments(
        count, torch.zeros(D, dtype=torch.float64), (count - 1) * torch.eye(D, dtype=torch.float64)
    )


def test_the_line_is_least_squares() -> None:
    found = frechet_infinity(Moments.of(gaussian(500, 0)), gaussian(300, 1, 0.5), torch.Generator(), points=7)
    line = linregress(1 / np.asarray(found.sizes), found.distances)
    assert found.value == pytest.approx(line.intercept, rel=1e-9)
    assert found.std_error == pytest.approx(line.intercept_stderr, rel=1e-9)
    assert found.sizes == (150, 175, 200, 225, 250, 275, 300)


def test_the_last_point_is_the_distance_of_all_fakes() -> None:
    real, fake = Moments.of(gaussian(500, 0)), gaussian(300, 1, 0.5)
    found = frechet_infinity(real, fake, torch.Generator(), points=3)
    all_fakes = Moments.of(fake)
    expected = frechet_distance(real.mean, real.cov, all_fakes.mean, all_fakes.cov)
    assert found.distances[-1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_bias_of_few_fakes_goes(shift: float) -> None:
    truth = D * shift**2
    found = [
        frechet_infinity(exact_moments(), gaussian(400, seed, shift), torch.Generator().manual_seed(seed))
        for seed in range(12)
    ]
    biased = np.array([f.distances[-1] for f in found])
    values = np.array([f.value for f in found])
    error = values.std(ddof=1) / len(values) ** 0.5
    if shift == 0:
        assert biased.min() > 0.15
    assert biased.mean() - truth > 0.15
    assert abs(values.mean() - truth) < max(4 * error, 0.05)
    assert abs(values.mean() - truth) < (biased.mean() - truth) / 2


def test_the_generator_chooses_the_subsets() -> None:
    real, fake = Moments.of(gaussian(500, 0)), gaussian(300, 1, 0.5)

    def run(seed: int) -> tuple[float, ...]:
        state = torch.get_rng_state()
        found = frechet_infinity(real, fake, torch.Generator().manual_seed(seed), points=3)
        assert torch.equal(torch.get_rng_state(), state)
        return found.distances

    assert run(0) == run(0)
    assert run(0)[:2] != run(1)[:2]


def test_many_fakes_start_at_the_papers_five_thousand() -> None:
    fake = torch.randn(12_000, 2, generator=torch.Generator().manual_seed(0))
    done: list[int] = []
    found = frechet_infinity(Moments.of(fake[:50]), fake, torch.Generator(), points=3, on_point=done.append)
    assert found.sizes == (5000, 8500, 12_000)
    assert done == [1, 1, 1]


def test_too_few() -> None:
    real = Moments.of(gaussian(50, 0))
    with pytest.raises(ValueError, match="no 15 different sizes"):
        frechet_infinity(real, gaussian(20, 1), torch.Generator())
    with pytest.raises(ValueError, match="at least 3"):
        frechet_infinity(real, gaussian(50, 1), torch.Generator(), points=2)
