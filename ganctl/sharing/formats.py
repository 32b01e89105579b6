"""The formats of an exported generator: how each is written, and how its own runtime reads it back."""

from __future__ import annotations

import importlib.util
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ganctl import checkpoint, images
from ganctl.errors import UsageError, nearest
from ganctl.generate import MICRO_BATCH
from ganctl.snapshot import Snapshot

ABOUT = "ganctl"  # the entry of a file under which it says what it is, as JSON


class Drawing(nn.Module):
    """A generator with the conversion to pixels inside: its user needs no code of ours.

    z (N, latent_dim) float32, y (N,) int64, left out of an unconditional one -> images (N, C, H, W) uint8.
    """

    def __init__(self, G: nn.Module) -> None:
        super().__init__()
        self.G = G

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if y is None:  # an unconditional generator does not look at it
            y = torch.zeros_like(z[:, 0], dtype=torch.int64)
        return images.to_uint8(self.G(z, y))


@dataclass(frozen=True)
class Original:
    """What is written.

    Args:
        snapshot: the generator.
        drawing: built from it, on the CPU.
        inputs: two of each input: z (2, latent_dim) and, of a conditional one, y (2,).
        about: what the file says of itself, as JSON.
    """

    snapshot: Snapshot
    drawing: Drawing
    inputs: tuple[Tensor, ...]
    about: str


Draw = Callable[..., Tensor]  # the inputs of `Drawing.forward` -> its output


@dataclass(frozen=True)
class Format:
    """
    Args:
        suffix: of its files.
        write: makes the file.
        read: makes what draws, of nothing but the file; `trust_code` as for `Snapshot.build`.
        packages: that it needs besides torch, by the names they are imported under.
        extra: of ganctl, that installs these.
    """

    suffix: str
    write: Callable[[Original, Path], None]
    read: Callable[[Path, bool], Draw]
    packages: tuple[str, ...] = ()
    extra: str = ""


def find(name: str) -> Format:
    """The format of a name.

    Raises:
        UsageError: there is none, or its packages are missing.
    """
    if name not in FORMATS:
        raise UsageError(f"there is no format {name!r}", nearest(name, FORMATS))
    found = FORMATS[name]
    missing = [package for package in found.packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UsageError(f"{name} needs {', '.join(missing)}", f"pip install 'ganctl[{found.extra}]'")
    return found


def _write_safetensors(original: Original, path: Path) -> None:
    checkpoint.write(path, original.snapshot)


def _read_safetensors(path: Path, trust_code: bool) -> Draw:
    G = checkpoint.read(path).build(trust_code=trust_code)
    drawing = Drawing(G.to(memory_format=torch.channels_last))

    def draw(*inputs: Tensor) -> Tensor:
        """As `ganctl sample` does: in batches of one size, so that not even roundings differ."""
        n = len(inputs[0])
        padded = (torch.cat([t, t.new_zeros(MICRO_BATCH - n, *t.shape[1:])]) for t in inputs)
        return drawing(*padded)[:n]

    return draw


def _write_torch_export(original: Original, path: Path) -> None:
    N = torch.export.Dim("N")  # noqa: N806, its name in shapes
    shapes = tuple({0: N} for _ in original.inputs)
    program = torch.export.export(original.drawing, original.inputs, dynamic_shapes=shapes)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    with path.open("xb") as file:
        torch.export.save(program, file, extra_files={ABOUT: original.about})


def _read_torch_export(path: Path, trust_code: bool) -> Draw:
    with path.open("rb") as file:
        return torch.export.load(file).module()


def _write_torchscript(original: Original, path: Path) -> None:
    with _silent(r"`torch\.jit\.\w+` is deprecated"):
        # Whether a branch was taken that depends on the inputs is seen when the file is compared.
        with warnings.catch_warnings(action="ignore", category=torch.jit.TracerWarning):
            traced = torch.jit.trace(original.drawing, original.inputs, check_trace=False)
        with path.open("xb") as file:
            torch.jit.save(traced, file, _extra_files={ABOUT: original.about})
    _without_sources(path)


def _without_sources(path: Path) -> None:
    """Leaves out where each operation stood in Python's files: paths of this machine."""
    with zipfile.ZipFile(path) as archive:
        members = [(m, archive.read(m)) for m in archive.infolist() if not m.filename.endswith(".debug_pkl")]
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members:
            archive.writestr(member, content)


def _read_torchscript(path: Path, trust_code: bool) -> Draw:
    with _silent(r"`torch\.jit\.\w+` is deprecated"), path.open("rb") as file:
        loaded: Draw = torch.jit.load(file)
        return loaded


def _write_onnx(original: Original, path: Path) -> None:
    names = ["z", "y"][: len(original.inputs)]
    N = torch.export.Dim("N")  # noqa: N806, its name in shapes
    # Of the second input: it is the same axis.
    with _silent("# The axis name: N will not be used"):
        program = torch.onnx.export(
            original.drawing,
            original.inputs,
            dynamo=True,
            dynamic_shapes=tuple({0: N} for _ in names),
            input_names=names,
            output_names=["images"],
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # of the exporter's own use: a third of a small file
    program.model.metadata_props[ABOUT] = original.about
    program.save(path, external_data=False)  # one file


def _read_onnx(path: Path, trust_code: bool) -> Draw:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def draw(*inputs: Tensor) -> Tensor:
        arrays = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(["images"], arrays)[0])

    return draw


@contextmanager
def _silent(message: str) -> Iterator[None]:
    """One warning of torch, of which the user need not know."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message)
        yield


FORMATS = {
    "safetensors": Format(".safetensors", _write_safetensors, _read_safetensors),
    "onnx": Format(".onnx", _write_onnx, _read_onnx, ("onnx", "onnxscript", "onnxruntime"), "onnx"),
    "torchscript": Format(".pt", _write_torchscript, _read_torchscript),
    "torch-export": Format(".pt2", _write_torch_export, _read_torch_export),
}
