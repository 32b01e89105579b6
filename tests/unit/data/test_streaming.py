"""Batches out of a file: the same as those of a set in memory, whatever happens to the iteration."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from ganctl import data, devices
from ganctl.data import module
from ganctl.data.batches import READ_AHEAD, Batch, Batches
from ganctl.data.dataset import Dataset, DatasetFacts, ImageSet, MappedImageSet
from ganctl.data.module import ImageData
from ganctl.errors import UsageError

NUM = 130  # images to train on


@pytest.fixture
def streamed(tmp_path: Path) -> MappedImageSet:
    """Random images: every third row of a file, backwards."""
    rows = np.random.default_rng(0).integers(0, 256, (400, 5, 5, 3), np.uint8)
    np.savez(tmp_path / "rows.npz", images=rows)
    (array,) = data.npz_file.npz.headers(tmp_path / "rows.npz").values()
    places = torch.arange(0, 390, 3).flip(0)
    assert len(places) == NUM
    mapped = torch.from_numpy(data.npz_file.npz.mapped(tmp_path / "rows.npz", array))
    return MappedImageSet(mapped, places, torch.arange(NUM))


@pytest.fixture
def resident(streamed: MappedImageSet, tmp_path: Path) -> ImageSet:
    """The same images, by another way: out of the whole array."""
    with np.load(tmp_path / "rows.npz") as arrays:
        chosen = arrays["images"][387::-3]
    return ImageSet(torch.from_numpy(chosen.transpose(0, 3, 1, 2).copy()), streamed.labels)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def assert_same(one: Iterator[Batch], other: Iterator[Batch]) -> int:
    """Bit for bit, and in memory alike, which decides how a network sums them up. Returns how many."""
    count = 0
    for (images, labels), (images2, labels2) in zip(one, other, strict=True):
        assert torch.equal(images, images2)
        assert images.stride() == images2.stride()
        assert torch.equal(labels, labels2)
        count += 1
    return count


def test_what_is_taken_is_what_lies_there(streamed: MappedImageSet, resident: ImageSet) -> None:
    assert torch.equal(streamed.images, resident.images)
    index = torch.tensor([129, 0, 7, 7])
    assert_same(iter([streamed.take(index)]), iter([resident.take(index)]))
    part = streamed.subset(index)
    assert not isinstance(part, MappedImageSet)
    assert torch.equal(part.images, resident.images[index])
    only = streamed.only(index)
    assert isinstance(only, MappedImageSet)
    assert torch.equal(only.images, part.images)
    assert torch.equal(only.labels, part.labels)
    assert streamed.num_bytes == resident.images.numel()


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("first", [0, 1, 13, 25])
def test_batches_are_those_of_a_resident_set(
    world_size: int, first: int, streamed: MappedImageSet, resident: ImageSet
) -> None:
    for rank in range(world_size):
        own, other = (
            Batches(s, 5, seed=4, rank=rank, world_size=world_size, first=first, until=27)
            for s in (streamed, resident)
        )
        counts = [assert_same(iter(own), iter(other)) for _ in range(3)]
        assert sum(counts) == 27 - first
    in_order = {"shuffle": False, "drop_last": False}
    own, other = (Batches(s, 50, seed=4, **in_order) for s in (streamed, resident))
    assert [assert_same(iter(own), iter(other)) for _ in range(2)] == [3, 3]


def test_batches_are_copies(streamed: MappedImageSet) -> None:
    before = streamed.images
    for images, _ in Batches(streamed, 10, seed=0):
        images.zero_()
    assert torch.equal(streamed.images, before)


@pytest.mark.parametrize("kind", ["streamed", "resident"])
def test_after_going_back_the_batches_are_those_of_that_place(
    kind: str, request: pytest.FixtureRequest
) -> None:
    images: ImageSet = request.getfixturevalue(kind)
    epochs = [Batches(images, 10, seed=1, first=13 * epoch) for epoch in range(3)]
    every = [labels.tolist() for epoch in epochs for _, labels in epoch]

    def numbers(batches: Iterator[Batch], n: int) -> list[list[int]]:
        return [labels.tolist() for _, labels in islice(batches, n)]

    for back in (26, 28, 20):  # the epoch's begin, this epoch, the epoch before
        batches = Batches(images, 10, seed=1, first=26)
        going = iter(batches)
        assert numbers(going, 6) == every[26:32]
        batches.go_to(back)
        # as many as were left, and then an iteration that ends with its epoch
        assert numbers(going, 100) == every[back : back + 7]
        assert numbers(iter(batches), 100) == every[back + 7 : (back + 7) // 13 * 13 + 13]
        # a batch in hand that is not trained on is the first of that place
        in_hand = next(iter(batches))
        batches.go_to(3)
        batches.refill(in_hand)
        assert in_hand[1].tolist() == every[3]
        assert torch.equal(in_hand[0], images.take(torch.tensor(every[3]))[0])
        assert numbers(iter(batches), 2) == every[4:6]


def test_no_more_than_a_few_batches_are_read_ahead(
    streamed: MappedImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    take = MappedImageSet.take
    monkeypatch.setattr(
        MappedImageSet, "take", lambda s, index: (taken.append(len(index)), take(s, index))[1]
    )
    batches = iter(Batches(streamed, 10, seed=0))
    for handed_out in range(1, 14):
        next(batches)
        assert handed_out <= len(taken) <= min(13, handed_out + READ_AHEAD - 1)
    assert next(batches, None) is None
    assert len(taken) == 13


@pytest.mark.parametrize("end", ["exhausted", "closed", "dropped"])
def test_the_thread_ends_with_the_iteration(end: str, streamed: MappedImageSet) -> None:
    batches = iter(Batches(streamed, 10, seed=0))
    next(batches)
    assert len(readers()) == 1
    if end == "exhausted":
        assert len(list(batches)) == 12
    elif end == "closed":
        batches.close()  # type: ignore[attr-defined]
    else:
        del batches
    assert readers() == []


def test_what_the_thread_cannot_read_reaches_the_trainer(
    streamed: MappedImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take(self: MappedImageSet, index: torch.Tensor) -> Batch:
        raise OSError("the disk is gone")

    batches = iter(Batches(streamed, 10, seed=0))
    next(batches)
    monkeypatch.setattr(MappedImageSet, "take", take)
    with pytest.raises(OSError, match="the disk is gone"):
        list(batches)
    assert readers() == []


@pytest.mark.parametrize(
    ("stream", "free", "processes", "expected"),
    [
        ("auto", 201, 1, False),
        ("auto", 199, 1, True),
        ("auto", 399, 2, True),
        ("auto", None, 1, False),
        (True, 10**9, 1, True),
        (False, 1, 1, False),
    ],
)
def test_auto_streams_what_takes_more_than_half_of_what_is_free(
    stream: module.Stream, free: int | None, processes: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "free_bytes", lambda device: free)
    assert module.streams(100, stream, torch.device("cpu"), processes) is expected


def test_free_memory_is_some_of_the_machines() -> None:
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    free = devices.free_bytes(torch.device("cpu"))
    assert free is not None
    assert 0 < free < total


class _Trainer:
    """Of Lightning's, what data asks for."""

    class strategy:  # noqa: N801
        root_device = torch.device("cpu")

    global_rank, world_size, num_devices, global_step = 0, 1, 1, 0


