"""The order in which a training sees its rows: that of the seed and the epoch, so that it can go on anywhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from transformers.trainer_pt_utils import LengthGroupedSampler

__all__ = ["EpochSampler"]


class EpochSampler(LengthGroupedSampler):
    """Rows of similar length together, drawn anew in each epoch, from no state of the process.

    Args:
        lengths: Of all rows.
        batch_size: Rows per optimizer step.
        seed: Of the training.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        super().__init__(batch_size, lengths=lengths)
        self._seed, self._epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate's loaders before each epoch."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        seed = np.random.SeedSequence([self._seed, self._epoch]).generate_state(1, np.uint64)
        self.generator = torch.Generator().manual_seed(int(seed[0]))
        indices: Iterator[int] = super().__iter__()  # type: ignore[no-untyped-call]
        return indices
