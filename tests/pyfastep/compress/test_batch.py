"""Inputs go where the model is, those that it takes."""

from __future__ import annotations

import pytest

from .encoders import batches, tiny_bert, tiny_distilbert

torch = pytest.importorskip("torch")

from pyfastep.compress.batch import taken_by  # noqa: E402


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_inputs_are_on_the_device_of_the_model(device: str) -> None:
    (batch,) = batches(count=1)
    moved = taken_by(tiny_bert().to(device), batch)
    assert {name: (value.device.type, value.dtype, value.shape) for name, value in moved.items()} == {
        name: (device, value.dtype, value.shape) for name, value in batch.items()
    }


def test_inputs_are_those_of_the_class() -> None:
    """A training in bf16 puts a wrapper without names before a model's own forward."""
    (batch,) = batches(count=1, types=True)
    batch["teacher_logits"] = torch.zeros(8, 2)
    bert = tiny_bert()
    bert.forward = lambda *args, **kwargs: {}
    assert set(taken_by(bert, batch)) == {"input_ids", "attention_mask", "token_type_ids"}
    assert set(taken_by(tiny_distilbert(), batch)) == {"input_ids", "attention_mask"}
