"""What is asked for becomes a picture that says how it was made."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from small_generator import CPU, snapshot_of

from ganctl import generate, images, sample
from ganctl.errors import UsageError
from ganctl.expressions import Point
from ganctl.generator import Generator
from ganctl.sample import Layout, Product, Way, grid_of


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator(snapshot_of(), CPU)


def test_more_images_than_one_call_can_draw_are_refused() -> None:
    Product([0, 1], range(5_000_000))
    with pytest.raises(UsageError, match="10000002 images are too many"):
        Product([0, 1, 2], range(3333334))


@pytest.mark.parametrize("frames", [-1, 0, 1, 10_001])
def test_too_few_or_too_many_frames_are_refused(frames: int) -> None:
    Way(Point(0, 0), Point(1, 0), 2)
    with pytest.raises(UsageError, match="2 to 10000"):
        Way(Point(0, 0), Point(1, 0), frames)


@pytest.mark.parametrize("psi", [0.0, 1.5, float("nan")])
def test_a_truncation_that_is_none_is_refused(psi: float) -> None:
    with pytest.raises(UsageError, match="truncation"):
        Product([0], [0], psi)
    with pytest.raises(UsageError, match="truncation"):
        Way(Point(0, 0), Point(1, 0), 2, psi)


def test_the_batch_size_does_not_touch_the_pixels(generator: Generator) -> None:
    asked = Product([0, 2], range(70))
    pixels = [sample.pixels(generator, asked, size) for size in (1, 33, 64, 1000)]
    assert all(torch.equal(pixels[0], other) for other in pixels[1:])
    assert pixels[0].float().std() > 1  # not a constant picture


def test_an_image_does_not_depend_on_what_was_asked_for_with_it(generator: Generator) -> None:
    many = sample.pixels(generator, Product([0, 1, 2], range(100)))
    alone = sample.pixels(generator, Product([1], [42]))
    assert torch.equal(many[100 + 42], alone[0])
    assert not torch.equal(many[42], alone[0])


def test_truncation_multiplies_the_latents(generator: Generator) -> None:
    """Of a network of its own, by hand."""
    whole, half, tiny = (sample.pixels(generator, Product([1], [3], psi))[0] for psi in (1.0, 0.5, 1e-9))
    z = torch.randn(4, generator=torch.Generator().manual_seed(3))
    for psi, drawn in ((0.5, half), (1e-9, tiny)):
        with torch.no_grad():
            expected = (generator.network(psi * z[None], torch.tensor([1]))[0] + 1) * 127.5
        assert (drawn - expected).abs().max() <= 1
    assert not torch.equal(whole, half)
    other = sample.pixels(generator, Product([1], [4], 1e-9))[0]
    assert torch.equal(tiny, other), "without a latent all images of a label are one"


def test_a_grid_has_a_row_for_each_label_or_is_a_square() -> None:
    assert grid_of(Product([4, 5], range(7))).columns == 7
    assert grid_of(Product([4], range(7))).columns == 3
    assert grid_of(Product([4], [9])).columns == 1
    assert grid_of(Way(Point(0, 0), Point(1, 1), 12)).columns == 12


WAY = Way(Point(0, 3), Point(2, 4), 5)


@pytest.mark.parametrize(
    ("asked", "layout"),
    [
        (Product([2], [5]), Layout()),
        (Product([0, 2], [3, 4, 9]), Layout(3)),
        (Product([0, 2], [3, 4, 9]), Layout(3, captions=True, scale=2)),
        (Product([1], range(7)), Layout(3, captions=True)),
        (WAY, Layout(5, scale=3)),
    ],
)
def test_the_size_of_a_picture_is_known_before_it_is_drawn(
    generator: Generator, asked: Product | Way, layout: Layout
) -> None:
    picture = sample.picture(generator.snapshot, asked, layout, sample.pixels(generator, asked))
    shape = sample.shape_of(generator.snapshot, asked, layout)
    assert (shape.width, shape.height) == picture.size
    assert picture.mode == "L"


def test_a_grid_is_the_images_enlarged_with_names_on_the_left(generator: Generator) -> None:
    asked, layout = Product([0, 2], [3, 4]), Layout(2, captions=True, scale=4)
    drawn = sample.pixels(generator, asked)
    page = np.asarray(sample.picture(generator.snapshot, asked, layout, drawn))
    sheet = np.asarray(images.to_pil(images.grid(drawn, 2)))
    assert page.shape[0] == 4 * sheet.shape[0]
    band = page.shape[1] - 4 * sheet.shape[1]
    assert np.array_equal(page[1::4, band + 2 :: 4], sheet)
    upper, lower = page[: len(page) // 2, :band], page[len(page) // 2 :, :band]
    both = all((row.max(), row.min() < 100) == (255, True) for row in (upper, lower))
    assert both, "black on white, in both rows"
    assert not np.array_equal(upper, lower)


def test_more_pixels_than_memory_are_refused_before_any_is_drawn(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = generator.snapshot
    monkeypatch.setattr(sample, "MAX_BYTES", 300)
    two, three = Product([0], [0, 1]), Product([0], [0, 1, 2])
    sample.shape_of(snapshot, two, Layout(2))
    with pytest.raises(UsageError, match="3 images"):
        sample.shape_of(snapshot, three, Layout(3))
    with pytest.raises(UsageError, match="2 images"):
        sample.shape_of(snapshot, two, Layout(2, scale=2))


def test_a_picture_says_how_to_draw_it_again(generator: Generator) -> None:
    said = sample.provenance(generator, Product([0, 2], range(3), 0.5), Layout(3, captions=True, scale=2))
    made = {key: said.pop(f"ganctl:{key}") for key in ("version", "precision", "device", "torch")}
    assert said == {
        "ganctl:checkpoint": generator.digest,
        "ganctl:label": "0,2",
        "ganctl:seed": "0-2",
        "ganctl:truncation": "0.5",
        "ganctl:columns": "3",
        "ganctl:scale": "2",
        "ganctl:captions": "rows",
    }
    assert made["precision"] == "float32"
    assert made["device"].startswith("cpu")
    assert made["torch"] == torch.__version__
    said = sample.provenance(generator, WAY, Layout(5))
    assert (said["ganctl:interpolate"], said["ganctl:frames"]) == ("0:3 2:4", "5")
    assert not {"ganctl:label", "ganctl:seed"} & said.keys()


def test_pictures_of_an_unconditional_generator_claim_no_label() -> None:
    generator = Generator(snapshot_of((), channels=3), CPU)
    asked = Product([0], [3, 12])
    drawn = sample.pixels(generator, asked)
    assert drawn.shape == (2, 3, 8, 8)
    assert not torch.equal(drawn[0], drawn[1])
    said = sample.provenance(generator, asked, Layout(2))
    assert "ganctl:label" not in said
    assert said["ganctl:seed"] == "3,12"
    assert sample.provenance(generator, WAY, Layout(5))["ganctl:interpolate"] == "3 4"


def test_each_pass_is_padded(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image's rounding cannot depend on how many others there are."""
    sizes: list[int] = []
    forward: Callable[..., torch.Tensor] = generator.network.forward
    monkeypatch.setattr(generator.network, "forward", lambda z, y: sizes.append(len(z)) or forward(z, y))
    sample.pixels(generator, Product([0, 1], range(40)))
    sample.pixels(generator, WAY)
    assert set(sizes) == {generate.MICRO_BATCH}
