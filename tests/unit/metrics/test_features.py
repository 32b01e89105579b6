from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from inception import random_inception_weights
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from ganctl.errors import GanctlError, UsageError
from ganctl.metrics.classifier import LoadedClassifier
from ganctl.metrics.classifier_net import Classifier
from ganctl.metrics.features import ClassifierExtractor, InceptionExtractor
from ganctl.metrics.inception_weights import InceptionWeights

IMAGES = torch.randint(0, 256, (2, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> InceptionWeights:
    """Random ones, as if they had been verified; also in a file, for torch-fidelity."""
    state = random_inception_weights()
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(state, path)
    return InceptionWeights(path, "f00d", has_fc=True, state_dict=state)


@pytest.fixture(scope="module")
def inception(weights: InceptionWeights) -> InceptionExtractor:
    return InceptionExtractor(weights)


@pytest.mark.slow
def test_inception_equals_torch_fidelity(weights: InceptionWeights, inception: InceptionExtractor) -> None:
    theirs = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights.path)
    )
    features, logits = theirs(IMAGES)
    ours = inception(IMAGES)
    assert ours.features.shape == (2, inception.feature_dim)
    assert ours.logits is not None
    assert torch.allclose(ours.features, features, rtol=1e-4, atol=1e-5 * features.abs().max().item())
    assert torch.allclose(ours.logits, logits, rtol=1e-4, atol=1e-5 * logits.abs().max().item())
    # Two images, two answers: equality above is not that of constants.
    assert (features[0] - features[1]).abs().max() > 0.01 * features.abs().max()
    assert not ours.features.requires_grad
    assert ours.features.is_inference()


class _ReachedError(Exception):
    """Enough of the network was run."""


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", [28, 32, 64, 128, 299, 300])
def test_inception_sees_tensorflows_resize_at_any_size(
    inception: InceptionExtractor, channels: int, resolution: int
) -> None:
    """TensorFlow 1's bilinear resize, up as well as down, written out: the place x of the output is at
    x·R/299 of the input, between its neighbours; then (v - 128) / 128."""
    g = np.random.RandomState(resolution)
    images = g.randint(0, 256, (2, channels, resolution, resolution), dtype=np.uint8)
    seen: list[torch.Tensor] = []

    def stop(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        seen.append(args[0])
        raise _ReachedError

    hook = inception._module.get_submodule("Conv2d_1a_3x3").register_forward_pre_hook(stop)
    with contextlib.suppress(_ReachedError):
        inception(torch.from_numpy(images))
    hook.remove()
    at = np.arange(299) * (resolution / 299)
    low = np.floor(at).astype(int)
    high, share = np.minimum(low + 1, resolution - 1), at - low
    x = images.astype(np.float64)
    rows = x[:, :, low] * (1 - share)[:, None] + x[:, :, high] * share[:, None]
    wanted = (rows[..., low] * (1 - share) + rows[..., high] * share - 128) / 128
    assert seen[0].shape == (2, 3, 299, 299)
    for channel in range(3):
        np.testing.assert_allclose(
            seen[0][:, channel].numpy(), wanted[:, channel if channels == 3 else 0], atol=2e-4
        )


def test_grayscale_is_repeated(inception: InceptionExtractor) -> None:
    gray = IMAGES[:, :1]
    assert torch.equal(inception(gray).features, inception(gray.repeat(1, 3, 1, 1)).features)


def test_building_leaves_weights_and_random_stream_alone(weights: InceptionWeights) -> None:
    state, before = torch.get_rng_state(), {k: w.clone() for k, w in weights.state_dict.items()}
    extractor = InceptionExtractor(weights)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(w, before[k]) for k, w in weights.state_dict.items())
    assert extractor.digest == "f00d"


def test_without_a_last_layer_there_are_no_logits(
    weights: InceptionWeights, inception: InceptionExtractor
) -> None:
    state = weights.state_dict | {"fc.weight": torch.zeros_like(weights.state_dict["fc.weight"])}
    extractor = InceptionExtractor(replace(weights, has_fc=False, state_dict=state))
    assert (extractor.has_logits, inception.has_logits) == (False, True)
    seen = extractor(IMAGES[:1])
    assert seen.logits is None
    assert torch.equal(seen.features, inception(IMAGES[:1]).features)


def test_weights_of_another_network_are_refused(weights: InceptionWeights) -> None:
    other = replace(weights, state_dict={"fc.weight": torch.zeros(1008, 2048)})
    with pytest.raises(GanctlError, match="does not take the weights"):
        InceptionExtractor(other)


def test_inception_refuses_what_is_not_uint8_images(inception: InceptionExtractor) -> None:
    with pytest.raises(TypeError, match="uint8"):
        inception(IMAGES.float())
    with pytest.raises(UsageError, match="1 or 3 channels"):
        inception(IMAGES[:, :2])


@pytest.fixture
def loaded() -> LoadedClassifier:
    torch.manual_seed(0)
    module = Classifier(1, 8, num_classes=3, width=4).eval().requires_grad_(False)
    return LoadedClassifier(module, "toy", ("a", "b", "c"), "toy", 0.5, module.feature_dim, "f00d")


def test_classifier_sees_minus_one_to_one(loaded: LoadedClassifier) -> None:
    extractor = ClassifierExtractor(loaded)
    assert (extractor.name, extractor.digest, extractor.feature_dim) == ("classifier_toy", "f00d", 8)
    black, white = (
        torch.zeros(1, 1, 8, 8, dtype=torch.uint8),
        torch.full((1, 1, 8, 8), 255, dtype=torch.uint8),
    )
    out = extractor(torch.cat([black, white]))
    logits, features = loaded.module(torch.cat([-torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8)]))
    assert out.logits is not None
    assert torch.allclose(out.logits, logits, atol=1e-6)
    assert torch.allclose(out.features, features, atol=1e-6)
    assert not torch.allclose(features[0], features[1])


def test_classifier_refuses_other_images(loaded: LoadedClassifier) -> None:
    extractor = ClassifierExtractor(loaded)
    with pytest.raises(UsageError, match="1 × 8 × 8 images, these are 3 × 8 × 8"):
        extractor(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(TypeError, match="uint8"):
        extractor(torch.zeros(1, 1, 8, 8))
