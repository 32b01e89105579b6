"""Every row of the search can be run again."""

from __future__ import annotations

import pytest
import search
import torch

from ganctl import config, networks

pytestmark = pytest.mark.slow  # for all of it, which takes seconds


@pytest.mark.parametrize("row", sorted(search.ROWS))
def test_every_row_composes_and_its_networks_fit_each_other(row: str) -> None:
    cfg = config.compose(["+experiment=dcgan", *search.ROWS[row]])
    facts = {"num_classes": 10, "channels": 1, "resolution": 28}
    own = cfg.model.generator, cfg.model.discriminator
    G = networks.build(own[0], trust_code=True, latent_dim=cfg.model.latent_dim, **facts)
    D = networks.build(own[1], trust_code=True, **facts)
    y = torch.arange(4)
    images = G(torch.randn(4, cfg.model.latent_dim), y)
    assert images.shape == (4, 1, 28, 28)
    assert D(images, y).shape == (4,)


def test_no_two_rows_are_one_recipe() -> None:
    configs = [config.compose(["+experiment=dcgan", *own]).model_dump_json() for own in search.ROWS.values()]
    assert len(set(configs)) == len(configs)
