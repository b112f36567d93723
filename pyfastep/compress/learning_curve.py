"""What a curve of quality against tokens extrapolates to: a power law, fitted where it is a straight line.

``1 - quality = a * tokens^-b`` is a line in logarithms, fitted by least squares. Power laws of the loss in the amount
of training: Kaplan et al., "Scaling Laws for Neural Language Models", arXiv:2001.08361. One run is extrapolated
whose learning rate falls to its end, so its last points are better than a longer run's would be at the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pyfastep.compress.recipe import PruneSettings

__all__ = ["MULTIPLES", "PowerLaw", "fit_power_law", "locked_points"]

MULTIPLES = (2, 4, 10)
_LEAST_POINTS = 3


@dataclass(frozen=True)
class PowerLaw:
    """``1 - quality = a * tokens^-b``.

    Attributes:
        a: Factor.
        b: Exponent.
        b_error: Standard error of ``b``.
        residual: Root mean square of ``ln(found / fitted)``: the relative error of ``1 - quality``.
        points: Count of those it was fitted to.
        first_tokens: Of the first of them.
        tokens: Of the last of them.
    """

    a: float
    b: float
    b_error: float
    residual: float
    points: int
    first_tokens: float
    tokens: float

    def quality(self, multiple: float) -> float:
        """At so many times the tokens of the last point."""
        return float(1.0 - self.a * (multiple * self.tokens) ** -self.b)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with the values that it extrapolates to."""
        return {**asdict(self), "extrapolation": {str(multiple): self.quality(multiple) for multiple in MULTIPLES}}


def locked_points(evaluations: Sequence[dict[str, Any]], prune: PruneSettings, steps: int) -> list[dict[str, Any]]:
    """The points of the pruned model's training from the lock of the pattern on; its very start is left out."""
    first = prune.end * steps if prune.method == "gradual" else 0.0
    return [row for row in evaluations if row["step"] >= max(first, 1)]


def fit_power_law(evaluations: Sequence[dict[str, Any]], figure: str) -> PowerLaw | None:
    """The law of a figure whose best value is 1; None with fewer than three points, or one that is perfect.

    Args:
        evaluations: Rows of ``tokens`` and ``figures``.
        figure: A name in ``figures``.
    """
    tokens = np.array([row["tokens"] for row in evaluations], np.float64)
    missing = 1.0 - np.array([row["figures"][figure] for row in evaluations], np.float64)
    if len(set(tokens)) < _LEAST_POINTS or not (missing > 0).all() or not (tokens > 0).all():
        return None
    from scipy.stats import linregress

    line = linregress(np.log(tokens), np.log(missing))
    left = np.log(missing) - line.intercept - line.slope * np.log(tokens)
    return PowerLaw(
        a=float(np.exp(line.intercept)),
        b=float(-line.slope),
        b_error=float(line.stderr),
        residual=float(np.sqrt(np.mean(left**2))),
        points=len(tokens),
        first_tokens=float(tokens[0]),
        tokens=float(tokens[-1]),
    )
