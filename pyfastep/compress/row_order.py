"""The order in which a training sees its rows: that of the seed and the epoch, so that it can go on anywhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from transformers.trainer_pt_utils import LengthGroupedSampler, get_length_grouped_indices

__all__ = ["EpochSampler"]


class EpochSampler(LengthGroupedSampler):
    """Rows of similar length together, drawn anew in each epoch, from no state of the process.

    Args:
        lengths: Of all rows.
        batch_size: Rows per optimizer step.
        seed: Of the training.
        first: The first so many rows come before all others, in every epoch; there may be fewer.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int, first: int = 0) -> None:
        super().__init__(batch_size, lengths=lengths)
        self._seed, self._first, self._epoch = seed, first, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate's loaders before each epoch."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        seed = np.random.SeedSequence([self._seed, self._epoch]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(seed[0]))
        for start, end in ((0, self._first), (self._first, len(self.lengths))):
            if start < end:
                lengths = self.lengths[start:end]
                part = get_length_grouped_indices(lengths, self.batch_size, generator=generator)  # type: ignore[no-untyped-call]
                yield from (start + index for index in part)
