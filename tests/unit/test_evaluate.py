"""The report of a checkpoint: its numbers against independent ones, its protocol, its honesty."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from ganctl import data, evaluate, generate
from ganctl.checkpoint import Snapshot
from ganctl.errors import UsageError
from ganctl.metrics import classifier
from ganctl.networks.mlp import Generator
from ganctl.report import ReportFile

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch 2.15 inside its own code

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    """An untrained generator of 8 × 8 digits."""
    torch.manual_seed(0)
    facts = data.load("digits", val_size=0).facts
    G = Generator(8, facts.num_classes, facts.channels, facts.resolution, widths=(16, 32))
    spec = {"_target_": "ganctl.networks.mlp.Generator", "widths": [16, 32]}
    return Snapshot({}, facts, 8, spec, dict(G.state_dict()), 1, 1, None, {})


@pytest.fixture(scope="module")
def report(snapshot: Snapshot) -> evaluate.Report:
    return evaluate.evaluate(snapshot, CPU, num_gen=200, seed=3)


def test_label_accuracy_is_what_the_classifier_says(snapshot: Snapshot, report: evaluate.Report) -> None:
    loaded = classifier.load("digits")
    assert loaded is not None
    labels = generate.proportional_labels(snapshot.facts.class_counts, 200)
    fakes = generate.all_at_once(snapshot.build(), 8, labels, range(3, 203), CPU)
    with torch.no_grad():
        seen = loaded.module(fakes.float() / 127.5 - 1)[0].argmax(1)
    right = float((seen == torch.tensor(labels)).double().mean())
    assert report.metrics["label_accuracy"].value == pytest.approx(right, abs=1e-12)
    assert report.confusion is not None
    assert int(report.confusion.sum()) == 200
    assert report.confusion.sum(1).tolist() == np.bincount(labels, minlength=10).tolist()


def test_the_frechet_distance_is_that_of_numpy(snapshot: Snapshot, report: evaluate.Report) -> None:
    loaded = classifier.load("digits")
    assert loaded is not None
    dataset = data.load("digits", val_size=0)
    order = torch.randperm(len(dataset.test), generator=torch.Generator().manual_seed(3))[:200]
    labels = generate.proportional_labels(snapshot.facts.class_counts, 200)
    fakes = generate.all_at_once(snapshot.build(), 8, labels, range(3, 203), CPU)
    with torch.no_grad():
        a, b = (
            loaded.module(x.float() / 127.5 - 1)[1].double().numpy()
            for x in (fakes, dataset.test.images[order])
        )
    # The trace of the root of a product is the sum of the roots of its eigenvalues.
    roots = np.sqrt(np.linalg.eigvals(np.cov(a.T) @ np.cov(b.T)).astype(complex)).real
    shift = ((a.mean(0) - b.mean(0)) ** 2).sum()
    expected = shift + np.trace(np.cov(a.T)) + np.trace(np.cov(b.T)) - 2 * roots.sum()
    assert report.metrics["digit_fd"].value == pytest.approx(expected, rel=1e-3)


def test_the_floor_is_what_real_images_reach(report: evaluate.Report) -> None:
    fd, accuracy = report.metrics["digit_fd"], report.metrics["label_accuracy"]
    assert fd.floor is not None
    assert fd.value is not None
    assert accuracy.floor is not None
    assert accuracy.value is not None
    assert 0 < fd.floor < fd.value / 5  # noise is far from digits
    assert accuracy.floor > 0.95 > 0.5 > accuracy.value


def test_metrics_on_our_classifier_are_never_called_fid(report: evaluate.Report) -> None:
    assert set(report.metrics) == {"label_accuracy", "digit_fd", "digit_is"}


def test_the_report_is_strict_json_with_its_protocol(report: evaluate.Report) -> None:
    read = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert read["schema"] == 1
    ReportFile.model_validate_json(json.dumps(read))
    assert read["protocol"]["num_gen"] == 200
    assert read["protocol"]["extractors"].keys() == {"classifier_digits"}
    assert read["metrics"]["digit_fd"].keys() >= {"value", "floor"}
    assert set(read["per_class"]) == set("0123456789")


def test_the_same_evaluation_gives_the_same_numbers(snapshot: Snapshot, report: evaluate.Report) -> None:
    torch.manual_seed(99)  # the global random state must not matter
    again = evaluate.evaluate(snapshot, CPU, num_gen=200, seed=3)
    assert again.metrics == report.metrics
    other = evaluate.evaluate(snapshot, CPU, num_gen=200, seed=4)
    assert other.metrics["digit_fd"] != report.metrics["digit_fd"]


def test_images_of_another_size_are_refused(snapshot: Snapshot) -> None:
    from dataclasses import replace

    wrong = replace(snapshot, facts=replace(snapshot.facts, resolution=16))
    with pytest.raises(UsageError, match="1 × 16 × 16"):
        evaluate.evaluate(wrong, CPU, num_gen=20)


def test_an_unknown_data_set_is_refused(snapshot: Snapshot) -> None:
    from dataclasses import replace

    wrong = replace(snapshot, facts=replace(snapshot.facts, name="letters"))
    with pytest.raises(UsageError, match="letters"):
        evaluate.evaluate(wrong, CPU, num_gen=20)
