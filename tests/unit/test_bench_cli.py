"""The benchmark of `--help` times every verb that there is."""

from __future__ import annotations

import bench_cli
import pytest

from ganctl import cli


def test_every_verb_and_group_is_timed() -> None:
    table: dict[str, cli.Verb | cli.Group] = {
        "one": cli.Verb("a:b", ""),
        "two": cli.Group("", (), {"x": cli.Verb("c:d", "")}),
    }
    assert bench_cli.commands(table) == [(), ("one",), ("two",), ("two", "x")]
    assert {("train",), ("configs",), ("configs", "ls")} <= set(bench_cli.commands())


def test_ratios_are_to_the_empty_app() -> None:
    times = {
        "ganctl": [3.0, 1.0, 2.0],
        "ganctl train": [9.0],
        "empty": [1.0, 9.0, 1.5],
    }
    rows = {row["command"]: row for row in bench_cli.summary(times)}
    assert rows["ganctl"]["ratio"] == pytest.approx(2 / 1.5)
    assert rows["ganctl"]["range_s"] == [1.0, 3.0]
    assert rows["ganctl train"]["ratio"] == 6.0
    assert rows["empty"]["ratio"] == 1.0
