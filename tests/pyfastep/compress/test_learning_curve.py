"""A power law comes back from points that lie on it; points before the lock, and at 0 tokens, are left out."""

from __future__ import annotations

from typing import Any

import pytest

from pyfastep.compress.learning_curve import fit_power_law, locked_points
from pyfastep.compress.recipe import PruneSettings


def points(tokens: list[float], a: float = 3.0, b: float = 0.25) -> list[dict[str, Any]]:
    return [{"step": n, "tokens": t, "figures": {"cosine": 1 - a * t**-b}} for n, t in enumerate(tokens, 1)]


def test_an_exact_law() -> None:
    law = fit_power_law(points([1e5, 2e5, 5e5, 1e6]), "cosine")
    assert law is not None
    assert (law.a, law.b, law.tokens, law.points) == (pytest.approx(3.0), pytest.approx(0.25), 1e6, 4)
    assert law.residual == pytest.approx(0.0, abs=1e-9)
    assert law.quality(16) == pytest.approx(1 - 3.0 * 16e6**-0.25)
    assert law.to_dict()["extrapolation"]["2"] == pytest.approx(1 - 3.0 * 2e6**-0.25)


def test_the_residual_is_relative() -> None:
    rows = points([1e5, 2e5, 4e5, 8e5])
    for row, factor in zip(rows, (1.1, 1 / 1.1, 1 / 1.1, 1.1), strict=True):  # no slope of its own
        row["figures"]["cosine"] = 1 - (1 - row["figures"]["cosine"]) * factor
    law = fit_power_law(rows, "cosine")
    assert law is not None
    assert law.b == pytest.approx(0.25)
    assert law.residual == pytest.approx(0.0953, rel=0.01)
    assert law.b_error > 0


@pytest.mark.parametrize(
    "rows",
    [[], points([1e5, 2e5]), points([1e5, 1e5, 1e5]), points([1e5, 2e5, 3e5], a=0.0), points([1e-9, 1, 2], a=-1)],
)
def test_nothing_to_fit(rows: list[dict[str, Any]]) -> None:
    assert fit_power_law(rows, "cosine") is None


def test_what_counts() -> None:
    rows = [{"step": step} for step in (0, 25, 50, 75, 100)]
    assert [r["step"] for r in locked_points(rows, PruneSettings(end=0.5), 100)] == [50, 75, 100]
    at_once = PruneSettings(method="second-order")
    assert [r["step"] for r in locked_points(rows, at_once, 100)] == [25, 50, 75, 100]
