"""The inputs of one call of a model, by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import torch
from torch import nn

__all__ = ["Batch", "taken_by"]

Batch = Mapping[str, torch.Tensor]


def taken_by(model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """What the model can be called with of a batch, where its first parameter is.

    A tokenizer may give ``token_type_ids`` to an architecture that has none, and a training's batches hold the
    teacher's answers too. The class says what it takes: a training may have put a wrapper before its ``forward``.
    """
    device = next(model.parameters()).device
    accepted = inspect.signature(type(model).forward).parameters
    return {name: value.to(device) for name, value in batch.items() if name in accepted}
