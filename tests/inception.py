"""The FID Inception with random weights: its arithmetic, without its file."""

from __future__ import annotations

import io

import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3


class Blank(FeatureExtractorInceptionV3):
    """As its constructor leaves it before it loads weights."""

    def load_state_dict(self, *_: object) -> None:
        pass


def random_inception_weights() -> dict[str, torch.Tensor]:
    """The shapes of the FID Inception, drawn so that activations neither die nor explode."""
    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    with torch.device("meta"):
        shapes = Blank("shapes", ["2048"], feature_extractor_weights_path=empty).state_dict()
    g = torch.Generator().manual_seed(0)
    weights = {}
    for name, meta in shapes.items():
        if name.endswith(("running_var", "bn.weight")):
            weights[name] = 0.5 + torch.rand(meta.shape, generator=g)
        elif meta.dtype == torch.int64:
            weights[name] = torch.zeros((), dtype=torch.int64)
        else:
            fan_in = max(1, meta[0].numel()) if meta.dim() > 1 else 100
            weights[name] = torch.randn(meta.shape, generator=g) * (2 / fan_in) ** 0.5
    return weights
