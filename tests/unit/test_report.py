"""Reports as files, and side by side: nothing is believed or compared that should not be."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel, ValidationError

from ganctl import report as report_module
from ganctl.compare import MAY_DIFFER, compare, compare_files
from ganctl.errors import UsageError
from ganctl.report import ClassScores, ExtractorStamp, Metric, Protocol, Report, ReportFile, read_report

DOC = (Path(__file__).parents[2] / "docs" / "report-schema.md").read_text(encoding="utf-8")

CONTENT: dict[str, Any] = {
    "schema": 1,
    "metrics": {
        "fid": {"value": 7.0, "floor": 1.5, "std": 0.3, "repeats": 3, "extractor": "inception"},
        "digit_is": {
            "value": 9.0,
            "floor": 9.8,
            "subset_std": 0.1,
            "extractor": "digits",
            "settings": {"splits": 10},
        },
        "is_mean": {"value": None, "floor": None, "reason": "no last layer"},
    },
    "protocol": {
        "data": "mnist",
        "real": "1000 official test images",
        "num_real": 1000,
        "floor": "1000 official training images",
        "num_gen": 1000,
        "labels": "in the proportions of the training set",
        "extractors": {
            "inception": {"sha256": "a" * 64, "resize": "TensorFlow", "precision": "float32"},
            "digits": {"sha256": "b" * 64, "resize": "none", "precision": "float32"},
        },
        "checkpoint": "c" * 64,
        "weights": "EMA",
        "nimg": 128_000,
        "seed": 0,
        "device": "cpu",
        "versions": {"torch": "2.11.0", "numpy": "2.4.0"},
        "timings": {"total": 12.5},
    },
    "per_class": {"0": {"accuracy": 0.5, "precision": 1.0, "f1": 0.7}},
    "confusion": [[1]],
}
FID = ("metrics", "fid")
PROTOCOL = ("protocol",)


def changed(*changes: tuple[tuple[str, ...], str, Any]) -> dict[str, Any]:
    """The content above with other values; None takes a key out."""
    content = copy.deepcopy(CONTENT)
    for place, key, value in changes:
        entry = content
        for step in place:
            entry = entry[step]
        if value is None:
            del entry[key]
        else:
            entry[key] = value
    return content


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def parsed(*changes: tuple[tuple[str, ...], str, Any]) -> ReportFile:
    return ReportFile.model_validate_json(json.dumps(changed(*changes)))


# Files


def test_a_report_reads_as_it_was_written(tmp_path: Path) -> None:
    metrics = {
        "fid": Metric(7.25, 1.5, std=0.25, repeats=3, extractor="e"),
        "label_accuracy": Metric(0.75, 1.0, extractor="e"),
        "is_mean": Metric(None, None, reason="no last layer"),
    }
    protocol = CONTENT["protocol"] | {
        "extractors": {"e": {"sha256": "0", "resize": "none", "precision": "float32"}}
    }
    written = Report(metrics, protocol, torch.tensor([[3, 1], [0, 4]]), ("a", "b"))
    read = read_report(write(tmp_path / "r.json", json.dumps(written.to_dict(), allow_nan=False)))
    assert read.metrics == metrics
    assert read.protocol.model_dump(exclude_none=True) == protocol
    assert read.confusion == [[3, 1], [0, 4]]
    assert read.per_class is not None
    assert read.per_class["a"].accuracy == 3 / 4
    assert read.per_class["b"].precision == pytest.approx(4 / 5)


def keys_of(model: Any, prefix: str = "") -> set[str]:
    """Dotted keys of a model as they are in JSON, `*` for free names."""
    inner: dict[str, tuple[Any, str]] = {
        "metrics": (Metric, ".*"),
        "protocol": (Protocol, ""),
        "extractors": (ExtractorStamp, ".*"),
        "per_class": (ClassScores, ".*"),
    }
    is_model = isinstance(model, type) and issubclass(model, BaseModel)
    fields = model.model_fields if is_model else model.__pydantic_fields__
    found = set()
    for name, info in fields.items():
        key = f"{prefix}{info.alias or name}"
        found.add(key)
        if name in inner:
            child, star = inner[name]
            found |= keys_of(child, f"{key}{star}.")
    return found


def test_the_documented_keys_are_those_of_the_model() -> None:
    rows = re.findall(r"^\| `([\w.*]+)` \|(.*)$", DOC, re.MULTILINE)
    assert {key for key, _ in rows} == keys_of(ReportFile)
    assert len(rows) == len({key for key, _ in rows})
    free = {key.removeprefix("protocol.") for key, text in rows if "may differ" in text}
    assert free == MAY_DIFFER
    assert f"`schema` is {report_module.SCHEMA_VERSION}" in DOC


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is no report"),
        ("no JSON", "is no report"),
        ('{"schema": 1', "is no report"),
        ("[" * 100_000, "is no report"),
        ([], "is no report"),
        ({"name": "of another program"}, "is no report"),
        (changed(((), "schema", 2)), "has schema 2"),
        (changed(((), "schema", "1")), "has schema '1'"),
        (changed(((), "more", 1)), "'more'"),
        (changed((FID, "more", 1)), "metrics.fid"),
        (changed((PROTOCOL, "more", 1)), "protocol.more"),
        (changed((PROTOCOL, "num_gen", None)), "protocol.num_gen"),
        (changed((PROTOCOL, "num_gen", -1)), "protocol.num_gen"),
        (changed((PROTOCOL, "num_gen", "1000")), "protocol.num_gen"),
        (changed((FID, "value", "7")), "metrics.fid.value"),
        (changed((FID, "value", True)), "metrics.fid.value"),
        (json.dumps(CONTENT).replace("7.0", "NaN"), "metrics.fid.value"),
        (json.dumps(CONTENT).replace("7.0", "1e999"), "metrics.fid.value"),
        (changed((FID, "std", -0.1)), "metrics.fid.std"),
        (changed((FID, "repeats", None)), "come together"),
        (changed((FID, "repeats", 1)), "metrics.fid.repeats"),
        (changed((("metrics", "is_mean"), "reason", None)), "needs a reason"),
        (changed((FID, "extractor", "unknown")), "lacks the extractor of fid"),
        (changed((("metrics",), "\x1b[2J", CONTENT["metrics"]["fid"])), r"\x1b[2J"),
        (changed(((), "confusion", [[1, 2]])), "not square"),
    ],
)
def test_foreign_and_damaged_files_are_refused(tmp_path: Path, content: object, words: str) -> None:
    path = write(tmp_path / "r.json", content)
    with pytest.raises(UsageError) as caught:
        read_report(path)
    assert str(path) in caught.value.what
    assert words in caught.value.what
    assert caught.value.what.isprintable()
    assert len(caught.value.what) < len(str(path)) + 400


def test_files_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.json: No such file"):
        read_report(tmp_path / "nowhere.json")
    with pytest.raises(UsageError, match="Is a directory"):
        read_report(tmp_path)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is no report"):
        read_report(tmp_path / "binary.json")
    path = write(tmp_path / "r.json", CONTENT)
    monkeypatch.setattr(report_module, "MAX_REPORT_BYTES", path.stat().st_size)
    read_report(path)
    monkeypatch.setattr(report_module, "MAX_REPORT_BYTES", path.stat().st_size - 1)
    with pytest.raises(UsageError, match="too large"):
        read_report(path)


@pytest.mark.parametrize(
    "arguments",
    [
        {"value": float("nan"), "floor": 1.0},
        {"value": 1.0, "floor": float("inf")},
        {"value": None, "floor": None},
        {"value": 1.0, "floor": None, "std": 0.1},
        {"value": 1.0, "floor": None, "std": 0.1, "repeats": 1},
    ],
)
def test_an_impossible_metric_cannot_be_made(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Metric(**arguments)


# Side by side


@pytest.mark.parametrize(
    ("value", "std", "verdict"),
    [
        (7.99, 0.4, "within noise"),  # 2·√(0.3² + 0.4²) = 1
        (8.01, 0.4, "higher"),
        (5.99, 0.4, "lower"),
        (6.01, 0.4, "within noise"),
        (7.61, 0.0, "higher"),
        (7.59, 0.0, "within noise"),
    ],
)
def test_a_difference_counts_beyond_twice_the_noise(value: float, std: float, verdict: str) -> None:
    other = parsed((FID, "value", value), (FID, "std", std))
    (difference,) = compare({"a": parsed(), "b": other}).rows["fid"].differences
    assert difference is not None
    assert difference.verdict == verdict
    assert difference.amount == pytest.approx(value - 7)
    assert difference.noise == pytest.approx(2 * (0.09 + std**2) ** 0.5)


@pytest.mark.parametrize("both", [True, False])
def test_without_repeats_the_noise_is_unknown(both: bool) -> None:
    alone = ((FID, "std", None), (FID, "repeats", None), (FID, "value", 100.0))
    rows = compare({"a": parsed(*alone) if both else parsed(), "b": parsed(*alone)}).rows
    for name in ("fid", "digit_is"):  # the spread over splits is no noise of the value
        (difference,) = rows[name].differences
        assert difference is not None
        assert difference.noise is None
        assert difference.verdict == "noise unknown"


def test_the_table_has_a_row_a_metric_and_a_column_a_report() -> None:
    other = parsed((FID, "value", 9.0), (FID, "floor", 1.75), (("metrics",), "digit_is", None))
    text = compare({"one": parsed(), "two": other, "three": parsed()}).table()
    head, fid, digit_is, is_mean, *rest = (re.split(r"  +", line) for line in text.splitlines())
    assert head == ["metric", "one", "two", "three", "floor", "two against one", "three against one"]
    assert fid == ["fid", "7 ± 0.3", "9 ± 0.3", "7 ± 0.3", "1.5 to 1.75", "higher", "within noise"]
    assert digit_is == ["digit_is", "9", "-", "9", "9.8", "-", "noise unknown"]
    assert is_mean == ["is_mean", "-", "-", "-", "-", "-", "-"]
    assert rest == [["noise unknown: evaluate with several repeats to learn it"]]


def test_the_json_form_says_the_same(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.json", CONTENT), write(tmp_path / "b.json", changed((FID, "value", 9.5)))]
    read = compare_files(paths).to_dict()
    assert read["reports"] == ["a", "b"]
    assert read["comparable"] is True
    first, second = read["metrics"]["fid"]
    assert (first["value"], first["std"], first["repeats"], first["floor"]) == (7.0, 0.3, 3, 1.5)
    assert (first["difference"], first["verdict"]) == (None, None)
    assert (second["difference"], second["verdict"]) == (2.5, "higher")
    assert compare_files(paths).table().startswith("metric")


EXTRACTOR = ("protocol", "extractors", "inception")
CONFLICTS: dict[str, tuple[tuple[str, ...], str, Any]] = {
    "data": (PROTOCOL, "data", "fashion"),
    "real": (PROTOCOL, "real", "1000 training images"),
    "real_sha256": (PROTOCOL, "real_sha256", "d" * 64),
    "num_real": (PROTOCOL, "num_real", 2000),
    "floor": (PROTOCOL, "floor", "nothing"),
    "num_gen": (PROTOCOL, "num_gen", 5000),
    "labels": (PROTOCOL, "labels", "all the same"),
    "sha256 of 'inception'": (EXTRACTOR, "sha256", "e" * 64),
    "resize of 'inception'": (EXTRACTOR, "resize", "bicubic"),
    "precision of 'inception'": (EXTRACTOR, "precision", "bf16"),
    "the extractor of fid": (FID, "extractor", "digits"),
    "the settings of digit_is": (("metrics", "digit_is"), "settings", {"splits": 5}),
}


@pytest.mark.parametrize("key", CONFLICTS)
def test_another_protocol_is_refused_by_name_and_shown_by_force(key: str) -> None:
    place, name, value = CONFLICTS[key]
    before: Any = CONTENT
    for step in place:
        before = before[step]
    reports = {"one": parsed(), "two": parsed(CONFLICTS[key])}
    with pytest.raises(UsageError) as caught:
        compare(reports)
    sentence = f"{key} is {before.get(name)!r} in one, {value!r} in two"
    assert sentence in caught.value.what
    assert "--force" in caught.value.fix
    forced = compare(reports, force=True)
    assert f"NOT COMPARABLE (forced): {sentence}" in forced.table()
    assert forced.to_dict()["comparable"] is False
    assert forced.to_dict()["conflicts"] == [sentence]


def test_every_field_of_the_protocol_was_tried() -> None:
    tried = {name for place, name, _ in CONFLICTS.values() if place == PROTOCOL}
    assert tried == set(Protocol.model_fields) - MAY_DIFFER - {"extractors"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("checkpoint", "f" * 64),
        ("checkpoint", None),
        ("weights", "last"),
        ("images", "fakes"),
        ("images_sha256", "f" * 64),
        ("nimg", 1),
        ("seed", 7),
        ("device", "cuda"),
        ("timings", {"total": 1.0}),
    ],
)
def test_what_was_scored_and_where_may_differ(key: str, value: Any) -> None:
    comparison = compare({"a": parsed(), "b": parsed((PROTOCOL, key, value))})
    assert comparison.conflicts == comparison.notices == ()
    assert "NOT COMPARABLE" not in comparison.table()


def test_other_versions_are_a_notice() -> None:
    other = parsed((PROTOCOL, "versions", {"torch": "2.15.0", "numpy": "2.4.0"}))
    comparison = compare({"a": parsed(), "b": other})
    assert comparison.notices == ("version of 'torch': '2.11.0' in a, '2.15.0' in b",)
    assert "note: version of 'torch'" in comparison.table()
    assert comparison.to_dict()["comparable"] is True


def test_an_extractor_that_no_common_metric_needs_may_differ() -> None:
    other = parsed((EXTRACTOR, "sha256", "e" * 64), (("metrics",), "fid", None))
    assert compare({"a": parsed(), "b": other}).conflicts == ()


def test_the_third_report_is_looked_at_as_well() -> None:
    with pytest.raises(UsageError, match="num_gen is 1000 in a, 5 in c"):
        compare({"a": parsed(), "b": parsed(), "c": parsed((PROTOCOL, "num_gen", 5))})


def test_all_conflicts_are_counted() -> None:
    other = parsed((PROTOCOL, "num_gen", 5), (PROTOCOL, "num_real", 6))
    with pytest.raises(UsageError, match=r"num_real is 1000 in a, 6 in b \(and 1 more\)"):
        compare({"a": parsed(), "b": other})
    assert len(compare({"a": parsed(), "b": other}, force=True).conflicts) == 2


def test_text_of_a_report_cannot_reach_the_terminal_raw() -> None:
    evil = parsed((PROTOCOL, "data", "\x1b[2Jx"), (PROTOCOL, "versions", {"\x1b]0;": "\x07"}))
    table = compare({"a": parsed(), "b": evil}, force=True).table()
    assert all(line.isprintable() for line in table.splitlines())


def test_too_little_to_compare_is_refused(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.json", CONTENT), tmp_path / "b" / "a.json"
    with pytest.raises(UsageError, match="two reports"):
        compare_files([a])
    with pytest.raises(UsageError, match=r"a\.json is given twice"):
        compare_files([a, a])
    b.parent.mkdir()
    write(b, CONTENT)
    assert str(b) in compare_files([a, b]).table()
    c = tmp_path / "c" / "a.json"
    c.parent.mkdir()
    write(c, CONTENT)
    assert compare_files([b, c]).table().split()[:3] == ["metric", "b", "c"]
    nothing = changed((("metrics",), "fid", None), (("metrics",), "digit_is", None))
    with pytest.raises(UsageError, match="no metric in common"):
        compare_files([a, write(tmp_path / "c.json", nothing)])


def test_force_does_not_open_foreign_files(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.json", CONTENT), write(tmp_path / "b.json", CONTENT)]
    assert compare_files(paths, force=True)
    write(paths[1], changed(((), "schema", 2)))
    with pytest.raises(UsageError, match="has schema 2"):
        compare_files(paths, force=True)
