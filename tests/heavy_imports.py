"""Packages that take long to import."""

from __future__ import annotations

HEAVY = (
    "torch",
    "torchvision",
    "pytorch_lightning",
    "lightning_fabric",
    "hydra",
    "omegaconf",
    "wandb",
    "numpy",
    "PIL",
    "matplotlib",
    "torchmetrics",
    "tqdm",
    "pydantic",
)
