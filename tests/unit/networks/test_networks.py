"""Generators and discriminators at many sizes, and how they are built from a specification."""

from __future__ import annotations

import copy
import importlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from ganctl import config, networks
from ganctl.errors import UsageError
from ganctl.networks import dcgan, mlp, resnet
from ganctl.networks.conditioning import ConcatLabel
from ganctl.networks.heads import ProjectionHead

FAMILIES = ["mlp", "dcgan", "resnet"]
NETS = ["generator", "discriminator"]
SIZE = {"num_classes": 10, "channels": 1, "resolution": 8}
CONF = Path(__file__).parents[3] / "conf" / "model"
LATENT_DIM = 10
# (channels, resolution, num_classes)
SHAPES = [
    (1, 28, 10),
    (3, 32, 10),
    (1, 8, 10),
    (3, 64, 3),
    (1, 29, 5),
    (1, 5, 2),
    (1, 3, 2),
    (3, 16, 1),
    (1, 28, 0),
    (3, 9, 0),
]


def pairs(shapes: list[tuple[int, int, int]]) -> pytest.MarkDecorator:
    """Families by shapes; `resnet` does not take every size."""
    cases = [(f, s) for f in FAMILIES for s in shapes if f != "resnet" or s[1] in resnet.SUPPORTED]
    return pytest.mark.parametrize(("family", "shape"), cases)


def pair(family: str, channels: int, resolution: int, num_classes: int) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    size: Any = {"num_classes": num_classes, "channels": channels, "resolution": resolution}
    if family == "mlp":
        return mlp.Generator(LATENT_DIM, **size, widths=(16, 24)), mlp.Discriminator(**size, width=24)
    if family == "resnet":
        widths = (8,) * len(resnet.pyramid(resolution))
        # Norms in G where there are labels, and attention at the smallest map.
        own: dict[str, Any] = {
            "norm": "cbn" if num_classes else "none",
            "attention": resnet.pyramid(resolution)[0],
        }
        pair = (
            resnet.Generator(LATENT_DIM, **size, widths=widths, **own),
            resnet.Discriminator(**size, widths=widths, features=16, attention=own["attention"]),
        )
        for p in (p for net in pair for p in net.parameters() if not p.any()):
            nn.init.normal_(p, std=0.1)  # what is zero at first would hide what is behind it
        with torch.no_grad():
            pair[0].to_pixels.weight *= 0.2  # away from black and white, where pixels are clamped
        return pair
    return dcgan.Generator(LATENT_DIM, **size, width=8), dcgan.Discriminator(**size, width=8, features=16)


