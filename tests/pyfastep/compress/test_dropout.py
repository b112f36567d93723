"""Every dropout of an encoder is reached, the fused attention's too, and everything is as before afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from .encoders import batches, tiny_bert, tiny_distilbert

torch = pytest.importorskip("torch")

from pyfastep.compress.dropout import dropout_rate  # noqa: E402


def twice(model: Any) -> tuple[Any, Any]:
    """First output of two forward passes as in training."""
    (batch,) = batches(count=1)
    model.train()
    return model(**batch)[0], model(**batch)[0]


@pytest.mark.parametrize("make", [tiny_bert, tiny_distilbert])
def test_without_dropout_training_mode_is_deterministic(make: Any) -> None:
    model = make()
    before = model.config.to_dict()
    assert not torch.equal(*twice(model))
    with dropout_rate(model, 0.0):
        assert torch.equal(*twice(model))
        assert model.config.to_dict() == before
    assert not torch.equal(*twice(model))


@pytest.mark.parametrize("make", [tiny_bert, tiny_distilbert])
def test_attention_alone_is_reached(make: Any) -> None:
    """With every nn.Dropout off, what is left is attention's own."""
    model = make()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    assert not torch.equal(*twice(model))
    with dropout_rate(model, 0.0):
        assert torch.equal(*twice(model))


def fail_after_looking(model: Any, rate: float) -> None:
    assert {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} == {rate}
    raise FloatingPointError


def test_none_changes_nothing_and_an_error_puts_back() -> None:
    model = tiny_bert()
    rates = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    with dropout_rate(model, None):
        assert [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)] == rates
    with pytest.raises(FloatingPointError), dropout_rate(model, 0.7):
        fail_after_looking(model, 0.7)
    assert [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)] == rates
