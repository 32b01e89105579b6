"""Classifiers of users' own data: they learn what can be learnt, their cards are right, and what they do not
fit is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ganctl import build, config, config_tree, data, own_classifier
from ganctl.data.dataset import Dataset, DatasetFacts, ImageSet
from ganctl.errors import UsageError
from ganctl.metrics import classifier
from ganctl.metrics import classifier_training as training

NAMES = ("red", "green", "blue")
CPU = torch.device("cpu")
A_NAME = data.Source("digits")


def shapes(n: int, seed: int) -> ImageSet:
    """Noise with a square at a random place, brighter in the channel that is the label: (n, 3, 16, 16)."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    images = torch.randint(0, 120, (n, 3, 16, 16), generator=g)
    corners = torch.randint(0, 10, (n, 2), generator=g).tolist()
    for image, label, (top, left) in zip(images, labels.tolist(), corners, strict=True):
        image[label, top : top + 6, left : left + 6] += 80
    return ImageSet(images.to(torch.uint8), labels)


FACTS = DatasetFacts("npz:My shapes", NAMES, 3, 16, (64, 64, 64))
SHAPES = Dataset(FACTS, shapes(192, 0), shapes(0, 1), shapes(150, 2))


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Dataset]:
    """What is loaded, whatever is asked for."""
    there = [SHAPES]
    monkeypatch.setattr(data, "load", lambda source, val_size: there[0])
    return there


def accuracy(net: torch.nn.Module, images: ImageSet) -> float:
    with torch.no_grad():
        logits: Tensor = net(images.images.float() / 127.5 - 1)[0]
    return float((logits.argmax(1) == images.labels).double().mean())


@pytest.mark.slow
def test_what_can_be_learnt_is_learnt_and_what_cannot_is_not() -> None:
    learnt = training.train(SHAPES.train, 3, seed=0, steps=40, device=CPU)
    assert accuracy(learnt, SHAPES.test) >= 0.95
    shuffled = []
    for part, seed in ((SHAPES.train, 3), (SHAPES.test, 4)):
        order = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))
        shuffled.append(ImageSet(part.images, part.labels[order]))
    guessing = training.train(shuffled[0], 3, seed=0, steps=20, device=CPU)
    assert accuracy(guessing, shuffled[1]) <= 1 / 3 + 0.13  # three standard deviations of 150 guesses


def test_the_mirror_image_is_seen_only_where_that_is_allowed() -> None:
    images = torch.zeros(40, 1, 9, 9)
    images[:, :, 4, 1] = 1  # left of the middle, by more than any shift
    kept = training.shifted(images, torch.Generator().manual_seed(0))
    left = kept[..., :4].amax((1, 2, 3)) > 0
    assert left.all()
    assert len({tuple(image.nonzero()[0].tolist()) for image in kept[:, 0]}) == 9  # each shift of ±1 occurs
    mirrored = training.shifted(images, torch.Generator().manual_seed(0), mirror=True)
    share = (mirrored[..., :4].amax((1, 2, 3)) > 0).double().mean()
    assert 0.25 < share < 0.75
    edge = training.shifted(torch.ones(8, 3, 12, 12), torch.Generator().manual_seed(0))
    assert (edge == 1).all()  # what comes in from outside is the edge, no black border


@pytest.mark.parametrize("flip", [True, False, None])
def test_the_data_say_whether_they_may_be_mirrored(
    flip: bool | None, found: list[Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, str]] = []

    def defaults(chosen: dict[str, str]) -> dict[str, dict[str, bool | None]]:
        asked.append(chosen)
        return {"data": {} if flip is None else {"flip": flip}}

    monkeypatch.setattr(config_tree, "defaults", defaults)
    mirrored: list[bool] = []
    train = training.train
    monkeypatch.setattr(
        training, "train", lambda *args, mirror, **kw: mirrored.append(mirror) or train(*args, **kw)
    )
    made = own_classifier.make(data.Source("birds"), tmp_path / "c.safetensors", steps=1)
    assert asked == [{"data": "birds"}]
    assert mirrored == [flip is True]
    assert ("mirrored at random" in made.card.read_text()) == (flip is True)


