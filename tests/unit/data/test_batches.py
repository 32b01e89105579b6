"""Batches: every image once an epoch, no order twice, ranks apart, and what Lightning makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from ganctl import data
from ganctl.data.batches import Batches
from ganctl.data.dataset import Dataset, DatasetFacts, ImageSet
from ganctl.data.module import ImageData
from ganctl.errors import UsageError


def numbered(n: int) -> ImageSet:
    """Image k is filled with k, and its label is 1000 + k."""
    images = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 1, 2, 2).contiguous()
    return ImageSet(images, 1000 + torch.arange(n))


def numbers(batches: Iterable[tuple[Tensor, Tensor]]) -> list[int]:
    """The images' numbers, in the order they came; every image checked against its label."""
    seen = []
    for images, labels in batches:
        assert images.dtype == torch.uint8
        assert images.shape[1:] == (1, 2, 2)
        assert torch.equal(images[:, 0, 0, 0].long() + 1000, labels)
        seen += (labels - 1000).tolist()
    return seen


def test_epoch_has_every_image_once() -> None:
    batches = Batches(numbered(100), 10, seed=0)
    assert len(batches) == 10
    assert sorted(numbers(batches)) == list(range(100))


def test_epochs_and_seeds_differ_and_repeat() -> None:
    def epochs(seed: int) -> list[tuple[int, ...]]:
        batches = Batches(numbered(100), 10, seed=seed)
        return [tuple(numbers(batches)) for _ in range(4)]

    assert epochs(0) == epochs(0)
    # also across seeds: seed 1 must not begin with seed 0's second epoch
    assert len(set(epochs(0) + epochs(1) + epochs(2))) == 12


def test_order_depends_on_seed_and_epoch_alone() -> None:
    batches = Batches(numbered(100), 10, seed=3)
    expected = [numbers(batches) for _ in range(3)]
    torch.manual_seed(99)
    for epoch in (2, 0, 1):
        other = Batches(numbered(100), 25, seed=3, first=4 * epoch)
        assert numbers(other) == expected[epoch]


def test_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    numbers(Batches(numbered(10), 2, seed=0))
    assert torch.equal(torch.get_rng_state(), before)


def test_ranks_have_disjoint_equal_parts_of_one_order() -> None:
    for n, world_size in ((100, 4), (103, 4)):
        whole = numbers(Batches(numbered(n), 1, seed=0))
        ranks = [Batches(numbered(n), 5, seed=0, rank=r, world_size=world_size) for r in range(world_size)]
        parts = [numbers(batches) for batches in ranks]
        assert [len(batches) for batches in ranks] == [5] * 4
        assert [len(part) for part in parts] == [25] * 4
        together = [number for part in parts for number in part]
        assert len(set(together)) == 100
        assert set(together) == set(whole[:100])
        again = [numbers(batches) for batches in ranks]
        assert len(set(map(tuple, parts + again))) == 8


def test_last_batch_is_kept_or_dropped() -> None:
    kept = Batches(numbered(23), 10, seed=0, shuffle=False, drop_last=False)
    assert len(kept) == 3
    assert [len(labels) for _, labels in kept] == [10, 10, 3]
    assert numbers(kept) == list(range(23))
    assert numbers(kept) == list(range(23))
    dropped = Batches(numbered(23), 10, seed=0, shuffle=False)
    assert numbers(dropped) == list(range(20))


def test_too_large_a_batch_is_an_error_not_an_empty_epoch() -> None:
    with pytest.raises(UsageError, match="at most 5 per device"):
        Batches(numbered(10), 6, seed=0, world_size=2)
    with pytest.raises(UsageError, match="no batch"):
        Batches(numbered(10), 0, seed=0)
    assert len(Batches(numbered(10), 5, seed=0, world_size=2)) == 1


def test_batches_are_copies() -> None:
    image_set = numbered(10)
    for images, labels in Batches(image_set, 5, seed=0, shuffle=False):
        images.zero_()
        labels.zero_()
    assert torch.equal(image_set.images, numbered(10).images)
    assert torch.equal(image_set.labels, numbered(10).labels)


def test_unshuffled_iterations_begin_anew() -> None:
    batches = Batches(numbered(100), 10, seed=0, shuffle=False)
    assert numbers(islice(batches, 3)) == list(range(30))
    assert numbers(batches) == list(range(100))


