"""Label and seed expressions, and what the written files hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganctl import inputs, sample
from ganctl.data.dataset import DatasetFacts
from ganctl.errors import UsageError
from ganctl.networks.mlp import Generator
from ganctl.snapshot import Snapshot

DIGITS = tuple("0123456789")
CLOTHES = ("t-shirt", "trouser", "ankle-boot")


def snapshot_of(names: tuple[str, ...], channels: int, counts: tuple[int, ...]) -> Snapshot:
    """An untrained generator of 8 × 8 images; without names, of no labels."""
    torch.manual_seed(0)
    G = Generator(4, num_classes=len(names), channels=channels, resolution=8, widths=(16, 32))
    return Snapshot(
        config={},
        facts=DatasetFacts("x", names, channels, 8, counts),
        latent_dim=4,
        generator={"_target_": "ganctl.networks.mlp.Generator", "widths": [16, 32]},
        ema=dict(G.state_dict()),
        nimg=1,
        steps=1,
        wandb_id=None,
        versions={},
    )


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return snapshot_of(CLOTHES, 1, (5, 6, 7))


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("5", [5]),
        ("0-9", list(range(10))),
        ("1,3,5", [1, 3, 5]),
        ("all", list(range(10))),
        ("7-9, 1", [7, 8, 9, 1]),
        ("3,3", [3]),
    ],
)
def test_labels_are_read(text: str, labels: list[int]) -> None:
    assert sample.parse_labels(text, DIGITS) == labels


def test_without_an_expression_all_labels_are_meant_and_without_labels_there_is_one_set_of_images() -> None:
    assert sample.parse_labels(None, DIGITS) == list(range(10))
    assert len(sample.parse_labels(None, ())) == 1
    for text in ("0", "all", ""):
        with pytest.raises(UsageError, match="trained without labels"):
            sample.parse_labels(text, ())


def test_labels_have_names_even_with_a_dash() -> None:
    assert sample.parse_labels("ankle-boot,0", CLOTHES) == [2, 0]


@pytest.mark.parametrize(
    "text", ["12", "banana", "", "9-3", "0-12", "-1", "1,,2", "1.5", "²", "9" * 5000, "0-" + "9" * 5000]
)
def test_what_is_no_label_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="there is no label"):
        sample.parse_labels(text, DIGITS)


def test_a_misspelt_label_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean trouser"):
        sample.parse_labels("trowser", CLOTHES)


@pytest.mark.parametrize(("text", "seeds"), [("0,1,4-6", [0, 1, 4, 5, 6]), ("7", [7]), ("2-2", [2])])
def test_seeds_are_read(text: str, seeds: list[int]) -> None:
    assert sample.parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "6-4", "-1", str(2**63), "0-99999999999", "9" * 5000])
def test_what_is_no_seed_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="cannot read the seeds"):
        sample.parse_seeds(text)


@pytest.mark.parametrize("text", ["0-4294967295", "0-9999999,5", "5,0-4999999,0-4999999"])
def test_more_seeds_than_one_call_can_draw_are_refused_before_they_are_listed(text: str) -> None:
    with pytest.raises(UsageError, match="too many for one call"):
        sample.parse_seeds(text)


def test_more_images_than_one_call_can_draw_are_refused(snapshot: Snapshot) -> None:
    with pytest.raises(UsageError, match="10000002 images are too many"):
        sample.sample(snapshot, [0, 1, 2], range(3333334), torch.device("cpu"))


def test_the_batch_size_does_not_touch_the_pixels(snapshot: Snapshot) -> None:
    device = torch.device("cpu")
    pixels = [
        sample.sample(snapshot, [0, 2], range(70), device, batch_size=size) for size in (1, 33, 64, 1000)
    ]
    assert all(torch.equal(pixels[0], other) for other in pixels[1:])
    assert pixels[0].float().std() > 1  # not a constant picture


def test_an_image_does_not_depend_on_what_was_asked_for_with_it(snapshot: Snapshot) -> None:
    device = torch.device("cpu")
    many = sample.sample(snapshot, [0, 1, 2], range(100), device)
    alone = sample.sample(snapshot, [1], [42], device)
    assert torch.equal(many[100 + 42], alone[0])
    assert not torch.equal(many[42], alone[0])


def test_a_picture_says_where_it_comes_from(snapshot: Snapshot, tmp_path: Path) -> None:
    pixels = sample.sample(snapshot, [2], [3, 4], torch.device("cpu"))
    sample.write_singles(snapshot, pixels, [2], [3, 4], tmp_path)
    with Image.open(tmp_path / "ankle-boot_seed000004.png") as picture:
        assert picture.text["ganctl:label"] == "2"
        assert picture.text["ganctl:seed"] == "4"
        assert picture.text["ganctl:checkpoint"] == snapshot.digest
        assert np.array_equal(np.asarray(picture), pixels[1, 0].numpy())


def test_arrays_are_channels_last_with_labels_and_seeds(snapshot: Snapshot, tmp_path: Path) -> None:
    pixels = sample.sample(snapshot, [2, 0], [3, 4, 5], torch.device("cpu"))
    sample.write_npz(snapshot, pixels, [2, 0], [3, 4, 5], tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert arrays["images"].shape == (6, 8, 8, 1)
        assert arrays["images"].dtype == np.uint8
        assert arrays["labels"].tolist() == [2, 2, 2, 0, 0, 0]
        assert arrays["seeds"].tolist() == [3, 4, 5, 3, 4, 5]
        assert np.array_equal(arrays["images"][4, :, :, 0], pixels[4, 0].numpy())


def test_a_label_name_cannot_leave_the_folder(snapshot: Snapshot, tmp_path: Path) -> None:
    hostile = replace(snapshot, facts=replace(snapshot.facts, label_names=("../../up", "b", "c")))
    pixels = sample.sample(hostile, [0], [0], torch.device("cpu"))
    sample.write_singles(hostile, pixels, [0], [0], tmp_path / "in")
    assert len(list((tmp_path / "in").iterdir())) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_more_pixels_than_memory_are_refused_before_any_is_drawn(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "MAX_BYTES", 3 * 64)
    assert len(sample.sample(snapshot, [0], [0, 1, 2], torch.device("cpu"))) == 3
    monkeypatch.setattr(Snapshot, "build", lambda *args, **options: pytest.fail("it was built"))
    with pytest.raises(UsageError, match="4 images"):
        sample.sample(snapshot, [0, 1], [0, 1], torch.device("cpu"))


def test_labels_of_one_file_name_get_two_files(snapshot: Snapshot, tmp_path: Path) -> None:
    twins = replace(snapshot, facts=replace(snapshot.facts, label_names=("a b", "A_b", "-rf")))
    pixels = sample.sample(twins, [0, 1, 2], [0], torch.device("cpu"))
    sample.write_singles(twins, pixels, [0, 1, 2], [0], tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{y}_seed000000.png" for y in range(3)]


def test_no_file_name_is_an_option(snapshot: Snapshot, tmp_path: Path) -> None:
    hostile = replace(snapshot, facts=replace(snapshot.facts, label_names=("-rf", "--help", "-")))
    pixels = sample.sample(hostile, [0, 1, 2], [0], torch.device("cpu"))
    sample.write_singles(hostile, pixels, [0, 1, 2], [0], tmp_path)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["_-help_seed000000.png", "__seed000000.png", "_rf_seed000000.png"]


@pytest.fixture
def unconditional() -> Snapshot:
    return snapshot_of((), 3, ())


def test_files_of_an_unconditional_generator_claim_no_label(unconditional: Snapshot, tmp_path: Path) -> None:
    labels = sample.parse_labels(None, unconditional.facts.label_names)
    pixels = sample.sample(unconditional, labels, [3, 12], torch.device("cpu"))
    assert pixels.shape == (2, 3, 8, 8)
    assert not torch.equal(pixels[0], pixels[1])

    sample.write_singles(unconditional, pixels, labels, [3, 12], tmp_path / "singles")
    assert {p.name for p in (tmp_path / "singles").iterdir()} == {"seed000003.png", "seed000012.png"}
    sample.write_grid(unconditional, pixels, labels, [3, 12], tmp_path / "grid.png")
    for path, seeds in (("singles/seed000012.png", "12"), ("grid.png", "3,12")):
        with Image.open(tmp_path / path) as picture:
            assert set(picture.text) == {"ganctl:version", "ganctl:checkpoint", "ganctl:seed"}
            assert picture.text["ganctl:seed"] == seeds
    sample.write_npz(unconditional, pixels, labels, [3, 12], tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["images", "seeds"]

    for path in ("singles", "a.npz"):
        found = inputs.open_images(tmp_path / path)
        assert found.labels is None
        assert torch.equal(next(found.batches([1]))[0], pixels[1])