def test_small_sets_get_enough_steps_and_large_ones_no_hours() -> None:
    def seen(n: int) -> int:
        return training.default_steps(n) * training.batch_size(n)

    assert 19_000 <= seen(2) <= seen(300) <= 20_000
    assert seen(5_000) == pytest.approx(100_000, rel=0.01)
    assert seen(1_000_000) == pytest.approx(500_000, rel=0.01)
    assert all(training.batch_size(n) <= n for n in (2, 31, 33, 5000))


def test_same_seed_same_bytes_and_the_callers_random_state_stays(
    found: list[Dataset], tmp_path: Path
) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    files = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        own_classifier.make(A_NAME, tmp_path / name / "c.safetensors", seed=seed, steps=3)
        files[name] = [(tmp_path / name / f"c.{kind}").read_bytes() for kind in ("safetensors", "md")]
    assert torch.equal(torch.get_rng_state(), state)
    assert files["a"] == files["b"]
    assert files["a"][0] != files["c"][0]


def test_the_card_says_what_an_independent_count_says(found: list[Dataset], tmp_path: Path) -> None:
    hard = SHAPES.test.labels.clone()
    hard[:9] = (hard[:9] + 1) % 3  # nine images nobody can get right
    found[0] = replace(SHAPES, test=ImageSet(SHAPES.test.images, hard))
    made = own_classifier.make(A_NAME, tmp_path / "own.safetensors", steps=40)
    loaded = classifier.read(made.path)
    with torch.no_grad():
        seen = loaded.module(SHAPES.test.images.float() / 127.5 - 1)[0].argmax(1)
    right = (seen == hard).double()
    assert 0.5 < right.mean() < 0.95  # a card that says 100 % would be wrong
    card = made.card.read_text()
    assert f"| test accuracy | {right.mean():.2%} of the 150 test images" in card
    assert loaded.test_accuracy == made.accuracy == pytest.approx(float(right.mean()), abs=1e-12)
    for k, name in enumerate(NAMES):
        assert f"| {name} | {int((hard == k).sum())} | {right[hard == k].mean():.2%} |" in card
    wrong = {(i, j): int(((hard == i) & (seen == j)).sum()) for i in range(3) for j in range(3) if i != j}
    rows = re.findall(r"^\| (\w+) \| (\w+) \| (\d+) \|$", card, re.MULTILINE)
    assert {(NAMES.index(a), NAMES.index(b)): int(n) for a, b, n in rows} == {
        p: n for p, n in wrong.items() if n
    }
    assert [int(n) for *_, n in rows] == sorted((int(n) for *_, n in rows), reverse=True)
    assert loaded.digest in card
    assert (loaded.prefix, loaded.dataset, loaded.label_names) == ("My_shapes", "npz:My shapes", NAMES)
    assert json.loads(json.dumps(made.to_dict()))["per_class"]["red"] == pytest.approx(
        float(right[hard == 0].mean())
    )


