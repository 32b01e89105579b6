"""Heads by hand and by slow loops: what D says of an image, and of its class."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganctl import networks
from ganctl.errors import UsageError
from ganctl.networks import dcgan, heads, resnet
from ganctl.networks.heads import DataToDataHead

CLASSIFYING = ["acgan", "projection_acgan", "d2dce"]
PROJECTING = ["projection", "projection_acgan"]


def d2dce(embed: list[list[float]], proxies: list[list[float]]) -> DataToDataHead:
    """Of this embedding, without bias, and these proxies."""
    head = DataToDataHead(len(embed), len(proxies))
    with torch.no_grad():
        head.embed.weight.copy_(torch.tensor(embed))
        head.embed.bias.zero_()
        head.proxies.weight.copy_(torch.tensor(proxies))
    return head


EYE = [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize("name", heads.HEADS)
def test_logits_are_a_linear_function_of_features(name: str) -> None:
    head: Any = heads.build(name, 2, 3)
    assert isinstance(head.linear, nn.Linear)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[1.0, 2.0]]))
        head.linear.bias.fill_(0.5)
        if name in PROJECTING:
            head.embedding.weight.zero_()
    h = torch.tensor([[2.0, 1.0], [-1.0, 4.0]])
    assert head(h, torch.tensor([0, 2])).tolist() == [4.5, 7.5]
    assert hasattr(head, "class_losses") == (name in CLASSIFYING)


@pytest.mark.parametrize("name", ["acgan", "projection_acgan"])
def test_acgan_by_hand(name: str) -> None:
    head: Any = heads.build(name, 2, 2)
    with torch.no_grad():
        head.classifier.weight.copy_(torch.tensor(EYE))
        head.classifier.bias.copy_(torch.tensor([0.0, 1.0]))
    h = torch.tensor([[2.0, 0.0], [2.0, 0.0]], requires_grad=True)
    losses = head.class_losses(h, torch.tensor([0, 1]))
    # classes score 2 and 0 + 1
    torch.testing.assert_close(losses, torch.tensor([math.log(1 + math.e**-1), math.log(1 + math.e)]))
    (gradient,) = torch.autograd.grad(losses.sum(), h)
    p = 1 / (1 + math.e)  # softmax of the second class, less 1 where it is the label
    torch.testing.assert_close(gradient, torch.tensor([[-p, p], [1 - p, p - 1]]))


def test_d2dce_by_hand() -> None:
    # on the circle: f = (1, 0) and (0.6, 0.8); proxies (1, 0) and (0, 1)
    head = d2dce(EYE, [[5.0, 0.0], [0.0, 0.1]])
    h = torch.tensor([[3.0, 0.0], [0.3, 0.4]])
    # The first touches its proxy: [1 - 0.98]₋ / 0.5 = 0. The second: (0.8 - 0.98) / 0.5 = -0.36. Between them
    # (0.6 - 0.02) / 0.5 = 1.16.
    expected = [math.log(1 + math.exp(1.16)), 0.36 + math.log(math.exp(-0.36) + math.exp(1.16))]
    assert head.class_losses(h, torch.tensor([0, 1])).tolist() == pytest.approx(expected, abs=1e-6)
    # Of one class they do not repel each other, and nothing else is there to be told from.
    assert head.class_losses(h, torch.tensor([0, 0])).tolist() == pytest.approx([0, 0], abs=1e-6)
    # Beyond the margin others are all alike: exp 0 each.
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, -1.0]])
    first = head.class_losses(opposite, torch.tensor([0, 1, 1]))[0]
    assert first.item() == pytest.approx(math.log(3), abs=1e-6)


def test_d2dce_has_no_pull_within_the_margin() -> None:
    head = d2dce(EYE, [[1.0, 0.1], [0.0, 1.0]])  # cos 0.995 and, of the second row, 0.8
    head.class_losses(torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([0, 1])).sum().backward()
    gradient = head.proxies.weight.grad
    assert gradient is not None
    assert gradient[0].count_nonzero() == 0
    # towards (0.6, 0.8): along the circle, to the right
    assert gradient[1, 0] < 0


def slow_d2dce(head: DataToDataHead, h: Tensor, y: Tensor) -> list[Tensor]:
    f = [row @ head.embed.weight.T + head.embed.bias for row in h]
    f = [v / (v * v).sum().sqrt() for v in f]
    losses = []
    for i in range(len(h)):
        v = head.proxies.weight[y[i]]
        near = (f[i] * v).sum() / (v * v).sum().sqrt() - 0.98
        pull = torch.exp((near if near < 0 else 0 * near) / 0.5)
        push = torch.zeros(())
        for j in range(len(h)):
            if y[j] != y[i]:
                far = (f[i] * f[j]).sum() - 0.02
                push = push + torch.exp((far if far > 0 else 0 * far) / 0.5)
        losses.append(-torch.log(pull / (pull + push)))
    return losses


def test_d2dce_by_slow_loops() -> None:
    torch.manual_seed(0)
    head = DataToDataHead(5, 3)
    h, y = torch.randn(9, 5, requires_grad=True), torch.randint(3, (9,))
    h.data[1] = h.data[0] * 2 + 0.01  # near each other
    losses, expected = head.class_losses(h, y), torch.stack(slow_d2dce(head, h, y))
    torch.testing.assert_close(losses, expected)
    weights = [h, head.embed.weight, head.embed.bias, head.proxies.weight]
    fast, slow = (torch.autograd.grad((x * torch.arange(9)).sum(), weights) for x in (losses, expected))
    for a, b in zip(fast, slow, strict=True):
        assert b.abs().max() > 1e-3
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", CLASSIFYING)
def test_class_losses_are_finite_and_in_single_precision(name: str) -> None:
    torch.manual_seed(0)
    head: Any = heads.build(name, 4, 3)
    h, y = torch.randn(6, 4), torch.arange(6) % 3
    for scale in (0.0, 1e-6, 1e4):
        x = (h * scale).requires_grad_()
        losses = head.class_losses(x, y)
        (gradient,) = torch.autograd.grad(losses.sum(), x)
        assert (losses.shape, losses.dtype) == ((6,), torch.float32)
        assert losses.isfinite().all()
        assert gradient.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        half = head.class_losses(h.bfloat16(), y)
    assert half.dtype == torch.float32
    whole = head.class_losses(h.bfloat16().float(), y)
    torch.testing.assert_close(half, whole, atol=1e-6 if name == "d2dce" else 0.05, rtol=0)


@pytest.mark.parametrize("name", CLASSIFYING)
def test_a_few_steps_on_class_losses_tell_classes_apart(name: str) -> None:
    torch.manual_seed(0)
    head: Any = heads.build(name, 8, 3)
    centres, y = 2 * torch.randn(3, 8), torch.arange(60) % 3
    h = centres[y] + torch.randn(60, 8)
    adam = torch.optim.Adam(head.parameters(), lr=0.05)
    first = head.class_losses(h, y).mean().item()
    for _ in range(40):
        adam.zero_grad()
        head.class_losses(h, y).mean().backward()
        adam.step()
    if name != "d2dce":
        found = head.classifier(h).argmax(1)
    else:
        found = (head.embed(h) @ nn.functional.normalize(head.proxies.weight, dim=1).T).argmax(1)
    assert (found == y).float().mean() > 0.95
    assert head.class_losses(h, y).mean() < 0.95 * first


@pytest.mark.parametrize("name", heads.HEADS)
@pytest.mark.parametrize("module", [dcgan, resnet])
def test_a_discriminator_is_its_features_and_its_head(module: ModuleType, name: str) -> None:
    torch.manual_seed(0)
    D = module.Discriminator(4, 3, 8, features=6, head=name)
    images, y = torch.rand(5, 3, 8, 8) * 2 - 1, torch.arange(5) % 4
    h = D.features(images)
    assert h.shape == (5, 6)
    assert torch.equal(D(images, y), D.head(h, y))
    blind = torch.equal(D(images, y), D(images, (y + 1) % 4))
    assert blind == (name not in PROJECTING)
    if name in CLASSIFYING:
        assert D.head.class_losses(h, y).shape == (5,)
        assert not torch.allclose(D.head.class_losses(h, y), D.head.class_losses(h, (y + 1) % 4))


@pytest.mark.parametrize("family", ["dcgan", "resnet"])
def test_a_head_that_cannot_be_is_answered(family: str) -> None:
    facts = {"channels": 1, "resolution": 8}
    spec = {"_target_": f"ganctl.networks.{family}.Discriminator"}
    for name in CLASSIFYING:
        with pytest.raises(UsageError, match=f"head={name} tells classes apart.*head=projection"):
            networks.build(spec | {"head": name}, trust_code=False, num_classes=0, **facts)
    networks.build(spec | {"head": "projection"}, trust_code=False, num_classes=0, **facts)
    with pytest.raises(UsageError, match="no head 'projetion': did you mean projection"):
        networks.build(spec | {"head": "projetion"}, trust_code=False, num_classes=3, **facts)


def test_dcgan_is_what_it_was_before_it_took_a_head() -> None:
    # names, initial weights and logits, from before: checkpoints go on
    torch.manual_seed(0)
    D = dcgan.Discriminator(3, 1, 8, width=8, features=16)
    layers = [f"layers.{i}.{kind}" for i in (0, 2, 4, 7) for kind in ("weight", "bias")]
    assert list(D.state_dict()) == [
        *layers,
        *("head.linear.weight", "head.linear.bias", "head.embedding.weight"),
    ]
    logits = D(torch.linspace(-1, 1, 256).view(4, 1, 8, 8), torch.tensor([0, 1, 2, 0]))
    assert logits.tolist() == pytest.approx([0.083105, 0.094036, 0.162809, 0.069509], abs=2e-5)
