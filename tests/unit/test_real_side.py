"""Which real images an evaluation takes: the checkpoint's own data, found again, unchanged; or others."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ganctl import data, evaluate, real_side, scoring, sides
from ganctl.data import Source
from ganctl.errors import UsageError
from ganctl.metrics import cas, classifier
from ganctl.metrics.classifier_net import Classifier
from ganctl.networks.mlp import Generator
from ganctl.snapshot import Snapshot

CPU = torch.device("cpu")
FAST = scoring.Request(metrics=("fast",), features=("classifier",), use_cache=False)
SPEC = {"_target_": "ganctl.networks.mlp.Generator", "widths": [8]}


def write(path: Path, seed: int = 0, names: tuple[str, ...] = ("cat", "dog"), n: int = 60) -> Path:
    g = np.random.RandomState(seed)
    images = g.randint(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(n) % len(names), label_names=np.array(names))
    return path


def trained_on(source: Source, **changes: object) -> Snapshot:
    """What a checkpoint of one step on these data holds."""
    facts = data.load(source, val_size=5).facts
    torch.manual_seed(0)
    G = Generator(4, facts.num_classes, facts.channels, facts.resolution, widths=(8,))
    section = {"name": source.name, "root": None if source.root is None else str(source.root), **changes}
    return Snapshot({"data": section}, facts, 4, SPEC, dict(G.state_dict()), 1, 1, None, {})


def held_against(
    snapshot: Snapshot,
    text: str | None = None,
    root: Path | None = None,
    path: Path | None = None,
    request: scoring.Request = FAST,
) -> tuple[sides.Fakes, sides.Reals]:
    fakes = sides.CheckpointFakes(snapshot, 40, CPU, trust_code=False)
    return fakes, real_side.find(fakes, snapshot, text, root, path, request)


def save_classifier(path: Path, names: tuple[str, ...], channels: int = 3) -> classifier.LoadedClassifier:
    torch.manual_seed(0)
    net = Classifier(channels, 8, len(names), width=4).eval()
    classifier.save(path, net, dataset="npz:pets", label_names=names, prefix="pets", accuracy=0.5)
    return classifier.read(path)


def test_own_data_are_found_where_the_checkpoint_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "pets.npz")
    monkeypatch.chdir(tmp_path)
    snapshot = trained_on(Source("npz", Path("pets.npz")))
    _, reals = held_against(snapshot)
    assert reals.dataset is not None
    expected = data.load(Source("npz", tmp_path / "pets.npz"), val_size=0)
    assert torch.equal(reals.dataset.test.images, expected.test.images)
    assert reals.protocol["data"] == "npz:pets"
    assert reals.protocol["real"].startswith("held-out test images (")
    assert reals.protocol["real_sha256"] == snapshot.facts.digest
    assert "official" not in str(reals.protocol)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"not at pets\.npz \(from .*elsewhere\)") as caught:
        held_against(snapshot)
    assert "--data PATH" in caught.value.fix
    assert held_against(snapshot, root=tmp_path / "pets.npz")[1].protocol == reals.protocol
    assert held_against(snapshot, text="../pets.npz")[1].protocol == reals.protocol


def test_data_that_have_changed_are_refused_and_named(tmp_path: Path) -> None:
    path = write(tmp_path / "pets.npz")
    snapshot = trained_on(Source("npz", path))
    held_against(snapshot)
    write(path, seed=1, n=61)
    with pytest.raises(UsageError, match=r"images or labels have changed \(sha256") as caught:
        held_against(snapshot)
    assert f"--data {path}" in caught.value.fix
    _, reals = held_against(snapshot, text=str(path))  # said: then it is that
    assert reals.protocol["real_sha256"] != snapshot.facts.digest
    write(path, names=("dog", "cat"))  # the same images and numbers, called otherwise
    with pytest.raises(UsageError, match="other labels, in another order"):
        held_against(snapshot)
    write(path, names=("cat", "bird", "cow"))
    with pytest.raises(UsageError, match="other labels, without dog and with bird, cow"):
        held_against(snapshot)


def test_a_known_set_needs_no_root_and_a_stranger_s_words_are_not_believed(tmp_path: Path) -> None:
    digits = trained_on(Source("digits"))
    sections: list[Any] = [{"name": "digits", "root": str(tmp_path / "gone")}, {}, {"name": 3}, [], None, "x"]
    for section in sections:
        _, reals = held_against(replace(digits, config={"data": section}))
        assert reals.protocol["data"] == "digits"
        assert reals.protocol["real"] == "official test images, chosen at random with the seed"
    own = replace(digits, facts=replace(digits.facts, name="npz:mine"), config={})
    with pytest.raises(UsageError, match="does not say where its data are"):
        held_against(own)
    other = replace(digits, config={"data": {"name": "npz", "root": str(write(tmp_path / "pets.npz"))}})
    with pytest.raises(UsageError, match="not what the checkpoint was trained on"):
        held_against(other)


def test_labels_of_other_data_are_no_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    snapshot = trained_on(Source("npz", write(tmp_path / "a.npz")))
    others = write(tmp_path / "b.npz", names=("cow", "cat", "dog"))
    with caplog.at_level(logging.WARNING, "ganctl"):
        fakes, _ = held_against(snapshot, text=str(others))
    assert "other labels" in caplog.text
    assert fakes.side(0).labels is None
    assert held_against(snapshot)[0].side(0).labels is not None


def test_the_users_classifier_scores_and_must_fit(tmp_path: Path) -> None:
    path = write(tmp_path / "pets.npz")
    snapshot = trained_on(Source("npz", path))
    request = replace(FAST, classifier=save_classifier(tmp_path / "c.safetensors", ("cat", "dog")))
    fakes, reals = held_against(snapshot, request=request)
    report, _ = evaluate.evaluate(fakes, reals, request, CPU)
    assert report.metrics["pets_fd"].value is not None
    assert report.metrics["label_accuracy"].extractor == "classifier_npz:pets"
    assert set(report.to_dict()["per_class"]) == {"cat", "dog"}
    # Against a file of real images it works as well, and takes the names in it.
    fakes, reals = held_against(snapshot, path=path, request=request)
    assert reals.side is not None
    assert reals.side.labels is not None
    assert reals.side.labels.tolist() == [i % 2 for i in range(60)]
    report, _ = evaluate.evaluate(fakes, reals, request, CPU)
    assert set(report.to_dict()["per_class"]) == {"cat", "dog"}
    wrong = save_classifier(tmp_path / "wrong.safetensors", ("dog", "cat"))
    grey = save_classifier(tmp_path / "grey.safetensors", ("cat", "dog"), channels=1)
    for judge, what in ((wrong, "calls label 0 'dog'"), (grey, "reads 1 × 8 × 8 images")):
        for side in ({}, {"path": path}, {"text": str(path)}):
            with pytest.raises(UsageError, match=what):
                held_against(snapshot, request=replace(FAST, classifier=judge), **side)
    with pytest.raises(UsageError, match="not used"):
        scoring.Request(features=("inception",), classifier=wrong)
    without, _ = evaluate.evaluate(
        *held_against(snapshot), replace(FAST, metrics=("fid", "memorisation")), CPU
    )
    assert "ganctl train-classifier" in (without.metrics["classifier_fd"].reason or "")


@pytest.mark.parametrize(("num_test", "num_train"), [(1, 100), (2, 1), (3, 2), (5, 100), (9, 4)])
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
def test_few_real_images_cost_scores_and_not_the_report(
    num_test: int, num_train: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cas, "STEPS", 2)
    whole = data.load(Source("digits"), val_size=0)
    few = replace(
        whole,
        test=whole.test.subset(torch.arange(num_test)),
        train=whole.train.subset(torch.arange(num_train)),
    )
    fakes = sides.CheckpointFakes(trained_on(Source("digits")), 64, CPU, trust_code=False)
    request = scoring.Request(metrics=("all",), features=("classifier",), use_cache=False)
    with caplog.at_level(logging.WARNING, "ganctl"):
        report, _ = evaluate.evaluate(fakes, sides.of_dataset(few, fakes, 0), request, CPU)
    for name, least in (("digit_fd", 2), ("digit_kd", 4), ("digit_precision", 6), ("digit_fd_infinity", 2)):
        metric = report.metrics[name]
        assert (metric.value is None) == (num_test < least), name
        assert num_test >= least or f"one has {num_test}" in (metric.reason or "")
    assert report.metrics["label_accuracy"].value is not None
    biased = f"{num_test} real images are fewer than the 64 features"
    assert (biased in caplog.text) == (num_test >= 2 and num_train >= 2)


# -- what is typed -----------------------------------------------------------------------------------------


def test_a_name_goes_before_a_path_and_a_path_says_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    for name in ("a.npz", "b.ZIP", "c.txt"):
        (tmp_path / name).write_bytes(b"")
    assert Source.of_text("digits") == Source("digits")
    assert Source.of_text("mnist", Path("x")) == Source("mnist", Path("x"))
    assert Source.of_text("./digits") == Source("folder", Path("digits"))
    assert Source.of_text("b.ZIP") == Source("folder", Path("b.ZIP"))
    assert Source.of_text("a.npz") == Source("npz", Path("a.npz"))
    for text, root, what in (
        ("minst", None, "no data set 'minst', and no folder or file"),
        ("gone.npz", None, r"no folder or file of that name"),
        ("c.txt", None, "no data set"),
        ("a.npz", Path("x"), "a place, and x another"),
        ("a\0b", None, "no folder or file"),
    ):
        with pytest.raises(UsageError, match=what) as caught:
            Source.of_text(text, root)
        assert caught.value.fix
