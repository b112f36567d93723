"""The inputs of one call of a model, by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

__all__ = ["Batch", "on_device_of"]

Batch = Mapping[str, torch.Tensor]


def on_device_of(model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """The batch where the model's first parameter is."""
    device = next(model.parameters()).device
    return {name: value.to(device) for name, value in batch.items()}