def inputs(channels: int, resolution: int, num_classes: int, n: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """z, y, images."""
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(n, LATENT_DIM, generator=generator)
    y = torch.arange(n) % max(num_classes, 1)
    return z, y, torch.rand(n, channels, resolution, resolution, generator=generator) * 2 - 1


@pairs(SHAPES)
def test_shapes_and_ranges(family: str, shape: tuple[int, int, int]) -> None:
    channels, resolution, _ = shape
    G, D = pair(family, *shape)
    z, y, real = inputs(*shape)
    for training in (True, False):
        images = G.train(training)(z, y)
        assert images.shape == (6, channels, resolution, resolution)
        assert images.dtype == torch.float32
        assert images.abs().max() <= 1 or (family == "resnet" and training)
        assert images.flatten(1).std(1).min() > 1e-4
        for judged in (images, real):
            logits = D.train(training)(judged, y)
            assert logits.shape == (6,)
            assert logits.dtype == torch.float32
            assert logits.isfinite().all()
            assert logits.unique().numel() >= 5  # two may happen to be one float
    # one image alone has its batch dimension too
    assert G.eval()(z[:1], y[:1]).shape == (1, channels, resolution, resolution)
    assert D.eval()(real[:1], y[:1]).shape == (1,)


@pairs(SHAPES)
def test_generator_reaches_every_pixel_and_discriminator_sees_enough(
    family: str, shape: tuple[int, int, int]
) -> None:
    G, D = pair(family, *shape)
    z, y, real = inputs(*shape)
    # every pixel depends on z
    assert G.eval()(z, y).std(0).min() > 0
    real.requires_grad_()
    (gradient,) = torch.autograd.grad(D.eval()(real, y).sum(), real)
    # halving an odd map without padding it drops its last row: most pixels count, not always all
    assert float((gradient != 0).float().mean()) > 0.7


@pairs([s for s in SHAPES if s[2] > 1])
def test_label_changes_the_output(family: str, shape: tuple[int, int, int]) -> None:
    G, D = pair(family, *shape)
    z, y, real = inputs(*shape)
    G.eval()
    D.eval()
    other = (y + 1) % shape[2]
    images, logits = (G(z, y), G(z, other)), (D(real, y), D(real, other))
    assert (images[0] - images[1]).abs().flatten(1).amax(1).min() > 1e-4
    assert (logits[0] - logits[1]).abs().min() > 1e-5


@pairs([(1, 28, 0), (3, 9, 0)])
def test_without_classes_labels_are_ignored(family: str, shape: tuple[int, int, int]) -> None:
    G, D = pair(family, *shape)
    z, y, real = inputs(*shape)
    G.eval()
    D.eval()
    assert torch.equal(G(z, y), G(z, y + 7))
    assert torch.equal(D(real, y), D(real, y + 7))
    assert not any(isinstance(m, nn.Embedding) for net in (G, D) for m in net.modules())


@pairs([(1, 28, 10), (3, 32, 10), (1, 5, 2), (1, 29, 0)])
def test_logit_depends_on_its_own_image_alone(family: str, shape: tuple[int, int, int]) -> None:
    # Gradient penalties take the gradient of the sum of logits for every sample's own gradient.
    _, D = pair(family, *shape)
    _, y, real = inputs(*shape)
    real.requires_grad_()
    for i in (0, 3):
        (gradient,) = torch.autograd.grad(D.train()(real, y)[i], real)
        others = torch.arange(len(real)) != i
        assert int(gradient[others].count_nonzero()) == 0
        assert int(gradient[i].count_nonzero()) > 0


@pairs([(1, 28, 10), (3, 32, 10), (1, 29, 5), (1, 5, 2)])
def test_memory_format_changes_no_value(family: str, shape: tuple[int, int, int]) -> None:
    G, D = pair(family, *shape)
    z, y, real = inputs(*shape)
    drawing, judging = (copy.deepcopy(n).to(memory_format=torch.channels_last) for n in (G, D))
    torch.testing.assert_close(drawing(z, y), G(z, y), atol=1e-5, rtol=1e-4)
    D.eval()
    judging.eval()
    torch.testing.assert_close(
        judging(real.contiguous(memory_format=torch.channels_last), y), D(real, y), atol=1e-5, rtol=1e-4
    )


def test_discriminators_have_no_batch_normalisation() -> None:
    normalised = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
    for family in FAMILIES:
        _, D = pair(family, 1, 28, 10)
        assert not any(isinstance(m, normalised) for m in D.modules())


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_mlp_parameters_by_hand() -> None:
    # labels 10·10; 110 -> 128 -> 256 -> 512 -> 1024 -> 784, each with a bias; BatchNorm has two a unit
    layers = 111 * 128 + 129 * 256 + 257 * 512 + 513 * 1024 + 1025 * 784
    assert parameters(mlp.Generator(100, 10, 1, 28)) == 100 + layers + 2 * (256 + 512 + 1024)
    # labels 10·10; 794 -> 512 -> 512 -> 512 -> 1
    assert parameters(mlp.Discriminator(10, 1, 28)) == 100 + 795 * 512 + 2 * 513 * 512 + 513


def test_dcgan_parameters_by_hand() -> None:
    # labels 10·32 beside 64 numbers, to 64 maps of 4 × 4, 3 × 3 there, doubled to 64, 64, 32 maps, to pixels
    small = 10 * 32 + 97 * 64 * 16 + 2 * 64 + 64 * 64 * 9 + 2 * 64
    doublings = 2 * (64 * 64 * 16 + 2 * 64) + 64 * 32 * 16 + 2 * 32
    G = dcgan.Generator(64, 10, 3, 32, width=32)
    assert parameters(G) == small + doublings + 32 * 3 * 9 + 3
    # 16 maps at full size, halved to 32, 64 and 64, 3 × 3 there, 128 features, w, b and ten label vectors
    halvings = 3 * 16 * 9 + 16 + 16 * 32 * 16 + 32 + 32 * 64 * 16 + 64 + 64 * 64 * 16 + 64
    head = 64 * 64 * 9 + 64 + 64 * 16 * 128 + 128 + 128 + 1 + 10 * 128
    assert parameters(dcgan.Discriminator(10, 3, 32, width=32)) == halvings + head


def test_the_gain_reaches_black_and_white_and_one_is_tanh() -> None:
    torch.manual_seed(0)
    G = dcgan.Generator(8, 10, 1, 8, width=8, tanh_gain=1.0).eval()
    with torch.no_grad():
        G.blocks[-1].get_parameter("weight").mul_(30)
    z, y = torch.randn(16, 8), torch.arange(16) % 10
    plain = G(z, y)
    G.tanh_gain = 1.1
    stretched, saturated = G(z, y), plain.abs() > 10 / 11 + 1e-4
    assert 0 < saturated.float().mean() < 1
    assert (stretched[saturated].abs() == 1).all()
    torch.testing.assert_close(stretched[~saturated], (1.1 * plain[~saturated]).clamp(-1, 1))


def test_full_size_maps_can_be_left_out() -> None:
    with_maps, without = (dcgan.Discriminator(10, 1, 28, full_size_maps=n) for n in (16, 0))
    # the first halving reads 16 maps instead of one image
    assert parameters(with_maps) - parameters(without) == 9 * 16 + 16 + 15 * 32 * 16


@pytest.mark.parametrize("module", [mlp, dcgan, resnet])
def test_parameters_are_what_the_module_says(module: ModuleType) -> None:
    # "1.5 M parameters in G and 0.9 M in D at 28 × 28 grey", right to the last digit
    stated = re.findall(r"([\d.]+) M\b", module.__doc__ or "")
    assert len(stated) == 2
    latent_dim = {mlp: 100, dcgan: 64, resnet: 64}[module]
    nets = module.Generator(latent_dim, 10, 1, 28), module.Discriminator(10, 1, 28)
    for net, number in zip(nets, stated, strict=True):
        assert f"{parameters(net) / 1e6:.{len(number.partition('.')[2])}f}" == number


@pytest.mark.parametrize("family", FAMILIES)
def test_shipped_sizes_are_the_defaults(family: str) -> None:
    # so that what the module says holds for both
    model = yaml.safe_load((CONF / f"{family}.yaml").read_text(encoding="utf-8"))
    for kind in NETS:
        facts = SIZE | ({"latent_dim": model["latent_dim"]} if kind == "generator" else {})
        shipped = networks.build(model[kind], trust_code=False, **facts)
        default = networks.build({"_target_": model[kind]["_target_"]}, trust_code=False, **facts)
        assert [p.shape for p in shipped.parameters()] == [p.shape for p in default.parameters()]


def test_pyramid_does_what_its_examples_say() -> None:
    examples = re.findall(r"(\d+) -> \((\d+), (\d+)\)", dcgan.pyramid.__doc__ or "")
    assert len(examples) >= 4
    for resolution, halvings, size in examples:
        assert dcgan.pyramid(int(resolution)) == (int(halvings), int(size)), resolution


def test_pyramid_covers_the_image() -> None:
    for resolution in range(1, 130):
        halvings, size = dcgan.pyramid(resolution)
        # the smallest map is not one row larger than it has to be
        assert 0 <= size * 2**halvings - resolution < 2**halvings
        assert size >= min(resolution, 4)


def test_pyramid_by_hand() -> None:
    found = [dcgan.pyramid(resolution) for resolution in (4, 5, 8, 16, 32, 64)]
    assert found == [(0, 4), (0, 5), (1, 4), (2, 4), (3, 4), (4, 4)]


# -- conditioning ------------------------------------------------------------------------------------------


def test_projection_head_by_hand() -> None:
    head = ProjectionHead(2, num_classes=3)
    assert head.embedding is not None
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[1.0, 2.0]]))
        head.linear.bias.fill_(0.5)
        head.embedding.weight.copy_(torch.tensor([[0.0, 0.0], [3.0, -1.0], [-2.0, 5.0]]))
    h = torch.tensor([[2.0, 1.0], [2.0, 1.0], [2.0, 1.0], [-1.0, 4.0]])
    # w·h + b = 4.5, 4.5, 4.5, 7.5; e(y)·h = 0, 6 - 1, -4 + 5, -3 - 4
    assert head(h, torch.tensor([0, 1, 2, 1])).tolist() == [4.5, 9.5, 5.5, 0.5]


