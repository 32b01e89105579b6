"""What a pickle of torch.save claims is compared with what the file holds."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from ganctl import pickled

W = torch.arange(12, dtype=torch.float32).reshape(3, 4)


def saved(content: Any) -> io.BytesIO:
    out = io.BytesIO()
    torch.save(content, out)
    return out


def members(file: io.BytesIO) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {m.filename: archive.read(m) for m in archive.infolist()}


def rebuilt(content: dict[str, bytes]) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return out


def read(file: io.BytesIO) -> Any:
    return torch.load(pickled.checked_archive(file), weights_only=True)


def claiming(old: bytes, new: bytes) -> io.BytesIO:
    """The file of `W` with other bytes in its pickle."""
    content = members(saved({"w": W}))
    program = content["archive/data.pkl"]
    assert program.count(old) == 1
    return rebuilt(content | {"archive/data.pkl": program.replace(old, new)})


def test_what_torch_writes_of_a_training_passes() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3)).to(
        memory_format=torch.channels_last
    )
    optimizer = torch.optim.Adam(net.parameters(), betas=(0.0, 0.99))
    net(torch.rand(2, 2, 5, 5)).sum().backward()
    optimizer.step()
    content = {
        "net": net.state_dict(),
        "ema": dict(net.state_dict()),  # the same storages under two names
        "optimizer": optimizer.state_dict(),
        "numbers": [1, -1, 2**40, 0.5, True, None, "ä", (1, 2)],
        "empty": torch.empty(0, 4),
        "part": W[1:, 2:],
        "kinds": [torch.zeros(2, dtype=d) for d in (torch.bool, torch.bfloat16, torch.uint8, torch.int64)],
    }
    found = read(saved(content))
    assert found["numbers"] == content["numbers"]
    assert torch.equal(found["part"], W[1:, 2:])
    assert all(torch.equal(found["net"][k], v) for k, v in net.state_dict().items())
    assert found["net"]["0.weight"].stride() == net.get_parameter("0.weight").stride()
    assert found["optimizer"]["param_groups"] == optimizer.state_dict()["param_groups"]


def test_a_flipped_bit_in_a_weight_is_seen() -> None:
    # torch alone does not see it: it verifies no checksums.
    data = bytearray(saved({"w": W}).getvalue())
    data[data.index(struct.pack("<f", 7.0))] ^= 1
    assert not torch.equal(torch.load(io.BytesIO(data), weights_only=True)["w"], W)
    with pytest.raises(zipfile.BadZipFile, match="CRC"):
        read(io.BytesIO(data))


# `K` is a number of one byte, `M` of two, `\x8a` of any size: what W's pickle says of it, and lies.
STORAGE, SIZE, STRIDE = b"K\x0ctq", b"K\x00K\x03K\x04\x86", b"K\x04K\x01\x86"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (STORAGE, b"K\x0dtq"),
        (STORAGE, b"K\x0btq"),
        (STORAGE, b"\x8a\x05\x00\x10\xa5\xd4\xe8tq"),  # 10**12
        (STORAGE, b"J\xff\xff\xff\xfftq"),
        (STORAGE, b"\x88tq"),
        (SIZE, b"K\x01K\x03K\x04\x86"),
        (SIZE, b"K\x00K\x03K\x05\x86"),
        (SIZE, b"K\x00K\x03J\xff\xff\xff\xff\x86"),
        (SIZE, b"K\x00K\x03\x85"),
        (STRIDE, b"K\x05K\x01\x86"),
        (STRIDE, b"K\x04J\xff\xff\xff\xff\x86"),
        (b"K\x00K\x03K\x04\x86", b"K\x00\x8a\x05\x00\x10\xa5\xd4\xe8K\x00\x86"),
        (b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x009"),  # another storage
        (b"FloatStorage", b"DoubleStorage"),
    ],
)
def test_claims_beyond_the_record_are_refused(old: bytes, new: bytes) -> None:
    with pytest.raises((ValueError, LookupError)):
        pickled.checked_archive(claiming(old, new))


def test_an_expanded_tensor_is_refused() -> None:
    # A million views of one element take nothing until somebody copies them.
    with pytest.raises(ValueError, match="does not hold"):
        read(saved({"w": torch.zeros(1).expand(10**6)}))


def test_a_storage_may_be_shared_a_few_times_only() -> None:
    assert len(read(saved([W] * 3 + [W.view(-1) for _ in range(10)]))) == 13
    with pytest.raises(ValueError, match="does not hold"):
        read(saved([W.view(-1) for _ in range(20)]))


class _Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


@pytest.mark.parametrize(
    "call",
    [
        _Call(Path.touch, Path("executed")),
        _Call(eval, "open('executed', 'w')"),
        _Call(torch._utils._rebuild_meta_tensor_no_storage, torch.float32, (10**6, 10**6), (1, 1), False),
        _Call(OrderedDict, [(1, 2)]),
        torch.nn.Parameter(W),
        torch.sparse_coo_tensor(torch.tensor([[0]]), torch.tensor([1.0]), (10**12,), check_invariants=True),
        torch.float32,
        {1, 2},
        b"bytes",
        bytearray(2),
        1j,
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_a_checkpoint_never_needs_is_refused(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickle.UnpicklingError):
        pickled.checked_archive(saved({"x": call}))
    assert list(tmp_path.iterdir()) == []


HEAD = b"\x80\x02}X\x01\x00\x00\x00x"
DEEP = b")" + b"\x85" * 300_000


@pytest.mark.parametrize(
    ("program", "error"),
    [
        (b"\x80\x02}" + DEEP + b"Ns.", ValueError),  # hashing it would overflow the machine's stack
        (HEAD + b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" + DEEP + b"NNtQs.", ValueError),
        (HEAD + b"N0s.", pickle.UnpicklingError),
        (HEAD + b"(l" * 10 + b"s.", pickle.UnpicklingError),
        (HEAD + b"X\xff\xff\xff\xff" + b"s.", ValueError),
        (HEAD + b"N" * 500_001, ValueError),
        (HEAD + b"h\x07s.", LookupError),
        (b"\x80\x02a.", LookupError),
        (b"\x80\x02u.", LookupError),
        (b"\x80\x04N.", pickle.UnpicklingError),
        (HEAD + b"Ns", ValueError),
        (b"", ValueError),
    ],
)
def test_programs_that_torch_never_writes_are_refused(program: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        pickled.check(program, {"0": 4})


def test_a_place_in_the_memo_takes_no_memory() -> None:
    # Python's own unpickler makes room for all places before it: 64 GB.
    program = HEAD + b"Nr\xff\xff\xff\xffs."
    pickled.check(program, {})


@pytest.mark.parametrize(
    "change",
    [
        {"archive/constants.pkl": b""},
        {"archive/../evil": b"x"},
        {"other/data/1": b""},
        {"archive/data/0": W.numpy().tobytes()[:-4]},
        {"archive/data/x": b""},
    ],
)
def test_members_that_torch_never_writes_are_refused(change: dict[str, bytes]) -> None:
    with pytest.raises((zipfile.BadZipFile, ValueError)):
        pickled.checked_archive(rebuilt(members(saved({"w": W})) | change))


def test_packed_members_are_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members(saved({"w": W})).items():
            archive.writestr(name, data)
    with pytest.raises(zipfile.BadZipFile):
        pickled.checked_archive(out)


def test_without_tensors_is_all_that_a_file_says_but_its_weights() -> None:
    content = {"a": [1, 2.5, None, True, "x"], "w": W, "state": OrderedDict(w=W, v=W[1:])}
    content["state"]._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    found = pickled.without_tensors(saved(content))
    assert found == {"a": [1, 2.5, None, True, "x"], "w": None, "state": {"w": None, "v": None}}


def test_without_tensors_calls_nothing() -> None:
    good = members(saved({"w": W}))
    for payload in (
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x02cbuiltins\nexec\nX\x04\x00\x00\x00passq\x00\x85R.",
    ):
        with pytest.raises((pickle.UnpicklingError, ValueError, LookupError)):
            pickled.without_tensors(rebuilt({**good, "archive/data.pkl": payload}))
    # A value with the number 2³¹ - 1: Python's own reader would make a table of so many.
    numbered = b"\x80\x02}r\xff\xff\xff\x7f."
    assert pickled.without_tensors(rebuilt({**good, "archive/data.pkl": numbered})) == {}
    missing = {name: data for name, data in good.items() if not name.endswith("data/0")}
    with pytest.raises((ValueError, LookupError)):
        pickled.without_tensors(rebuilt(missing))
