from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ganctl.data import Source, load
from ganctl.data.stacked import draw, stack
from ganctl.errors import GanctlError
from ganctl.images import to_float
from ganctl.metrics import classifier
from ganctl.metrics.classifier_net import Classifier

BUNDLED = sorted(
    p.stem.removeprefix("classifier_") for p in classifier.ASSETS.glob("classifier_*.safetensors")
)
PREFIX = {"mnist": "digit", "digits": "digit", "fashion": "fashion"}


def write(path: Path, module: Classifier, **changes: Any) -> Path:
    facts: dict[str, Any] = {
        "dataset": "toy",
        "label_names": ("a", "b", "c"),
        "prefix": "toy",
        "accuracy": 0.5,
    }
    classifier.save(path, module, **(facts | changes))
    return path


@pytest.fixture
def toy() -> Classifier:
    torch.manual_seed(0)
    return Classifier(channels=1, resolution=8, num_classes=3, width=4).eval()


@pytest.mark.parametrize(("channels", "resolution"), [(1, 8), (1, 28), (3, 32), (3, 65)])
def test_shapes_at_any_resolution(channels: int, resolution: int) -> None:
    net = Classifier(channels, resolution, num_classes=7, width=4)
    logits, features = net(torch.zeros(2, channels, resolution, resolution))
    assert logits.shape == (2, 7)
    assert features.shape == (2, net.feature_dim) == (2, 8)
    assert features.min() >= 0


def test_the_last_maps_are_small_whatever_the_resolution() -> None:
    for resolution in (28, 32, 64, 128):
        net = Classifier(1, resolution, num_classes=2, width=4)
        assert net.stages(torch.zeros(1, 1, resolution, resolution)).shape[-1] in (7, 8)


def test_images_below_eight_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 8"):
        Classifier(1, 7, num_classes=2)


def test_folding_changes_nothing_but_the_layers() -> None:
    torch.manual_seed(0)
    net = Classifier(2, 16, num_classes=3, width=8, batch_norm=True)
    x = torch.randn(16, 2, 16, 16)
    for _ in range(5):  # statistics and weights that are not the initial ones
        net(x * 2 + 1)[0].square().mean().backward()
        with torch.no_grad():
            for p in net.parameters():
                assert p.grad is not None
                p.sub_(p.grad, alpha=0.1)
                p.grad = None
    folded = net.folded()
    net.eval()
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    for ours, original in zip(folded(x), net(x), strict=True):
        assert torch.allclose(ours, original, atol=1e-4)
        assert ours.std() > 1e-3


def test_a_file_brings_everything_back(tmp_path: Path, toy: Classifier) -> None:
    loaded = classifier.read(write(tmp_path / "c.safetensors", toy))
    assert (loaded.dataset, loaded.label_names, loaded.prefix) == ("toy", ("a", "b", "c"), "toy")
    assert (loaded.test_accuracy, loaded.feature_dim) == (0.5, 8)
    x = torch.rand(4, 1, 8, 8) * 2 - 1
    assert torch.allclose(loaded.module(x)[0], toy(x)[0], atol=1e-2)  # half precision in the file
    assert not loaded.module.training
    assert not any(p.requires_grad for p in loaded.module.parameters())
    assert all(p.dtype == torch.float32 for p in loaded.module.parameters())


def test_the_digest_is_the_files(tmp_path: Path, toy: Classifier) -> None:
    first = classifier.read(write(tmp_path / "a.safetensors", toy))
    again = classifier.read(write(tmp_path / "b.safetensors", toy))
    with torch.no_grad():
        toy.head.bias.add_(1)
    other = classifier.read(write(tmp_path / "c.safetensors", toy))
    assert first.digest == again.digest != other.digest
    assert len(first.digest) == 64


def test_damaged_files_are_named(tmp_path: Path, toy: Classifier) -> None:
    path = write(tmp_path / "c.safetensors", toy)
    content = path.read_bytes()
    for damaged in (
        b"",
        b"not weights",
        content[: len(content) // 2],
        content.replace(b"arguments", b"argumentz"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(GanctlError, match=r"c\.safetensors can't be read"):
            classifier.read(path)
    write(path, toy, label_names=("a", "b"))
    with pytest.raises(GanctlError, match="2 label names for 3 classes"):
        classifier.read(path)
    with pytest.raises(GanctlError, match="can't be read"):
        classifier.read(tmp_path / "absent.safetensors")


def test_a_damaged_asset_is_an_error_and_an_absent_one_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "ASSETS", tmp_path)
    assert classifier.load("mnist") is None
    assert classifier.load("stacked_mnist") is None
    (tmp_path / "classifier_mnist.safetensors").write_bytes(b"half a file")
    with pytest.raises(GanctlError, match="classifier_mnist"):
        classifier.load("mnist")


@pytest.mark.parametrize("name", sorted(PREFIX))
def test_bundled(name: str) -> None:
    path = classifier.ASSETS / f"classifier_{name}.safetensors"
    assert path.stat().st_size < 1_000_000
    loaded = classifier.load(name)
    assert loaded is not None
    assert (loaded.dataset, loaded.prefix) == (name, PREFIX[name])
    assert len(loaded.label_names) == 10
    assert loaded.test_accuracy > 0.93
    card = path.with_suffix(".md").read_text()
    assert loaded.digest in card
    assert f"{loaded.test_accuracy:.2%}" in card


def test_no_asset_goes_untested() -> None:
    assert set(BUNDLED) == set(PREFIX)


def test_the_digits_classifier_is_as_good_as_its_card_says() -> None:
    test = load(Source("digits")).test
    loaded = classifier.load("digits")
    assert loaded is not None
    predicted = loaded.module(to_float(test.images))[0].argmax(1)
    accuracy = (predicted == test.labels).float().mean().item()
    assert accuracy == pytest.approx(loaded.test_accuracy, abs=1e-3)


def test_modes_of_stacked_images_are_what_each_channel_shows() -> None:
    single = classifier.load("digits")
    assert single is not None
    modes = classifier.stacked(single, "stacked_digits")
    test = load(Source("digits")).test
    images = stack(test, draw(len(test), 600, seed=0))
    x = to_float(images.images)
    logits, features = modes.module(x)
    alone = [single.module(x[:, channel : channel + 1]) for channel in range(3)]
    assert logits.shape == (600, 1000)
    assert torch.equal(features, torch.cat([f for _, f in alone], dim=1))
    seen = logits.argmax(1)
    a, b, c = (channel_logits.argmax(1) for channel_logits, _ in alone)
    assert torch.equal(seen, 100 * a + 10 * b + c)
    right = (seen == images.labels).float().mean().item()
    assert right == pytest.approx(modes.test_accuracy, abs=0.03)
    assert modes.test_accuracy < single.test_accuracy
    p, q, r = (channel_logits.softmax(1) for channel_logits, _ in alone)
    joint = torch.einsum("na,nb,nc->nabc", p, q, r).flatten(1)
    assert torch.allclose(logits.softmax(1), joint, rtol=1e-4, atol=1e-8)


def test_the_classifier_of_stacked_mnist_is_that_of_mnist_on_three_channels() -> None:
    single, modes = classifier.load("mnist"), classifier.load("stacked_mnist")
    assert single is not None
    assert modes is not None
    assert (modes.dataset, modes.prefix, modes.digest) == ("stacked_mnist", "stacked", single.digest)
    assert (modes.module.channels, modes.module.resolution, modes.module.num_classes) == (3, 28, 1000)
    assert modes.feature_dim == 3 * single.feature_dim
    assert [modes.label_names[k] for k in (0, 7, 45, 999)] == ["000", "007", "045", "999"]
