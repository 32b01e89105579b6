"""The Inception Score: Salimans et al. 2016, "Improved Techniques for Training GANs" (arXiv:1606.03498)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def inception_score(logits: Tensor, rng: np.random.RandomState, splits: int = 10) -> tuple[float, float]:
    """exp(E_x KL(p(y|x) ‖ p(y))) over `splits` equal parts of the shuffled images.

    `RandomState(2020)` and Inception's bias-free logits give torch-fidelity's number.

    Args:
        logits: (N, K) float.
        rng: shuffles the images; RandomState, because its streams never change between numpy versions.
        splits: number of parts, at most N.

    Returns:
        (mean, population standard deviation over the parts), each score in [1, K].

    Raises:
        ValueError: fewer images than parts.
    """
    n = len(logits)
    if not 1 <= splits <= n:
        raise ValueError(f"the score of {n} images can't be taken over {splits} parts")
    order = torch.from_numpy(rng.permutation(n)).to(logits.device)
    # float64 on the CPU: not every accelerator knows it.
    log_p = logits[order].cpu().double().log_softmax(dim=1)
    scores = []
    for i in range(splits):
        part = log_p[i * n // splits : (i + 1) * n // splits]
        # The log of the mean probability without leaving log space: no class underflows.
        log_marginal = part.logsumexp(dim=0) - np.log(len(part))
        divergence = (part.exp() * (part - log_marginal)).sum(dim=1)
        scores.append(float(divergence.mean().exp()))
    return float(np.mean(scores)), float(np.std(scores))
