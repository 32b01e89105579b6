"""Exported files draw what the checkpoint draws, say what they are, and are not there when they don't."""

from __future__ import annotations

import importlib.util
import io
import json
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import docs_commands
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from ganctl import checkpoint, cli, latents, networks, runs, sample
from ganctl.data.dataset import DatasetFacts
from ganctl.errors import GanctlError, UsageError
from ganctl.generator import Generator
from ganctl.sharing import formats as export_formats
from ganctl.sharing.export import export
from ganctl.snapshot import Snapshot

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("torch-export", "onnx")]
FORMATS = ["safetensors", "torchscript", *SLOW]
GRAPHS = ["torchscript", *SLOW]  # the formats that need no ganctl
SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"_target_": "ganctl.networks.mlp.Generator", "widths": [16, 32]},
    "dcgan": {"_target_": "ganctl.networks.dcgan.Generator", "width": 4},
    "resnet": {
        "_target_": "ganctl.networks.resnet.Generator",
        **{"widths": [8, 6], "norm": "cbn", "attention": 4},
    },
}


def snapshot_of(network: str, labels: tuple[str, ...], channels: int, resolution: int) -> Snapshot:
    """An untrained generator with statistics of batch normalisation that are not its first ones."""
    torch.manual_seed(0)
    facts = DatasetFacts("x", labels, channels, resolution, (5,) * len(labels))
    shape = {"latent_dim": 6, "num_classes": len(labels), "channels": channels, "resolution": resolution}
    G = networks.build(SMALL[network], trust_code=False, **shape)
    for p in (p for p in G.parameters() if not p.any()):  # of `resnet`, parts that would not show
        nn.init.normal_(p, std=0.3)
    for _ in range(20):
        G(torch.randn(32, 6), torch.randint(max(len(labels), 1), (32,)))
    places = {"run": {"dir": "/home/me/SECRET"}, "logger": {"entity": "SECRET"}, "ckpt_path": "SECRET"}
    config = {"name": "x", "model": {"lr": 1.0}, "data": {"root": "SECRET", "name": "x"}, **places}
    ema = {name: w.clone() for name, w in G.state_dict().items()}
    return Snapshot(config, facts, 6, SMALL[network], ema, 1, 1, "SECRET", {"ganctl": "1"})


def draw_without_ganctl(name: str, path: Path, z: Tensor, y: Tensor | None) -> Tensor:
    """As a user of the file would, from the documentation of its runtime."""
    inputs = {"z": z} | ({} if y is None else {"y": y})
    if name == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(["images"], {k: v.numpy() for k, v in inputs.items()})[0])
    with torch.no_grad(), warnings.catch_warnings(action="ignore", category=FutureWarning):
        if name == "torchscript":
            return torch.jit.load(path)(*inputs.values())
        with path.open("rb") as file:
            return torch.export.load(file).module()(*inputs.values())


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize(
    ("network", "labels", "channels", "resolution"),
    [
        ("mlp", ("a", "b", "c"), 1, 8),
        ("mlp", (), 3, 5),
        ("dcgan", ("a", "b"), 3, 9),
        ("dcgan", (), 1, 28),
        ("resnet", ("a", "b"), 3, 8),
    ],
)
def test_what_is_exported_draws_what_sample_draws(
    name: str, network: str, labels: tuple[str, ...], channels: int, resolution: int, tmp_path: Path
) -> None:
    snapshot = snapshot_of(network, labels, channels, resolution)
    done = export(snapshot, name, tmp_path / "file")
    seeds = range(1000, 1070)  # not those that the export compares
    y = len(labels) - 1 if labels else 0
    expected = drawn_by_sample(snapshot, [y], seeds)
    z = latents.from_seeds(seeds, 6)
    for size in (1, 3, 70):
        drawn = draw_without_ganctl(name, done.path, z[:size], torch.full((size,), y) if labels else None)
        assert drawn.dtype == torch.uint8
        assert drawn.shape == (size, channels, resolution, resolution)
        assert (drawn.int() - expected[:size].int()).abs().max() <= 1
    assert expected.float().std() > 10
    if labels:  # it looks at the label
        other = draw_without_ganctl(name, done.path, z, torch.zeros(70, dtype=torch.int64))
        assert (other.int() - expected.int()).abs().max() > 5


