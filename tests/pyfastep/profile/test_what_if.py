"""What-if: measured time, scaled by ratios of the cost model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pyfastep.profile.what_if import predict


def test_times_scale_by_predicted_cycles(
    step: Callable[..., Any], product: Callable[..., Any], report: Callable[..., Any]
) -> None:
    steps = report().steps[:2]
    recorded = [step("linear", "a", product=product(8, 4, "4x4", 0.25)), step("norm", "n")]
    (found,) = predict(steps, recorded)
    assert (found.layer, found.family, found.nodes, found.ms) == ("layer.0", "linear up", ("a", "b"), 2.0)
    assert found.other_ms == pytest.approx(
        {
            "dense": 2.0 * 100 / 25,
            "4x4 80%": 2.0 * 22 / 25,
            "4x4 90%": 2.0 * 11 / 25,
            "4x1 80%": 2.0 * 30.8 / 25,
            "4x1 90%": 2.0 * 15.4 / 25,
        }
    )
