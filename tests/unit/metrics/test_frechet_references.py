"""The Fréchet and kernel distances against the reference tools, on the same features or the same network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from inception import random_inception_weights
from pytorch_fid.fid_score import calculate_frechet_distance
from torch import Tensor, nn
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3

from ganctl.errors import GanctlError
from ganctl.metrics.features import InceptionExtractor
from ganctl.metrics.frechet import Moments, frechet_distance, frechet_distance_of_features
from ganctl.metrics.inception_weights import InceptionWeights
from ganctl.metrics.kernel import kernel_distance


def features(n: int, seed: int, d: int = 24) -> Tensor:
    """Correlated, non-negative features (n, d) float32."""
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(n, d, generator=g) @ torch.randn(d, d, generator=g)).relu()


# Unlike in number, scale and place. FID is symmetric, so the sides can only be told apart by their numbers.
REAL, FAKE = features(400, 0), 1.4 * features(250, 1) + 0.5


def test_equals_torch_fidelity_on_shared_features() -> None:
    stats = (fid_features_to_statistics(x.double()) for x in (FAKE, REAL))
    theirs = fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"]
    assert theirs > 10
    assert frechet_distance_of_features(REAL, FAKE) == pytest.approx(theirs, rel=1e-6)
    assert frechet_distance_of_features(REAL, FAKE[:200]) != pytest.approx(theirs, rel=1e-3)


def test_kernel_distance_equals_torch_fidelity() -> None:
    theirs = kid_features_to_metric(
        FAKE, REAL, kid_subsets=20, kid_subset_size=100, rng_seed=2020, verbose=False
    )
    mean, std = kernel_distance(FAKE, REAL, np.random.RandomState(2020), subsets=20, subset_size=100)
    assert mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-5)
    assert std == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-4)


# pytorch-fid still passes sqrtm an argument that newer scipy deprecates.
@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated:DeprecationWarning")
def test_equals_pytorch_fid_on_shared_features() -> None:
    a, b = REAL.double().numpy(), FAKE.double().numpy()
    theirs = calculate_frechet_distance(
        a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False)
    )
    assert frechet_distance_of_features(REAL, FAKE) == pytest.approx(theirs, rel=1e-6)


class Identity(nn.Module):
    """torchmetrics' way to take features as they are."""

    num_features = REAL.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_equals_torchmetrics_on_shared_features() -> None:
    metric = FrechetInceptionDistance(feature=Identity())
    for side, is_real in ((REAL, True), (FAKE, False)):
        for batch in side.split(70):
            metric.update(batch, real=is_real)
    assert frechet_distance_of_features(REAL, FAKE) == pytest.approx(metric.compute().item(), rel=1e-6)


class FewFeatures(nn.Module):
    """torchmetrics' own Inception, cut to so few features that a handful of images spans them all."""

    num_features = 3

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(weights), antialias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)[:, :3]


@pytest.mark.slow
def test_equals_torchmetrics_from_images_and_a_weights_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    state = random_inception_weights()
    torch.save(state, path)
    g = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (6, 3, 20, 20), dtype=torch.uint8, generator=g)
    fake = torch.randint(0, 128, (5, 3, 20, 20), dtype=torch.uint8, generator=g)
    metric = FrechetInceptionDistance(feature=FewFeatures(path))
    with torch.no_grad():
        metric.update(real, real=True)
        metric.update(fake, real=False)
    ours = InceptionExtractor(InceptionWeights(path, "f00d", has_fc=True, state_dict=state))
    found = frechet_distance_of_features(ours(real).features[:, :3], ours(fake).features[:, :3])
    assert found == pytest.approx(metric.compute().item(), rel=1e-4)
    real_spread = ours(real[:2]).features[:, :3].var(dim=0).sum().item()
    assert found > 0.01 * real_spread > 0


@pytest.mark.parametrize(("n", "m"), [(10, 12), (12, 10), (10, 80), (80, 10), (70, 90)])
def test_few_features_give_the_same_as_their_moments(n: int, m: int) -> None:
    x, y = features(n, 2, d=40), 0.5 * features(m, 3, d=40)
    a, b = Moments.of(x), Moments.of(y)
    expected = frechet_distance(a.mean, a.cov, b.mean, b.cov)
    assert frechet_distance_of_features(x, y) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance_of_features(y, x) == pytest.approx(expected, rel=1e-6)


def test_features_without_a_distance() -> None:
    with pytest.raises(ValueError, match="at least two"):
        frechet_distance_of_features(REAL, FAKE[:1])
    with pytest.raises(ValueError, match="at least two"):
        frechet_distance_of_features(REAL, FAKE[:, :5])
    with pytest.raises(GanctlError, match="not finite"):
        frechet_distance_of_features(REAL[:9].log(), FAKE[:9])
    with pytest.raises(GanctlError, match="not finite"):
        frechet_distance_of_features(REAL.log(), FAKE)