@pytest.mark.parametrize(
    ("facts", "test", "what"),
    [
        ({"label_names": (), "class_counts": ()}, 150, "has no labels"),
        ({"label_names": ("red",), "class_counts": (192,)}, 150, "one class alone"),
        ({"resolution": 7}, 150, "7 × 7 pixels"),
        ({}, 0, "has no test images"),
    ],
)
def test_data_that_teach_nothing_are_refused(
    facts: dict[str, Any], test: int, what: str, found: list[Dataset], tmp_path: Path
) -> None:
    found[0] = replace(SHAPES, facts=replace(FACTS, **facts), test=shapes(test, 2))
    with pytest.raises(UsageError, match=what) as caught:
        own_classifier.make(A_NAME, tmp_path / "c.safetensors", steps=1)
    assert caught.value.fix
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(found: list[Dataset], tmp_path: Path) -> None:
    for name in ("c.md", "c.safetensors"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(UsageError, match=re.escape(name)):
            own_classifier.make(A_NAME, tmp_path / "c.safetensors", steps=1)
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
    with pytest.raises(UsageError, match="no name for a classifier"):
        own_classifier.make(A_NAME, tmp_path / "c.pt", steps=1)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("digits", "digits"),
        ("folder:My cats & dogs!", "My_cats_dogs"),
        ("npz:鳥", "own"),
        ("npz:../../x", "x"),
        ("npz:" + "a" * 200, "a" * 32),
    ],
)
def test_names_of_metrics_are_safe(name: str, prefix: str) -> None:
    assert own_classifier.prefix_of(name) == prefix


# -- what a classifier fits --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "c.safetensors"
    net = training.train(SHAPES.train, 3, seed=0, steps=1, device=CPU)
    classifier.save(path, net, dataset="npz:shapes", label_names=NAMES, prefix="shapes", accuracy=0.5)
    return path


def test_what_does_not_fit_is_named(loaded: Path) -> None:
    judge = classifier.read(loaded)
    judge.require_fit("x", (3, 16), NAMES)
    judge.require_fit("x", (3, 16), ())  # a set without labels: its features alone
    for shape, names, what in (
        ((1, 16), NAMES, "reads 3 × 16 × 16 images, x has 1 × 16 × 16"),
        ((3, 32), NAMES, "x has 3 × 32 × 32"),
        ((3, 16), ("red", "blue", "green"), "calls label 1 'green', x calls it 'blue'"),
        ((3, 16), ("red", "green"), "knows 3 labels, x has 2"),
    ):
        with pytest.raises(UsageError, match=what) as caught:
            judge.require_fit("x", shape, names)
        assert "ganctl train-classifier" in caught.value.fix


def test_training_takes_the_users_and_refuses_what_does_not_fit(loaded: Path) -> None:
    cfg = config.compose(["data=digits", f"callbacks.evaluate.classifier={loaded}"])
    judge = build.load_classifier(cfg, FACTS)
    assert judge is not None
    assert judge.prefix == "shapes"
    with pytest.raises(UsageError, match="digits has 1 × 8 × 8"):
        build.load_classifier(cfg, data.load(A_NAME).facts)
    bundled = build.load_classifier(config.compose(["data=digits"]), data.load(A_NAME).facts)
    assert bundled is not None
    assert bundled.prefix == "digit"
    assert build.load_classifier(config.compose(["data=digits"]), FACTS) is None
    assert "ganctl train-classifier" in " ".join(classifier.none_for(FACTS))


def test_a_stranger_s_file_takes_no_memory_and_runs_nothing(loaded: Path, tmp_path: Path) -> None:
    facts: dict[str, Any] = {
        "dataset": "x",
        "label_names": ["a", "b"],
        "arguments": {"channels": 1, "resolution": 8, "num_classes": 2, "width": 4},
        "test_accuracy": 0.5,
        "prefix": "x",
    }
    path = tmp_path / "c.safetensors"
    for changes in (
        {"arguments": facts["arguments"] | {"width": 10**9}},
        {"arguments": facts["arguments"] | {"width": 1024}},  # sound, but not the weights that are there
        {"arguments": facts["arguments"] | {"batch_norm": 1}},
        {"label_names": ["a", "a"]},
        {"label_names": ["a", "\x1b[2J"]},
        {"prefix": "../x"},
        {"test_accuracy": "good"},
    ):
        save_file({"w": torch.zeros(2)}, path, {"classifier": json.dumps(facts | changes)})
        with pytest.raises(UsageError, match=r"c\.safetensors can't be read") as caught:
            classifier.read(path)
        assert "ganctl train-classifier" in caught.value.fix