@pytest.mark.parametrize("first", [0, 1, 9, 10, 11, 20, 25])
def test_an_iteration_ends_with_its_epoch(first: int) -> None:
    whole = Batches(numbered(100), 10, seed=0)
    order = [k for _ in range(3) for k in numbers(whole)]
    batches = Batches(numbered(100), 10, seed=0, first=first)
    end = first // 10 * 10 + 10
    assert len(batches) == end - first
    assert numbers(batches) == order[10 * first : 10 * end]
    assert len(batches) == 10


def test_an_iteration_goes_on_where_the_one_before_stopped() -> None:
    whole = numbers(Batches(numbered(100), 10, seed=0))
    batches = Batches(numbered(100), 10, seed=0)
    assert numbers(islice(batches, 3)) + numbers(batches) == whole


@pytest.mark.parametrize(("first", "until", "lengths"), [(0, 3, [3, 0]), (8, 13, [2, 3, 0]), (5, 5, [0])])
def test_batches_end_with_the_training(first: int, until: int, lengths: list[int]) -> None:
    batches = Batches(numbered(100), 10, seed=0, first=first, until=until)
    for length in lengths:
        assert len(batches) == length
        assert len(numbers(batches)) == 10 * length


class _Recorder(pl.LightningModule):
    """Manual optimisation of nothing, writing down what comes."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.epochs: list[list[int]] = []
        self.validated: list[int] = []

    def on_train_epoch_start(self) -> None:
        self.epochs.append([])

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.epochs[-1] += numbers([batch])
        optimizer = self.optimizers()
        assert isinstance(optimizer, pl.core.optimizer.LightningOptimizer)
        self.manual_backward(self.weight * 1.0)
        optimizer.step()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.validated += numbers([batch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _numbered_dataset(train: int = 40, val: int = 7) -> Dataset:
    facts = DatasetFacts("numbered", ("all",), channels=1, resolution=2, class_counts=(train,))
    return Dataset(facts, numbered(train), numbered(val), numbered(5))


def _fit(dataset: Dataset, steps: int, done: int = 0) -> _Recorder:
    """As `train` does it; `done` of the steps were trained in an earlier life."""
    model = _Recorder()
    trainer = pl.Trainer(
        max_epochs=-1,
        max_steps=steps,
        reload_dataloaders_every_n_epochs=1,
        limit_val_batches=1.0 if len(dataset.val) else 0,
        num_sanity_val_steps=0,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total.completed = done
    trainer.fit(model, ImageData(dataset, batch_per_device=10, seed=0, total_steps=steps))
    return model


# torch warns of Lightning's own use of torch's pytree
lightning = pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")


@lightning
def test_lightning_takes_them_and_every_epoch_is_new() -> None:
    model = _fit(_numbered_dataset(), steps=12)
    assert [sorted(epoch) for epoch in model.epochs] == [list(range(40))] * 3
    assert len(set(map(tuple, model.epochs))) == 3
    by_hand = Batches(numbered(40), 10, seed=0)
    assert model.epochs == [numbers(by_hand) for _ in range(3)]
    assert model.validated == list(range(7)) * 3


@lightning
@pytest.mark.parametrize("done", [1, 4, 5, 9])
def test_lightning_goes_on_with_the_next_batch(done: int) -> None:
    whole = [k for epoch in _fit(_numbered_dataset(), steps=10).epochs for k in epoch]
    rest = _fit(_numbered_dataset(), steps=10, done=done)
    assert [k for epoch in rest.epochs for k in epoch] == whole[10 * done :]
    # validated at the end of every epoch, the one cut short at the end included
    assert rest.validated == list(range(7)) * (3 - done // 4)


@lightning
def test_lightning_takes_a_set_without_validation() -> None:
    assert sum(map(len, _fit(_numbered_dataset(val=0), steps=12).epochs)) == 120


def test_split_lies_on_the_device_once() -> None:
    dataset = data.load(data.Source("digits"), val_size=100)

    class Strategy:
        root_device = torch.device("meta")

    class FakeTrainer:
        strategy = Strategy()
        global_rank = 1
        world_size = 2
        global_step = 75  # of 70 an epoch

    module = ImageData(dataset, batch_per_device=10, seed=5)
    module.trainer = FakeTrainer()  # type: ignore[assignment]
    train, again, test = module.train_dataloader(), module.train_dataloader(), module.test_dataloader()
    assert train.image_set.images.device.type == "meta"
    assert train.image_set is again.image_set
    assert (train.rank, train.world_size, train.seed) == (1, 2, 5)
    assert train.shuffle
    assert not test.shuffle
    assert len(train) == 1400 // 2 // 10 - 5
    assert len(test) == -(-(297 // 2) // 10)
