"""Batches of unequal sequences for the trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

__all__ = ["Collator"]


class Collator:
    """Pads the lists of each row to the longest of the batch: ids with ``pad_id``, the rest with zeros.

    Numbers become a vector, lists a matrix ``[batch, longest]``.
    """

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """One batch."""
        return {name: self._column(name, [row[name] for row in rows]) for name in rows[0]}

    def _column(self, name: str, values: list[Any]) -> torch.Tensor:
        if not isinstance(values[0], list):
            return torch.tensor(values)
        longest = max(len(value) for value in values)
        fill = self._pad_id if name == "input_ids" else 0
        return torch.tensor([value + [fill] * (longest - len(value)) for value in values])