def test_projection_head_without_classes_is_linear() -> None:
    head = ProjectionHead(2, num_classes=0)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[1.0, 2.0]]))
        head.linear.bias.fill_(0.5)
    assert head(torch.tensor([[2.0, 1.0], [0.0, 0.0]]), torch.tensor([5, -1])).tolist() == [4.5, 0.5]


@pytest.mark.parametrize("features", [16, 256, 1024])
def test_label_term_starts_at_unit_variance(features: int) -> None:
    torch.manual_seed(0)
    head = ProjectionHead(features, num_classes=2000)
    assert head.embedding is not None
    # e(y)·h for features of size one
    projections = head.embedding.weight.detach().sum(1)
    assert float(projections.std()) == pytest.approx(1.0, abs=0.07)


def test_concat_label_by_hand() -> None:
    label = ConcatLabel(2, num_classes=3, embedding_dim=1)
    assert label.out_features == 3
    assert label.embedding is not None
    with torch.no_grad():
        label.embedding.weight.copy_(torch.tensor([[10.0], [20.0], [30.0]]))
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert label(x, torch.tensor([2, 0])).tolist() == [[1.0, 2.0, 30.0], [3.0, 4.0, 10.0]]
    # the label's vector takes the input's precision
    assert label(x.bfloat16(), torch.tensor([2, 0])).dtype == torch.bfloat16


