"""What is built of a configuration before a training starts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ganctl import config
from ganctl.build import resolve_precision


@pytest.fixture(autouse=True)
def no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def resolved(*overrides: str) -> Any:
    return resolve_precision(config.compose(list(overrides))).trainer.precision


@pytest.mark.parametrize(
    ("instructions", "precision"),
    [({"amx_bf16": True}, "bf16"), ({"avx512_bf16": True}, "bf16"), ({"avx2": True, "amx_bf16": False}, 32)],
)
def test_auto_takes_bf16_where_the_cpu_has_it(
    instructions: dict[str, bool], precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions, raising=False)
    assert resolved() == precision
    assert resolved("trainer=ddp_cpu") == precision
    assert resolved("trainer.precision=32") == 32
    assert resolved("trainer.precision=bf16") == "bf16"


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16"), (False, 32)])
def test_on_a_gpu_auto_asks_the_gpu(native: bool, precision: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": not native}, raising=False)
    assert resolved() == precision
    assert resolved("trainer=gpu") == precision
    assert resolved("trainer=cpu") == (32 if native else "bf16")
