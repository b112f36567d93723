"""Means of few runs, with what they leave open: intervals by Student's t."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["CONFIDENCE", "Comparison", "Estimate", "compare", "estimate"]

CONFIDENCE = 0.95

Verdict = Literal["holds", "reversed", "not decided"]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: Of the values.
        margin: Half the width of the 95 % confidence interval, ``t * s / sqrt(n)`` with Student's t of ``n - 1``
            degrees of freedom; None with fewer than two values.
        count: Of values.
    """

    mean: float
    margin: float | None
    count: int

    def text(self, digits: int = 2) -> str:
        """As in "88.31 ± 0.42"; without an interval the mean alone."""
        mean = f"{self.mean:.{digits}f}"
        return mean if self.margin is None else f"{mean} ± {self.margin:.{digits}f}"


@dataclass(frozen=True)
class Comparison:
    """Two cells on the seeds that both have.

    Attributes:
        better: The cell that is expected to be at least as good.
        worse: The other.
        difference: ``better - worse``, paired by seed.
        verdict: ``holds`` or ``reversed`` where the interval leaves out 0.
    """

    better: str
    worse: str
    difference: Estimate
    verdict: Verdict


def estimate(values: Sequence[float]) -> Estimate | None:
    """Mean and interval; None of nothing."""
    if not values:
        return None
    count, mean = len(values), float(np.mean(values))
    if count < 2:
        return Estimate(mean, None, count)
    from scipy.stats import t

    quantile = float(t.ppf(0.5 + CONFIDENCE / 2, count - 1))
    return Estimate(mean, quantile * float(np.std(values, ddof=1)) / count**0.5, count)


def compare(better: str, worse: str, values: Mapping[str, Mapping[int, float]]) -> Comparison | None:
    """The paired difference; None where the cells share no seed.

    Args:
        better: A cell.
        worse: A cell.
        values: Of each cell, by seed.
    """
    first, second = values.get(better, {}), values.get(worse, {})
    found = estimate([first[seed] - second[seed] for seed in first if seed in second])
    if found is None:
        return None
    verdict: Verdict = "not decided"
    if found.margin is not None and abs(found.mean) > found.margin:
        verdict = "holds" if found.mean > 0 else "reversed"
    return Comparison(better, worse, found, verdict)