@pytest.fixture
def placed(
    streamed: MappedImageSet, resident: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> Callable[[module.Stream, int], ImageSet]:
    def placed(stream: module.Stream, free: int) -> ImageSet:
        monkeypatch.setattr(devices, "free_bytes", lambda device: free)
        facts = DatasetFacts("npz:a", (), 3, 5, ())
        dataset = Dataset(facts, streamed, resident, resident)
        whole = ImageData(dataset, 10, seed=0, stream=stream)
        whole.trainer = _Trainer()  # type: ignore[assignment]
        first, again = whole.train_dataloader(), whole.train_dataloader()
        assert first.image_set is again.image_set
        assert len(whole.val_dataloader()) == 13
        return first.image_set

    return placed


def test_a_set_is_streamed_or_read_once(
    placed: Callable[[module.Stream, int], ImageSet], streamed: MappedImageSet, resident: ImageSet
) -> None:
    for stream, free in (("auto", streamed.num_bytes), (True, 10**9)):
        assert placed(stream, free) is streamed  # type: ignore[arg-type]
    for stream, free in (("auto", 10**9), (False, 1)):
        read = placed(stream, free)  # type: ignore[arg-type]
        assert not isinstance(read, MappedImageSet)
        assert torch.equal(read.images, resident.images)
        assert torch.equal(read.labels, resident.labels)


def test_what_lies_in_no_file_cannot_stream(resident: ImageSet) -> None:
    facts = DatasetFacts("mnist", (), 3, 5, ())
    with pytest.raises(UsageError, match=r"data\.stream=true: mnist lies in no file"):
        ImageData(Dataset(facts, resident, resident, resident), 10, seed=0, stream=True)
