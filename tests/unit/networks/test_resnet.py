"""The residual pair: sizes, first values, second derivatives; attention and conditional norms by hand."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganctl import networks
from ganctl.data.dataset import DatasetFacts
from ganctl.errors import UsageError
from ganctl.generate import MICRO_BATCH
from ganctl.losses import squared_gradient_norm
from ganctl.networks import resnet
from ganctl.networks.attention import SelfAttention
from ganctl.networks.conditioning import ConditionalBatchNorm, can_mix_labels
from ganctl.networks.resnet import Discriminator, Generator
from ganctl.snapshot import Snapshot

CONF = Path(__file__).parents[3] / "conf" / "model"
G_SPEC = {"_target_": "ganctl.networks.resnet.Generator"}
FACTS = {"num_classes": 3, "channels": 1, "resolution": 8}

N = TypeVar("N", bound=nn.Module)


def awake(net: N) -> N:
    """With random weights where they are zero at first, and would hide a mistake behind them."""
    for p in net.parameters():
        if not p.any():
            nn.init.normal_(p, std=0.2)
    return net


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


# -- sizes -------------------------------------------------------------------------------------------------


def test_pyramid_by_hand() -> None:
    assert resnet.pyramid(28) == [7, 14, 28]
    assert resnet.pyramid(32) == [4, 8, 16, 32]
    assert resnet.pyramid(48) == [6, 12, 24, 48]
    assert resnet.pyramid(128) == [4, 8, 16, 32, 64, 128]
    assert resnet.pyramid(5) == [5]


def test_supported_are_what_doublings_reach() -> None:
    reached, sides = set(), {4, 5, 6, 7}
    while min(sides) <= 128:
        reached |= sides
        sides = {2 * side for side in sides}
    assert reached == set(resnet.SUPPORTED)


@pytest.mark.parametrize(
    ("resolution", "close"), [(50, "48 and 56"), (29, "28 and 32"), (3, "4 and 5"), (256, "192 and 224")]
)
@pytest.mark.parametrize("kind", ["Generator", "Discriminator"])
def test_a_size_out_of_reach_is_answered_with_those_that_are_not(
    kind: str, resolution: int, close: str
) -> None:
    facts = FACTS | {"resolution": resolution} | ({"latent_dim": 8} if kind == "Generator" else {})
    with pytest.raises(UsageError) as caught:
        networks.build({"_target_": f"ganctl.networks.resnet.{kind}"}, trust_code=False, **facts)
    what = caught.value.what
    assert f"cannot build ganctl.networks.resnet.{kind}: resolution {resolution} is not supported" in what
    assert "28, 32, 64, 128" in what
    assert f"nearest {close}; model=dcgan takes any" in what
    assert "\n" not in what


@pytest.mark.parametrize("num_classes", [0, 10])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", [28, 32, 64, 128])
def test_shapes_at_shipped_sizes(resolution: int, channels: int, num_classes: int) -> None:
    with torch.device("meta"):
        G = Generator(64, num_classes, channels, resolution)
        D = Discriminator(num_classes, channels, resolution)
        y = torch.zeros(5, dtype=torch.int64)
        images = G(torch.empty(5, 64), y)
        assert images.shape == (5, channels, resolution, resolution)
        assert D.features(images).shape == (5, 128)
        assert D(images, y).shape == (5,)


def test_parameters_by_hand() -> None:
    # labels 10·32 beside 64 numbers, to 128 maps of 7 × 7; two 3 × 3 convolutions at each of 128, 64, 32
    # maps, 1 × 1 between them, 3 × 3 to pixels
    blocks = sum(2 * (maps * maps * 9 + maps) for maps in (128, 64, 32))
    between = 128 * 64 + 64 * 32
    stem = 10 * 32 + 97 * 128 * 49
    assert parameters(Generator(64, 10, 1, 28)) == stem + blocks + between + 64 + 32 + 32 * 9 + 1
    # the same backwards, 128 features, w, b and ten label vectors
    head = 128 * 49 * 128 + 128 + 128 + 1 + 10 * 128
    assert parameters(Discriminator(10, 1, 28)) == 32 * 9 + 32 + blocks + between + 128 + 64 + head


def test_widths_are_given_from_the_smallest_map() -> None:
    G, D = Generator(8, 3, 1, 16, widths=(12, 6, 3)), Discriminator(3, 1, 16, widths=[12, 6, 3])
    assert G.stem.out_features == 12 * 16
    assert G.to_pixels.in_channels == D.from_pixels.out_channels == 3
    for net in (functools.partial(Generator, 8), Discriminator):
        with pytest.raises(ValueError, match=r"2 widths are given, and there are 3 maps, of 4, 8, 16"):
            net(num_classes=3, channels=1, resolution=16, widths=(8, 4))


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"attention": 32}, "no map of 32 for attention: 4, 8"),
        ({"attention": "a"}, "no map of 'a'"),
        ({"norm": "bn"}, "there is no norm 'bn': did you mean cbn"),
        ({"norm": "cbn", "num_classes": 0}, "norm=cbn is conditional on labels.*norm=none"),
    ],
)
def test_options_that_cannot_be_are_answered(own: dict[str, Any], said: str) -> None:
    facts = {**FACTS, "latent_dim": 8, **{k: own[k] for k in own if k in FACTS}}
    spec = G_SPEC | {k: v for k, v in own.items() if k not in FACTS}
    with pytest.raises(UsageError, match=said):
        networks.build(spec, trust_code=False, **facts)


# -- first values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resolution", [7, 28, 64])
def test_no_depth_changes_the_first_variance(resolution: int) -> None:
    torch.manual_seed(0)
    widths = tuple(max(w // 2, 16) for w in resnet.WIDTHS[len(resnet.pyramid(resolution)) - 1])
    G = Generator(64, 10, 3, resolution, widths=widths)
    D = Discriminator(10, 3, resolution, widths=widths)
    found: list[float] = []
    for block in (*G.blocks, *D.blocks):
        block.register_forward_hook(lambda module, inputs, out: found.append(out.std().item()))
    with torch.no_grad():
        pixels, y = G(torch.randn(16, 64), torch.arange(16) % 10), torch.arange(16) % 10
        h = D.features(pixels)
        logits = D.head(h, y)
    # bilinear resampling smooths: it loses a bit more than half of the variance once, and no more
    assert all(0.3 < std < 1.3 for std in found), found
    assert 0.3 < pixels.std() < 1.2
    assert 0.1 < h.std() < 1.2
    assert 0.05 < logits.std() < 2


def test_a_block_begins_as_the_identity_and_learns_at_once() -> None:
    torch.manual_seed(0)
    block, x = resnet.Block(6, 4), torch.randn(3, 6, 5, 5)
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    assert block.second.weight.grad is not None
    assert block.second.weight.grad.abs().max() > 0
    # He's gain for leaky ReLU, √(2 / 1.04), over √(fan-in), by Fixup smaller by √4
    wide = resnet.Block(64, 4).first.weight
    assert wide.std().item() == pytest.approx((2 / 1.04 / (64 * 9) / 4) ** 0.5, rel=0.02)


def test_pixels_have_a_way_back_while_training_and_end_at_black_and_white() -> None:
    torch.manual_seed(0)
    G, z, y = awake(Generator(8, 3, 1, 8)), torch.randn(6, 8), torch.arange(6) % 3
    with torch.no_grad():
        G.to_pixels.get_parameter("bias").fill_(-3)
    free, drawn = G.train()(z, y), G.eval()(z, y)
    assert free.min() < -3
    assert torch.equal(drawn, free.clamp(-1, 1))
    assert (drawn == -1).float().mean() > 0.5
    (gradient,) = torch.autograd.grad(free[free < -1].sum(), G.to_pixels.get_parameter("bias"))
    assert gradient.item() == (free < -1).sum()


def test_a_seed_makes_the_same_pair_again() -> None:
    def made(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        G, D = Generator(8, 3, 1, 8, norm="cbn", attention=8), Discriminator(3, 1, 8, attention=8)
        images = G(torch.randn(4, 8), torch.arange(4) % 3)
        return [images, D(images, torch.arange(4) % 3)]

    for a, b, other in zip(made(0), made(0), made(1), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, other)


# -- attention ---------------------------------------------------------------------------------------------


def test_attention_by_slow_loops() -> None:
    torch.manual_seed(0)
    layer, x = SelfAttention(8), torch.randn(2, 8, 2, 3)
    assert torch.equal(layer(x), x)
    with torch.no_grad():
        layer.gamma.fill_(0.7)
    query, key, value, out = (m.weight[:, :, 0, 0] for m in (layer.query, layer.key, layer.value, layer.out))
    places = [(i, j) for i in range(2) for j in range(3)]
    expected = x.clone()
    for n in range(2):
        for i, j in places:
            scores = torch.stack([(query @ x[n, :, i, j]) @ (key @ x[n, :, k, m]) for k, m in places])
            share = scores.exp() / scores.exp().sum()
            mixed = sum(s * (value @ x[n, :, k, m]) for s, (k, m) in zip(share, places, strict=True))
            expected[n, :, i, j] += 0.7 * (out @ mixed)
    torch.testing.assert_close(layer(x), expected)
    assert (layer(x) - x).abs().max() > 0.01


@pytest.mark.parametrize("attention", [None, 4])
def test_penalties_have_the_derivative_that_they_have(attention: int | None) -> None:
    # R1 is minimised: its derivative by the weights, along a random direction, against differences
    torch.manual_seed(0)
    D = awake(Discriminator(3, 2, 8, widths=(6, 4), features=5, attention=attention)).double()
    images, y = torch.randn(3, 2, 8, 8, dtype=torch.float64), torch.arange(3)
    weights = list(D.parameters())
    direction = [torch.randn_like(p) for p in weights]

    def penalty() -> Tensor:
        x = images.requires_grad_()
        (gradient,) = torch.autograd.grad(D(x, y).sum(), x, create_graph=True)
        return gradient.square().sum()

    first = torch.autograd.grad(penalty(), weights, allow_unused=True)
    slope = sum((g * d).sum().item() for g, d in zip(first, direction, strict=True) if g is not None)
    ends = []
    for step in (1e-6, -2e-6):
        with torch.no_grad():
            for p, d in zip(weights, direction, strict=True):
                p.add_(d, alpha=step)
        ends.append(penalty().item())
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-3)
    assert abs(slope) > 1e-3
    # what the training takes
    x = images.float().requires_grad_()
    squared_gradient_norm(x, D.float()(x, y)).sum().backward()
    assert all(p.grad is not None for name, p in D.named_parameters() if name.startswith("blocks."))


@pytest.mark.parametrize("attention", [None, 8])
def test_logits_are_of_one_image_each(attention: int | None) -> None:
    torch.manual_seed(0)
    D = awake(Discriminator(3, 1, 8, widths=(6, 4), features=5, attention=attention))
    images = torch.randn(4, 1, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(D(images, torch.arange(4) % 3)[2], images)
    assert [int(g.count_nonzero()) > 0 for g in gradient] == [False, False, True, False]


# -- conditional batch normalisation -----------------------------------------------------------------------


def test_conditional_batch_norm_by_hand() -> None:
    torch.manual_seed(0)
    layer, x, label = ConditionalBatchNorm(2, 3), 3 * torch.randn(4, 2, 5, 5) + 1, torch.randn(4, 3)
    plain = F.batch_norm(x, None, None, training=True)
    torch.testing.assert_close(layer(x, label), plain)
    awake(layer)
    gain, bias = label @ layer.gain.weight.T, label @ layer.bias.weight.T
    for n in range(4):
        for c in range(2):
            expected = plain[n, c] * (1 + gain[n, c]) + bias[n, c]
            torch.testing.assert_close(layer(x, label)[n, c], expected)
    # running means are used for drawing: an image is its own
    layer.eval()
    torch.testing.assert_close(layer(x, label)[:1], layer(x[:1], label[:1]))


def test_labels_mix_through_conditional_norms() -> None:
    torch.manual_seed(0)
    G = awake(Generator(8, 3, 1, 8, widths=(8, 6), norm="cbn")).eval()
    assert can_mix_labels(G)
    z = torch.randn(3, 8)
    whole = F.one_hot(torch.arange(3), 3).float()
    torch.testing.assert_close(G(z, whole), G(z, torch.arange(3)))
    # The label reaches the images by the norms alone too.
    with torch.no_grad():
        G.stem.weight[:, 8:] = 0
    ends = G(z, torch.zeros(3, dtype=torch.int64)), G(z, torch.ones(3, dtype=torch.int64))
    half = G(z, torch.tensor([[0.5, 0.5, 0.0]]).expand(3, 3))
    assert all((half - end).abs().amax() > 0.01 for end in ends)
    assert (ends[0] - ends[1]).abs().amax() > 0.01


# -- files -------------------------------------------------------------------------------------------------


def snapshot(G: nn.Module, spec: dict[str, Any], resolution: int) -> Snapshot:
    facts = DatasetFacts("x", ("a", "b", "c"), 1, resolution, (5,) * 3)
    return Snapshot({}, facts, 8, G_SPEC | spec, dict(G.state_dict()), 1, 1, None, {})


def test_a_file_is_built_again() -> None:
    torch.manual_seed(0)
    spec = {"widths": [8, 6], "norm": "cbn", "attention": 8}
    G = awake(networks.build(G_SPEC | spec, trust_code=False, latent_dim=8, **FACTS))
    z, y = torch.randn(4, 8), torch.arange(4) % 3
    G.train()(z, y)
    assert torch.equal(snapshot(G, spec, 8).build()(z, y), G.eval()(z, y))
    with pytest.raises(UsageError, match="the weights do not fit"):
        snapshot(G, spec | {"attention": 4, "widths": [8, 8]}, 8).build()


def test_large_images_are_drawn_and_attention_without_bounds_is_not() -> None:
    with torch.device("meta"):
        wanted = (MICRO_BATCH, 3, 128, 128)
        networks.require_drawing(Generator(64, 10, 3, 128, norm="cbn", attention=32), 64, wanted)
        with pytest.raises(UsageError, match="numbers of a batch"):
            networks.require_drawing(Generator(64, 10, 3, 128, attention=128), 64, wanted)


def test_the_table_of_widths_is_what_the_option_says() -> None:
    text = (CONF / "resnet.yaml").read_text(encoding="utf-8")
    said = re.search(r"\[([\d, ]+)\] at 28", text)
    assert said is not None
    assert tuple(map(int, said[1].split(","))) == resnet.WIDTHS[len(resnet.pyramid(28)) - 1]
