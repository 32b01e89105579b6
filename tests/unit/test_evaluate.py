"""The report of a checkpoint: its numbers against independent ones, its protocol, its honesty."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ganctl import data, evaluate, generate, pixel_scores, scoring, sides
from ganctl.errors import UsageError
from ganctl.metrics import classifier, confusion
from ganctl.networks.mlp import Generator
from ganctl.report import Report, read_report
from ganctl.snapshot import Snapshot

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),  # torch 2.15 inside its own code
    pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning"),  # a user's file may still be TorchScript
]

CPU = torch.device("cpu")
FAST = scoring.Request(metrics=("fast",), features=("classifier",), seed=3)


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    """An untrained generator of 8 × 8 digits."""
    torch.manual_seed(0)
    facts = data.load(data.Source("digits"), val_size=0).facts
    G = Generator(8, facts.num_classes, facts.channels, facts.resolution, widths=(16, 32))
    spec = {"_target_": "ganctl.networks.mlp.Generator", "widths": [16, 32]}
    return Snapshot({}, facts, 8, spec, dict(G.state_dict()), 1, 1, None, {})


def _evaluate(
    snapshot: Snapshot, request: scoring.Request = FAST, n: int = 200, **kwargs: Any
) -> tuple[Report, bool]:
    fakes = sides.CheckpointFakes(snapshot, n, CPU, trust_code=False)
    reals = sides.of_dataset(data.load(data.Source("digits"), val_size=0), fakes, request.seed)
    return evaluate.evaluate(fakes, reals, request, CPU, **kwargs)


@pytest.fixture(scope="module")
def report(snapshot: Snapshot) -> Report:
    request = replace(FAST, use_cache=False)
    return _evaluate(snapshot, request)[0]


def test_label_accuracy_is_what_the_classifier_says(snapshot: Snapshot, report: Report) -> None:
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


def test_each_set_of_images_is_counted_once(
    snapshot: Snapshot, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    count = confusion.confusion_matrix

    def counting(labels: torch.Tensor, *args: Any) -> torch.Tensor:
        counted.append(len(labels))
        return count(labels, *args)

    monkeypatch.setattr(confusion, "confusion_matrix", counting)
    _evaluate(snapshot, n=180)
    assert counted == [180, 180]  # generated, and real for the floor
    # The report has the counts also where no score is made of them.
    found = _evaluate(snapshot, replace(FAST, metrics=("fid",)))[0].confusion
    assert found is not None
    assert report.confusion is not None
    assert torch.equal(found, report.confusion)


def test_the_frechet_distance_is_that_of_numpy(snapshot: Snapshot, report: Report) -> None:
    loaded = classifier.load("digits")
    assert loaded is not None
    dataset = data.load(data.Source("digits"), val_size=0)
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


def test_the_floor_is_what_real_images_reach(report: Report) -> None:
    fd, accuracy = report.metrics["digit_fd"], report.metrics["label_accuracy"]
    assert fd.floor is not None
    assert fd.value is not None
    assert accuracy.floor is not None
    assert accuracy.value is not None
    assert 0 < fd.floor < fd.value / 5  # noise is far from digits
    assert accuracy.floor > 0.95 > 0.5 > accuracy.value


def test_scores_on_our_classifier_are_never_called_fid(report: Report) -> None:
    assert set(report.metrics) == {
        *("label_accuracy", "modes", "mode_kl"),
        *("digit_fd", "digit_is", "digit_intra_fd"),
    }
    assert report.metrics["digit_fd"].extractor == "classifier_digits"


def test_the_written_report_is_read_back(report: Report, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(report.to_dict(), allow_nan=False))
    read = read_report(tmp_path / "a.json")
    assert read.protocol.num_gen == 200
    assert read.protocol.checkpoint is not None
    assert read.metrics["digit_fd"].value == report.metrics["digit_fd"].value
    assert set(read.per_class or {}) == set("0123456789")


def test_the_same_evaluation_gives_the_same_numbers_cached_or_not(snapshot: Snapshot, report: Report) -> None:
    torch.manual_seed(99)  # the global random state must not matter
    for _ in range(2):  # the first writes the cache, the second reads it
        assert _evaluate(snapshot)[0].metrics == report.metrics
    other = _evaluate(snapshot, replace(FAST, seed=4))[0]
    assert other.metrics["digit_fd"] != report.metrics["digit_fd"]


def test_repeats_are_evaluations_with_the_next_seeds(snapshot: Snapshot) -> None:
    """Mean and standard deviation of two single evaluations whose images do not overlap."""
    request = scoring.Request(metrics=("fid",), features=("classifier",), seed=5)
    both = _evaluate(snapshot, replace(request, repeats=2), n=100)[0].metrics["digit_fd"]
    fakes = sides.CheckpointFakes(snapshot, 100, CPU, trust_code=False)
    reals = sides.of_dataset(data.load(data.Source("digits"), val_size=0), fakes, seed=5)
    single = []
    for seed in (5, 105):
        moved = replace(request, seed=seed)
        value = evaluate.evaluate(fakes, reals, moved, CPU)[0].metrics["digit_fd"].value
        assert value is not None
        single.append(value)
    assert both.value == pytest.approx(sum(single) / 2, rel=1e-9)
    assert both.std == pytest.approx(abs(single[0] - single[1]) / 2**0.5, rel=1e-9)
    assert both.repeats == 2


def test_pictures_score_as_the_checkpoint_that_drew_them(snapshot: Snapshot, tmp_path: Path) -> None:
    labels = generate.proportional_labels(snapshot.facts.class_counts, 60)
    pixels = generate.all_at_once(snapshot.build(), 8, labels, range(60), CPU)
    np.savez(tmp_path / "fakes.npz", images=pixels.permute(0, 2, 3, 1).numpy(), labels=np.array(labels))
    fakes = sides.FileFakes(tmp_path / "fakes.npz", None, 0, snapshot.facts.label_names)
    reals = sides.of_dataset(data.load(data.Source("digits"), val_size=0), fakes, 0)
    request = replace(FAST, seed=0)
    from_file = evaluate.evaluate(fakes, reals, request, CPU)[0]
    drawn = _evaluate(snapshot, request, n=60)[0]
    for name in ("label_accuracy", "digit_fd", "mode_kl"):
        assert from_file.metrics[name].value == pytest.approx(drawn.metrics[name].value, rel=1e-6)
    assert from_file.protocol["images"] == "fakes.npz"


def test_pictures_without_labels_have_no_label_accuracy_and_say_why(tmp_path: Path) -> None:
    pixels = data.load(data.Source("digits"), val_size=0).test.images[:50]
    np.savez(tmp_path / "a.npz", images=pixels.permute(0, 2, 3, 1).numpy())
    fakes = sides.FileFakes(tmp_path / "a.npz", None, 0, tuple("0123456789"))
    reals = sides.of_dataset(data.load(data.Source("digits"), val_size=0), fakes, 0)
    metrics = evaluate.evaluate(fakes, reals, FAST, CPU)[0].metrics
    assert metrics["label_accuracy"].value is None
    assert "no labels" in (metrics["label_accuracy"].reason or "")
    assert metrics["digit_fd"].value is not None


def test_a_statistics_file_stands_for_the_images_it_was_made_of(snapshot: Snapshot, tmp_path: Path) -> None:
    request = scoring.Request(metrics=("fid",), features=("classifier",))
    saved = tmp_path / "real.safetensors"
    direct = _evaluate(snapshot, replace(request, save_real=saved))[0].metrics["digit_fd"]
    fakes = sides.CheckpointFakes(snapshot, 200, CPU, trust_code=False)
    script = torch.jit.trace(torch.nn.Flatten(), torch.zeros(1, 1, 8, 8))
    torch.jit.save(script, tmp_path / "flat.pt")
    other = replace(request, features=(str(tmp_path / "flat.pt"),), trust_code=True)
    with pytest.raises(UsageError, match=r"not made by flat\.pt"):
        evaluate.evaluate(fakes, sides.of_path(saved, fakes.shape), other, CPU)
    assert direct.value is not None


def test_a_program_needs_trust(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"never looked at")
    with pytest.raises(UsageError, match=r"net\.pt is a program") as caught:
        scoring.Request(features=(str(tmp_path / "net.pt"),))
    assert "--trust-code" in caught.value.fix
    scoring.Request(features=(str(tmp_path / "net.pt"),), trust_code=True)


def test_a_users_own_features(snapshot: Snapshot, tmp_path: Path) -> None:
    """Pixels as features: the distance is that of numpy on the pixels in [-1, 1]."""
    script = torch.jit.trace(torch.nn.Flatten(), torch.zeros(1, 1, 8, 8))
    torch.jit.save(script, tmp_path / "flat.pt")
    request = scoring.Request(metrics=("fid", "prdc"), features=(str(tmp_path / "flat.pt"),), trust_code=True)
    metrics = _evaluate(snapshot, request)[0].metrics
    assert set(metrics) == {"flat_fd", "flat_precision", "flat_recall", "flat_density", "flat_coverage"}
    labels = generate.proportional_labels(snapshot.facts.class_counts, 200)
    a = generate.all_at_once(snapshot.build(), 8, labels, range(200), CPU).flatten(1).numpy() / 127.5 - 1
    order = torch.randperm(297, generator=torch.Generator().manual_seed(0))[:200]
    b = data.load(data.Source("digits"), val_size=0).test.images[order].flatten(1).numpy() / 127.5 - 1
    roots = np.sqrt(np.linalg.eigvals(np.cov(a.T) @ np.cov(b.T)).astype(complex)).real.sum()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T)) - 2 * roots
    assert metrics["flat_fd"].value == pytest.approx(expected, rel=1e-3)


def test_what_cannot_be_computed_is_a_row_with_its_reason(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(path: Path | None) -> None:
        raise UsageError("the Inception weights are out of reach")

    monkeypatch.setattr(scoring.inception_weights, "find_or_fetch", offline)
    request = scoring.Request(metrics=("default",))
    metrics = _evaluate(snapshot, request)[0].metrics
    assert metrics["digit_fd"].value is not None
    assert metrics["fid"].value is None
    assert metrics["fid"].reason == "the Inception weights are out of reach"
    with pytest.raises(UsageError, match="nothing could be computed"):
        _evaluate(snapshot, replace(request, metrics=("fid",), features=("inception",)))


def test_ctrl_c_keeps_what_is_finished(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scoring.inception_weights, "find_or_fetch", interrupted)
    told: list[str] = []
    found, complete = _evaluate(snapshot, scoring.Request(), emit=lambda rows: told.extend(rows))
    assert not complete
    assert "digit_fd" in found.metrics
    assert told == list(found.metrics)


def test_memorised_images_are_found_out(tmp_path: Path) -> None:
    dataset = data.load(data.Source("digits"), val_size=0)
    shares = []
    for name, pixels in (("copies", dataset.train.images[:100]), ("fresh", dataset.test.images[:100])):
        np.savez(tmp_path / f"{name}.npz", images=pixels.permute(0, 2, 3, 1).numpy())
        fakes = sides.FileFakes(tmp_path / f"{name}.npz", None, 0, None)
        reals = sides.of_dataset(dataset, fakes, 0)
        found = evaluate.evaluate(fakes, reals, scoring.Request(metrics=("memorisation",)), CPU)[0]
        shares.append(found.metrics["nn_share_close"].value)
        assert "nearest" in found.pictures()
    assert shares[0] == 1
    assert shares[1] is not None
    assert shares[1] <= 0.05


def test_scores_of_pixels_are_repeated_too(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.Tensor, int]] = []
    accuracies = [0.9, 0.8, 0.7, 1.0]  # fakes, reals, other fakes, the same reals

    def accuracy(images: torch.Tensor, *rest: Any, **_: Any) -> SimpleNamespace:
        seen.append((images, rest[-1]))
        return SimpleNamespace(accuracy=accuracies[len(seen) - 1])

    monkeypatch.setattr(pixel_scores, "classification_accuracy", accuracy)
    request = scoring.Request(metrics=("memorisation", "cas"), repeats=2)
    rows = _evaluate(snapshot, request)[0].metrics
    assert [seed for _, seed in seen] == [0, 0, 1, 1]
    (first, reals), (other, same) = (seen[0][0], seen[1][0]), (seen[2][0], seen[3][0])
    assert torch.equal(reals, same)
    assert not (first[:, None] == other[None]).flatten(2).all(2).any()  # no image is in both
    assert (rows["cas"].value, rows["cas"].floor) == (pytest.approx(0.8), pytest.approx(0.9))
    assert (rows["cas"].std, rows["cas"].repeats) == (pytest.approx(0.02**0.5), 2)
    assert rows["nn_distance_ratio"].repeats == 2
    assert rows["nn_distance_ratio"].std


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": ("fidd",)}, "did you mean fid"),
        ({"features": ("incep",)}, "no features 'incep'"),
        ({"metrics": ("label_accuracy",), "features": ("inception",)}, "needs the classifier"),
        ({"save_real": Path("x.safetensors")}, "of one extractor"),
    ],
)
def test_a_wrong_request_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        scoring.Request(**changes)


def test_images_of_another_size_are_refused(snapshot: Snapshot) -> None:
    fakes = sides.CheckpointFakes(snapshot, 20, CPU, trust_code=False)
    fakes.shape = (1, 16)
    with pytest.raises(UsageError, match="1 × 16 × 16"):
        sides.of_dataset(data.load(data.Source("digits"), val_size=0), fakes, 0)
