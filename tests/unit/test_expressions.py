"""What is typed for labels and seeds, and what PNGs say of seeds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_generator import CLOTHES

from ganctl import expressions
from ganctl.errors import UsageError
from ganctl.expressions import Point
from ganctl.latents import MAX_SEED

DIGITS = tuple("0123456789")


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
    assert expressions.parse_labels(text, DIGITS) == labels


def test_without_an_expression_all_labels_are_meant_and_without_labels_there_is_one_set_of_images() -> None:
    assert expressions.parse_labels(None, DIGITS) == list(range(10))
    assert len(expressions.parse_labels(None, ())) == 1
    for text in ("0", "all", ""):
        with pytest.raises(UsageError, match="trained without labels"):
            expressions.parse_labels(text, ())


def test_labels_have_names_even_with_a_dash() -> None:
    assert expressions.parse_labels("ankle-boot,0", CLOTHES) == [2, 0]


@pytest.mark.parametrize(
    "text", ["12", "banana", "", "9-3", "0-12", "-1", "1,,2", "1.5", "²", "9" * 5000, "0-" + "9" * 5000]
)
def test_what_is_no_label_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="there is no label"):
        expressions.parse_labels(text, DIGITS)


def test_a_misspelt_label_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean trouser"):
        expressions.parse_labels("trowser", CLOTHES)


@pytest.mark.parametrize(("text", "seeds"), [("0,1,4-6", [0, 1, 4, 5, 6]), ("7", [7]), ("2-2", [2])])
def test_seeds_are_read(text: str, seeds: list[int]) -> None:
    assert expressions.parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "6-4", "-1", str(2**63), "0-99999999999", "9" * 5000])
def test_what_is_no_seed_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="cannot read the seeds"):
        expressions.parse_seeds(text)


@pytest.mark.parametrize("text", ["0-4294967295", "0-9999999,5", "5,0-4999999,0-4999999"])
def test_more_seeds_than_one_call_can_draw_are_refused_before_they_are_listed(text: str) -> None:
    with pytest.raises(UsageError, match="too many for one call"):
        expressions.parse_seeds(text)


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        ([0], "0"),
        ([0, 1], "0,1"),
        (range(3), "0-2"),
        ([7, 0, 1, 2, 3, 9], "7,0-3,9"),
        ([3, 2, 1], "3,2,1"),
        ([5, 5], "5,5"),
        (range(10**6), "0-999999"),
    ],
)
def test_seeds_are_written_short(seeds: list[int], text: str) -> None:
    assert expressions.seeds_text(seeds) == text


@given(st.lists(st.integers(0, 12) | st.integers(0, MAX_SEED), min_size=1, max_size=30))
def test_what_is_written_of_seeds_is_read_as_them(seeds: list[int]) -> None:
    assert expressions.parse_seeds(expressions.seeds_text(seeds)) == seeds


@pytest.mark.parametrize(
    ("text", "names", "label", "point"),
    [
        ("3", DIGITS, None, (3, 9)),
        ("3:7", DIGITS, None, (3, 7)),
        ("3:7", DIGITS, 5, (3, 7)),
        ("3", DIGITS, 5, (5, 3)),
        ("trouser", CLOTHES, None, (1, 9)),
        ("trouser", CLOTHES, 0, (1, 9)),
        ("ankle-boot:4294967295", CLOTHES, None, (2, MAX_SEED)),
        ("a:1", ("b", "a:1"), None, (1, 9)),
        ("a:1:2", ("b", "a:1"), None, (1, 2)),
        (" 12 ", (), None, (0, 12)),
    ],
)
def test_points_are_read(text: str, names: tuple[str, ...], label: int | None, point: Point) -> None:
    assert expressions.parse_point(text, names, label, seed=9) == point


@pytest.mark.parametrize(
    ("text", "names", "what"),
    [
        ("12", DIGITS, "no label '12'"),
        ("trowser:1", CLOTHES, "no label 'trowser'"),
        ("0-3:1", DIGITS, "several labels"),
        ("3:", DIGITS, "'' is no seed"),
        ("3:4294967296", DIGITS, "no seed"),
        (":3", DIGITS, "no label ''"),
        ("3:-1", DIGITS, "no seed"),
        ("1:2", (), "'1:2' is no seed"),
        ("", DIGITS, "no label"),
    ],
)
def test_what_is_no_point_is_named(text: str, names: tuple[str, ...], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        expressions.parse_point(text, names)


@pytest.mark.parametrize("psi", [0.0, -0.5, 1.0000001, float("nan"), float("inf")])
def test_what_is_no_truncation_is_refused(psi: float) -> None:
    expressions.require_truncation(1)
    expressions.require_truncation(1e-9)
    with pytest.raises(UsageError, match="truncation"):
        expressions.require_truncation(psi)