def drawn_by_sample(snapshot: Snapshot, labels: Sequence[int], seeds: Sequence[int]) -> torch.Tensor:
    return sample.pixels(Generator(snapshot, torch.device("cpu")), sample.Product(labels, seeds))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "torchscript", "torch-export"])
def test_the_bundled_generator_over_a_hundred_pairs(name: str, tmp_path: Path) -> None:
    snapshot = checkpoint.read(runs.BUNDLED)
    done = export(snapshot, name, tmp_path / "file")
    assert (done.num_compared, done.max_difference <= 1) == (100, True)
    seeds = range(500, 510)
    expected = drawn_by_sample(snapshot, range(10), seeds)
    z = latents.from_seeds(seeds, snapshot.latent_dim).repeat(10, 1)
    drawn = draw_without_ganctl(name, done.path, z, torch.arange(10).repeat_interleave(10))
    assert (drawn.int() - expected.int()).abs().max() <= 1
    assert drawn.unique(dim=0).shape[0] == 100


def test_sample_draws_the_same_bytes_from_a_safetensors_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    assert run(cli.app, ["export", "--to", "safetensors", "--out", "g.safetensors"]).exit_code == 0
    pictures = []
    for ckpt in ([], ["--ckpt", "g.safetensors"]):
        done = run(cli.app, ["sample", *ckpt, "--label", "3,5", "--n", "4", "--out", "grid.png"])
        assert done.exit_code == 0, done.stderr
        pictures.append(Path("grid.png").read_bytes())
        Path("grid.png").unlink()
    assert pictures[0] == pictures[1]


def about(name: str, path: Path) -> dict[str, Any]:
    if name == "onnx":
        import onnx

        return json.loads({p.key: p.value for p in onnx.load(path).metadata_props}["ganctl"])
    extra: dict[str, Any] = {"ganctl": ""}
    with path.open("rb") as file, warnings.catch_warnings(action="ignore", category=FutureWarning):
        (torch.jit.load if name == "torchscript" else torch.export.load)(
            file, **{"_extra_files" if name == "torchscript" else "extra_files": extra}
        )
    return json.loads(extra["ganctl"])