def test_concat_label_without_classes_passes_its_input() -> None:
    label = ConcatLabel(2, num_classes=0, embedding_dim=5)
    x = torch.tensor([[1.0, 2.0]])
    assert label.out_features == 2
    assert label(x, torch.tensor([9])) is x
    assert parameters(label) == 0


@pytest.mark.parametrize(("resolution", "channels"), [(28, 1), (32, 3), (64, 3)])
@pytest.mark.parametrize("option", sorted(path.stem for path in CONF.glob("*.yaml")))
def test_every_shipped_model_composes_and_builds(option: str, resolution: int, channels: int) -> None:
    model = config.compose([f"model={option}"]).model
    facts = {"num_classes": 10, "channels": channels, "resolution": resolution}
    with torch.device("meta"):
        G = networks.build(model.generator, trust_code=False, latent_dim=model.latent_dim, **facts)
        D = networks.build(model.discriminator, trust_code=False, **facts)
        networks.require_drawing(G, model.latent_dim, (5, channels, resolution, resolution))
        images = torch.empty(5, channels, resolution, resolution)
        assert D(images, torch.zeros(5, dtype=torch.int64)).shape == (5,)


# -- build -------------------------------------------------------------------------------------------------

GENERATOR = "ganctl.networks.dcgan.Generator"


def test_build_hands_over_facts_and_own_arguments() -> None:
    G = networks.build({"_target_": GENERATOR, "width": 4}, trust_code=False, latent_dim=6, **SIZE)
    assert type(G) is dcgan.Generator
    # the last convolution goes from `width` maps to pixels
    assert [m.weight.shape[:2] for m in G.modules() if isinstance(m, nn.Conv2d)][-1] == (1, 4)
    spec = {"_target_": "ganctl.networks.mlp.Generator", "widths": [5, 7]}
    layers = networks.build(spec, trust_code=False, latent_dim=6, **SIZE).modules()
    assert [m.out_features for m in layers if isinstance(m, nn.Linear)] == [5, 7, 64]
    assert spec == {"_target_": "ganctl.networks.mlp.Generator", "widths": [5, 7]}


@pytest.mark.parametrize(
    "target",
    [
        "ganctl.networks.dcgan.Generatr",
        "ganctl.networks.nowhere.Generator",
        "ganctl.networks.dcgan.nn.Linear",
        "ganctl.networks.dcgan.nn",  # a module
        "ganctl.networks.dcgan.pyramid",  # a function
        "ganctl.networks.dcgan.",
    ],
)
@pytest.mark.parametrize("trust_code", [False, True])
def test_build_names_a_class_it_cannot_use(target: str, trust_code: bool) -> None:
    with pytest.raises(UsageError, match=re.escape(target)) as caught:
        networks.build({"_target_": target}, trust_code=trust_code, latent_dim=6, **SIZE)
    ours_by_form = re.search(r"\.[a-z]+\.[A-Z]\w*$", target) and ".nn." not in target
    assert ("_target_" if trust_code or ours_by_form else "--trust-code") in caught.value.fix


