"""Inputs go where the model is."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pyfastep.compress.batch import on_device_of  # noqa: E402


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_inputs_are_on_the_device_of_the_model(device: str) -> None:
    model = torch.nn.Linear(3, 2, device=device)
    batch = {"input_ids": torch.ones(2, 3, dtype=torch.int64), "attention_mask": torch.zeros(2, 3)}
    moved = on_device_of(model, batch)
    assert {name: (value.device.type, value.dtype, value.shape) for name, value in moved.items()} == {
        name: (device, value.dtype, value.shape) for name, value in batch.items()
    }