@pytest.mark.parametrize("name", GRAPHS)
def test_a_file_says_what_it_is(name: str, tmp_path: Path) -> None:
    snapshot = snapshot_of("dcgan", ("shirt", "ßandal"), 3, 8)
    said = about(name, export(snapshot, name, tmp_path / "file").path)
    assert said["label_names"] == ["shirt", "ßandal"]
    assert (said["latent_dim"], said["channels"], said["resolution"]) == (6, 3, 8)
    assert said["digest"] == snapshot.digest
    assert "manual_seed(seed)" in said["seed"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_names_no_place_and_no_account(name: str, tmp_path: Path) -> None:
    path = export(snapshot_of("mlp", ("a", "b"), 1, 8), name, tmp_path / "file").path
    parts = [path.read_bytes()]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(io.BytesIO(parts[0])) as archive:
            parts = [archive.read(member) for member in archive.namelist()]
    for place in ("SECRET", str(Path(networks.__file__).parent), str(Path(torch.__file__).parent)):
        assert not any(place.encode() in part for part in parts), place


@pytest.mark.parametrize(("levels", "accepted"), [(1, True), (2, False)])
def test_a_file_that_draws_other_images_is_not_there(
    levels: int, accepted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = export_formats.FORMATS["torchscript"]

    def read(path: Path, trust_code: bool) -> Callable[..., Tensor]:
        draw = real.read(path, trust_code)

        def changed(*inputs: Tensor) -> Tensor:
            images = draw(*inputs)
            if len(images) == 35:  # in the last batch alone
                images[-1, 0, 0, 0] += levels if images[-1, 0, 0, 0] < 128 else -levels
            return images

        return changed

    monkeypatch.setitem(export_formats.FORMATS, "torchscript", replace(real, read=read))
    target = tmp_path / "file"
    target.write_text("before")
    snapshot = snapshot_of("mlp", ("a", "b"), 1, 8)
    if accepted:
        assert export(snapshot, "torchscript", target, force=True).max_difference == levels
        assert target.read_bytes() != b"before"
    else:
        with pytest.raises(GanctlError, match="differ by up to 2 grey levels"):
            export(snapshot, "torchscript", target, force=True)
        assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


class Stubborn(nn.Module):
    """Draws two images whatever it is asked for, once it is traced."""

    def __init__(self, latent_dim: int, num_classes: int, channels: int, resolution: int) -> None:
        super().__init__()
        self.side = resolution

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return torch.zeros(len(z), 1, self.side, self.side) + z.mean()


def test_a_network_that_cannot_be_exported_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    spec = {"_target_": f"{__name__}.Stubborn"}
    snapshot = replace(snapshot_of("mlp", (), 1, 8), generator=spec, ema={})
    with pytest.raises(UsageError, match="not part of ganctl"):
        export(snapshot, "torchscript", tmp_path / "file")
    with pytest.raises(GanctlError, match="file does not draw"):
        export(snapshot, "torchscript", tmp_path / "file", trust_code=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists_is_kept_unless_forced(tmp_path: Path) -> None:
    snapshot, target = snapshot_of("mlp", (), 1, 8), tmp_path / "file"
    target.write_text("before")
    with pytest.raises(UsageError, match="file exists"):
        export(snapshot, "safetensors", target)
    assert target.read_text() == "before"
    export(snapshot, "safetensors", target, force=True)
    assert checkpoint.read(target).digest == snapshot.digest


def test_wrong_words_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = snapshot_of("mlp", (), 1, 8)
    with pytest.raises(UsageError, match="did you mean torchscript"):
        export(snapshot, "torchscrpt", tmp_path / "file")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"onnxruntime\npip install 'ganctl\[onnx\]'"):
        export(snapshot, "onnx", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.ckpt", "--ckpt", "b.ckpt", "--to", "onnx"], "two checkpoints"),
        (["nothing.ckpt", "--to", "torchscript"], "nothing.ckpt"),
        (["--to", "torchscript", "--out", "/proc/file"], "cannot write /proc/file"),
        (["broken.ckpt", "--to", "torchscript"], "broken.ckpt is damaged"),
        ([], "--to"),
    ],
)
def test_bad_input_ends_with_2(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.ckpt").write_bytes(b"PK\3\4" + bytes(100))
    done = CliRunner().invoke(cli.app, ["export", *words])
    assert done.exit_code == 2
    assert said in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["broken.ckpt"]


@pytest.mark.slow
def test_the_snippets_of_the_documentation_draw_what_sample_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    snapshot = checkpoint.read(runs.BUNDLED)
    for name, file in export_formats.FORMATS.items():
        export(snapshot, name, Path(f"last{file.suffix}"))
    page = docs_commands.blocks(docs_commands.ROOT / "docs" / "export.md")
    snippets = [block.text for block in page if block.language == "python"]
    assert len(snippets) == 5
    fives = drawn_by_sample(snapshot, [5], range(16))
    names: dict[str, Any] = {}
    drawn = []
    for snippet in snippets:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of TorchScript
            exec(snippet, names)
        drawn.append(torch.as_tensor(names["images"]))
    differences = [int((images.int() - fives.int()).abs().max()) for images in drawn]
    assert differences[0] > 1  # of numpy's own z
    assert max(differences[1:]) <= 1
    assert names["weights"].keys() == snapshot.ema.keys()
    assert json.loads(names["about"])["latent_dim"] == 64