@pytest.mark.parametrize(
    "target",
    [
        "ganctl.networks.dcgan.ConcatLabel",  # a network, but of another module
        "ganctl.networks.dcgan.nn.Sequential",
        "ganctl.networks.dcgan.itertools.count",
        "ganctl.networks.importlib",
        "ganctl.networks.dcgan.Generator.__init__",
        "ganctl.metrics.classifier.Classifier",
        "ganctl.train.train",
        "ganctl.networks.dcgan.Generator\n",
        "this.Generator",
    ],
)
def test_build_imports_networks_of_its_own_modules_only(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []
    found = importlib.import_module

    def note(name: str) -> ModuleType:
        imported.append(name)
        return found(name)

    monkeypatch.setattr(importlib, "import_module", note)
    with pytest.raises(UsageError, match="not part of ganctl"):
        networks.build({"_target_": target}, trust_code=False, latent_dim=6, **SIZE)
    assert set(imported) <= {"ganctl.networks.dcgan"}


@pytest.mark.parametrize(
    "own", [{"width": 2**62}, {"width": 10**30}, {"width": {}}, {"widths": 5}, {"self": 1}]
)
def test_build_refuses_arguments_whatever_they_raise(own: dict[str, Any]) -> None:
    family = "mlp" if "widths" in own else "dcgan"
    spec = {"_target_": f"ganctl.networks.{family}.Generator", **own}
    with torch.device("meta"), pytest.raises(UsageError, match="cannot build") as caught:
        networks.build(spec, trust_code=False, latent_dim=6, **SIZE)
    assert "\n" not in caught.value.what


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"_target_": ""},
        {"_target_": None},
        {"_target_": "Generator"},
        {"_target_": ".dcgan.Generator"},
        {"_target_": "ganctl..networks.dcgan.Generator"},
        {"_target_": "math.sqrt"},
        {"_target_": "no_such_package_anywhere.Net"},
    ],
)
@pytest.mark.parametrize("trust_code", [False, True])
def test_build_refuses_what_is_no_network(spec: dict[str, Any], trust_code: bool) -> None:
    with pytest.raises(UsageError) as caught:
        networks.build(spec, trust_code=trust_code, **SIZE)
    assert caught.value.fix


@pytest.mark.parametrize(
    "own",
    [
        {"widht": 4},
        {"width": "wide"},
        {"width": -1},
        {"num_classes": 3},  # a fact of the data, not an argument of one's own
    ],
)
def test_build_refuses_wrong_arguments(own: Mapping[str, Any]) -> None:
    with pytest.raises(UsageError, match=re.escape(GENERATOR)) as caught:
        networks.build({"_target_": GENERATOR, **own}, trust_code=False, latent_dim=6, **SIZE)
    assert "arguments" in caught.value.fix


def test_build_refuses_a_generator_without_layers() -> None:
    with pytest.raises(UsageError):
        networks.build(
            {"_target_": "ganctl.networks.mlp.Generator", "widths": []},
            trust_code=False,
            latent_dim=6,
            **SIZE,
        )


FOREIGN = """
import pathlib
import torch

pathlib.Path(__file__).with_suffix(".imported").touch()


class Net(torch.nn.Linear):
    def __init__(self, num_classes, channels, resolution, extra):
        super().__init__(channels * resolution**2, extra)
"""


@pytest.mark.parametrize("name", ["foreign_networks", "ganctl_networks", "ganctlx"])
def test_foreign_code_runs_only_when_trusted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{name}.py").write_text(FOREIGN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    spec = {"_target_": f"{name}.Net", "extra": 3}
    with pytest.raises(UsageError, match=name) as caught:
        networks.build(spec, trust_code=False, **SIZE)
    assert "--trust-code" in caught.value.fix
    assert name not in sys.modules
    assert not (tmp_path / f"{name}.imported").exists()

    try:
        net = networks.build(spec, trust_code=True, **SIZE)
        assert (tmp_path / f"{name}.imported").exists()
        assert isinstance(net, nn.Linear)
        assert tuple(net.weight.shape) == (3, 64)
    finally:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "target",
    ["os.system", "builtins.eval", "torch.nn.Linear", "ganctl.train.train", "ganctl.networks_of_others.Net"],
)
def test_only_networks_of_ganctl_are_trusted(target: str) -> None:
    with pytest.raises(UsageError, match="run code from elsewhere"):
        networks.build({"_target_": target}, trust_code=False, in_features=1, out_features=1)


def test_what_a_specification_leaves_out_is_as_its_class_has_it() -> None:
    spec = {"_target_": "ganctl.networks.dcgan.Discriminator", "width": 4}
    assert networks.with_defaults(spec) == {
        **spec,
        "features": 128,
        "full_size_maps": 16,
        "head": "projection",
    }
    # as a configuration would have it
    assert networks.with_defaults({"_target_": "ganctl.networks.mlp.Generator"})["widths"] == [
        128,
        256,
        512,
        1024,
    ]
    for target in ("os.system", "ganctl.networks.nowhere.Net", "ganctl.networks.dcgan.Generatr", None):
        assert networks.with_defaults({"_target_": target, "a": 1}) == {"_target_": target, "a": 1}
