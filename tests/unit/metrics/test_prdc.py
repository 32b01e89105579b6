from __future__ import annotations

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from torch_fidelity.metric_prc import prc_features_to_metric

from ganctl.errors import GanctlError
from ganctl.metrics import neighbours
from ganctl.metrics.prdc import prdc


def features(n: int, d: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).relu()


# The fakes are fewer, narrower and off-centre, so that swapped sides give other numbers.
REAL, FAKE = features(310, 12, 0), features(270, 12, 1, scale=0.7) + 0.1


def counts(shares: dict[str, float], n: int, m: int, k: int) -> list[float]:
    """Shares as whole numbers: of M fakes, N real images, k·M balls and N real images."""
    totals = {"precision": m, "recall": n, "density": k * m, "coverage": n}
    return [shares[name] * total for name, total in totals.items()]


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("rows", [2048, 64])
def test_counts_equal_the_prdc_package(k: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MAX_ROWS", rows)
    theirs = counts(compute_prdc(REAL.numpy(), FAKE.numpy(), k), 310, 270, k)
    ours = counts(vars(prdc(REAL, FAKE, k)), 310, 270, k)
    assert np.round(ours).tolist() == np.round(theirs).tolist()
    np.testing.assert_allclose(ours, np.round(ours), atol=1e-9)
    swapped = counts(vars(prdc(FAKE, REAL, k)), 270, 310, k)
    assert all(abs(a - b) > 3 for a, b in zip(ours, swapped, strict=True))


def test_points_on_the_rim_are_outside_as_in_the_prdc_package() -> None:
    # On a grid of whole numbers most distances have equals, and all are exact.
    g = torch.Generator().manual_seed(4)
    real, fake = torch.randint(0, 5, (60, 2), generator=g).float(), torch.randint(2, 6, (50, 2), generator=g)
    for k in (1, 2, 5):
        theirs = compute_prdc(real.numpy(), fake.float().numpy(), k)
        assert vars(prdc(real, fake.float(), k)) == pytest.approx(theirs, abs=1e-12)
    inside = prc_features_to_metric(fake.float(), real, prc_neighborhood=2, verbose=False)
    assert inside["precision"] > prdc(real, fake.float(), 2).precision


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("save_cpu_ram", [False, True])
def test_precision_and_recall_equal_torch_fidelity(k: int, save_cpu_ram: bool) -> None:
    theirs = prc_features_to_metric(
        FAKE, REAL, prc_neighborhood=k, prc_batch_size=100, save_cpu_ram=save_cpu_ram, verbose=False
    )
    ours = prdc(REAL, FAKE, k)
    assert ours.precision == pytest.approx(theirs["precision"], rel=1e-6)
    assert ours.recall == pytest.approx(theirs["recall"], rel=1e-6)
    assert abs(ours.precision - ours.recall) > 0.05


def test_points_by_hand() -> None:
    # k = 1: real radii 1, 1, 4 around 0, 1, 5; fake radii 0.5, 0.5, 9 around 0.5, 1, 10.
    real, fake = torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[0.5], [1.0], [10.0]])
    found = prdc(real, fake, k=1)
    # 0.5 is in the balls of 0 and 1, 1 in the one of 1 (on the rim of 0's and 5's), 10 in none.
    assert found.precision == pytest.approx(2 / 3)
    assert found.density == pytest.approx(3 / 3)
    assert found.coverage == pytest.approx(2 / 3)
    # 0 is on the rim of 0.5's ball, 1 in its own copy's, 5 in the wide one of 10.
    assert found.recall == pytest.approx(2 / 3)


def test_copies_are_perfect_and_a_far_heap_is_worthless() -> None:
    assert vars(prdc(REAL, REAL)) == {"precision": 1, "recall": 1, "density": 1, "coverage": 1}
    heap = prdc(REAL, torch.full((20, 12), 50.0))
    assert vars(heap) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_a_collapsed_generator_is_precise_without_recall() -> None:
    found = prdc(REAL, REAL.mean(dim=0).repeat(40, 1))
    assert found.precision == 1
    assert found.recall == 0
    assert found.coverage < 0.9


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="6 points"):
        prdc(REAL, FAKE[:5])
    with pytest.raises(ValueError, match="points must be"):
        prdc(REAL, FAKE[:, :3])
    with pytest.raises(GanctlError, match="not finite"):
        prdc(REAL.log(), FAKE)


def test_progress_counts_every_row() -> None:
    done: list[int] = []
    prdc(REAL, FAKE, on_rows=done.append)
    assert sum(done) == 2 * 310 + 270
