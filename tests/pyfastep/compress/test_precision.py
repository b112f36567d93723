"""What is set for one training is gone after it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from pyfastep.compress.precision import computes_bf16, own_forward, own_precision  # noqa: E402


def change_the_environment() -> None:
    assert os.environ["ACCELERATE_MIXED_PRECISION"] == "no"
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"
    os.environ["FASTEP_TEST_NEW"] = "1"
    del os.environ["FASTEP_TEST_OLD"]
    raise FloatingPointError


@pytest.mark.parametrize("known", ["fp16", None])
def test_the_environment_is_as_before(known: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTEP_TEST_OLD", "x")
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    if known:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", known)
    before = dict(os.environ)
    with pytest.raises(FloatingPointError), own_precision():
        change_the_environment()
    assert dict(os.environ) == before


def test_forward_is_as_before() -> None:
    model = torch.nn.Linear(2, 2)
    with own_forward(model):
        model._original_forward = model.forward
        model.forward = lambda x: x.new_zeros(3)
        assert model(torch.ones(2)).shape == (3,)
    assert model(torch.ones(2)).shape == (2,)
    assert not hasattr(model, "_original_forward")

    own = lambda x: x.new_zeros(5)  # noqa: E731
    model.forward = own
    with own_forward(model):
        model.forward = lambda x: x
    assert model.forward is own


@pytest.mark.parametrize(
    ("text", "expected"), [("flags\t: avx2 amx_bf16 fma\n", True), ("flags\t: avx512_bf16\n", False), ("", False)]
)
def test_a_cpu_that_is_fast_in_bf16(text: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(Path, "read_text", lambda path: text)
    assert computes_bf16() is expected
