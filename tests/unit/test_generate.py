"""An image is a function of (weights, label, seed), whatever it is drawn together with."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ganctl.generate import MICRO_BATCH, all_at_once, batches, proportional_labels
from ganctl.networks import dcgan, mlp

LATENT_DIM = 12
CPU = torch.device("cpu")


def generator(family: str, resolution: int, num_classes: int = 10) -> nn.Module:
    """Random weights, BatchNorm statistics of a few passes, pixels of many levels."""
    torch.manual_seed(0)
    G: nn.Module
    if family == "mlp":
        G = mlp.Generator(LATENT_DIM, num_classes, 1, resolution, widths=(32, 64))
    else:
        G = dcgan.Generator(LATENT_DIM, num_classes, 1, resolution, width=8)
    G.train()
    with torch.no_grad():
        layers = [m for m in G.modules() if isinstance(m, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d))]
        layers[-1].weight.mul_(8)
        for _ in range(10):
            G(2 * torch.randn(32, LATENT_DIM) + 0.5, torch.randint(max(num_classes, 1), (32,)))
    return G


N = 2 * MICRO_BATCH + 22
PAIRS = [(k * 7 % 10, 1000 + k) for k in range(N)]


def draw(G: nn.Module, pairs: list[tuple[int, int]]) -> Tensor:
    return all_at_once(G, LATENT_DIM, [y for y, _ in pairs], [s for _, s in pairs], CPU)


@pytest.mark.parametrize("resolution", [8, 28])
@pytest.mark.parametrize("family", ["mlp", "dcgan"])
def test_same_bytes_whatever_the_company(family: str, resolution: int) -> None:
    G = generator(family, resolution)
    together = draw(G, PAIRS)
    assert together.dtype == torch.uint8
    assert together.shape == (N, 1, resolution, resolution)
    assert together.unique(dim=0).shape[0] == N
    assert together.float().std() > 10

    # on its own, at another place, in the opposite order, among others of its batch, twice
    for k in (0, 1, MICRO_BATCH - 1, MICRO_BATCH, N - 1):
        assert torch.equal(draw(G, [PAIRS[k]])[0], together[k])
    for n in (2, MICRO_BATCH - 1, MICRO_BATCH, MICRO_BATCH + 1):
        assert torch.equal(draw(G, PAIRS[:n]), together[:n])
        assert torch.equal(draw(G, PAIRS[-n:]), together[-n:])
    assert torch.equal(draw(G, PAIRS[::-1]), together.flip(0))
    assert torch.equal(draw(G, [PAIRS[5], PAIRS[100], PAIRS[5]]), together[[5, 100, 5]])


@pytest.mark.parametrize("resolution", [8, 28])
@pytest.mark.parametrize("family", ["mlp", "dcgan"])
def test_image_is_the_generators_of_that_seed_and_label(family: str, resolution: int) -> None:
    G = generator(family, resolution)
    label, seed = PAIRS[70]
    G.eval()
    z = torch.randn(LATENT_DIM, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        expected = ((G(z[None], torch.tensor([label]))[0].double() + 1) * 127.5).round()
    # a batch of one sums in another order: one grey level is allowed
    assert (draw(G, PAIRS)[70].double() - expected).abs().max() <= 1
    assert not torch.equal(draw(G, [(label, seed)]), draw(G, [(label, seed + 1)]))
    assert not torch.equal(draw(G, [(label, seed)]), draw(G, [((label + 1) % 10, seed)]))


@pytest.mark.parametrize("family", ["mlp", "dcgan"])
def test_drawing_changes_nothing(family: str) -> None:
    G = generator(family, 8)
    before = {key: value.clone() for key, value in G.state_dict().items()}
    torch.manual_seed(5)
    random_state = torch.get_rng_state()
    G.train()
    draw(G, PAIRS)
    assert not G.training
    assert torch.equal(torch.get_rng_state(), random_state)
    for key, value in G.state_dict().items():
        assert torch.equal(value, before[key])


def test_batches_have_at_most_the_micro_batch() -> None:
    G = generator("mlp", 8)
    parts = list(batches(G, LATENT_DIM, [0] * N, range(N), CPU))
    assert [len(part) for part in parts] == [MICRO_BATCH, MICRO_BATCH, 22]
    assert list(batches(G, LATENT_DIM, [], [], CPU)) == []


@pytest.mark.parametrize("family", ["mlp", "dcgan"])
def test_without_classes_the_label_does_not_matter(family: str) -> None:
    G = generator(family, 8, num_classes=0)
    assert torch.equal(draw(G, [(0, 3), (0, 4)]), draw(G, [(7, 3), (9, 4)]))


MNIST = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def counts(labels: list[int], num_classes: int) -> list[int]:
    return [labels.count(y) for y in range(num_classes)]


@pytest.mark.parametrize(
    ("class_counts", "n", "expected"),
    [
        ([1, 1], 4, [2, 2]),
        ([1, 2, 3], 6, [1, 2, 3]),
        ([1, 2, 3], 60, [10, 20, 30]),
        ([100, 300], 4, [1, 3]),
        ([10, 0, 30], 8, [2, 0, 6]),
        ([0, 0, 5], 3, [0, 0, 3]),
        ([7], 5, [5]),
        # more than there are
        ([1, 3], 400, [100, 300]),
        # shares 4.2 and 2.8
        ([60, 40], 7, [4, 3]),
        (MNIST, sum(MNIST), MNIST),
        ([6, 2, 1], 0, [0, 0, 0]),
    ],
)
def test_proportional_labels_by_hand(class_counts: list[int], n: int, expected: list[int]) -> None:
    assert counts(proportional_labels(class_counts, n), len(class_counts)) == expected


@pytest.mark.parametrize("class_counts", [MNIST, [6000] * 10, [178, 182, 177, 183, 181], [3, 0, 5, 1]])
def test_proportional_labels_are_near_every_share(class_counts: list[int]) -> None:
    total = sum(class_counts)
    for n in (1, 2, 9, 10, 11, 50, 100, 257, 1000):
        found = counts(proportional_labels(class_counts, n), len(class_counts))
        assert sum(found) == n
        for count, of_class in zip(found, class_counts, strict=True):
            assert abs(count - n * of_class / total) < 1


def test_without_classes_every_label_is_the_same_place_holder() -> None:
    assert proportional_labels([], 3) == [0, 0, 0]


def test_proportional_labels_of_one_large_and_many_small_classes() -> None:
    # The large class has 60 % of 15, exactly nine; each small one has .6 of an image.
    found = counts(proportional_labels([90] + [6] * 10, 15), 11)
    assert sum(found) == 15
    assert found[0] == 9
    assert all(count in (0, 1) for count in found[1:])


@pytest.mark.parametrize("class_counts", [MNIST, [1, 2, 3], [10, 0, 1, 1], [6000] * 10])
def test_every_prefix_is_nearly_proportional(class_counts: list[int]) -> None:
    total = sum(class_counts)
    labels = proportional_labels(class_counts, 600)
    seen = [0] * len(class_counts)
    for n, y in enumerate(labels, 1):
        seen[y] += 1
        for count, of_class in zip(seen, class_counts, strict=True):
            assert abs(count - n * of_class / total) <= 1
