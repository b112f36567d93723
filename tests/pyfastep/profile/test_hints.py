"""Hints: each comes where its cause is, and only there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pyfastep.profile.hints import find_hints
from pyfastep.profile.recording import RecordedSubgraph
from pyfastep.profile.result import NodeProfile
from pyfastep.session import NOTHING_TO_RUN

Make = Callable[..., Any]


@pytest.fixture
def quiet(report: Make) -> Any:
    """A report that gives no hint by itself."""
    return report(other_nodes=(), overhead_ms=0.0, batch=1)


def graph(*steps: Any, tokens: float = 16, lanes: float = 16, skips: bool = False) -> RecordedSubgraph:
    return RecordedSubgraph("fused", steps, 4, np.ones(4), 1.0, tokens, lanes, skips)


def linears(step: Make, *products: Any) -> list[Any]:
    return [step("linear", f"linear{i}", product=p) for i, p in enumerate(products)]


def test_a_well_pruned_model_needs_none(quiet: Any, step: Make, product: Make) -> None:
    for kernel in ("4x4", "4x1"):
        steps = linears(step, *[product(64, 64, kernel, 0.2)] * 3)
        assert find_hints(quiet, steps, [graph(*steps)]) == ()


def test_a_dense_model_is_not_blamed(quiet: Any, step: Make, product: Make) -> None:
    steps = linears(step, product(), product())
    assert find_hints(quiet, steps, [graph(*steps)]) == ()


def test_dense_layers_beside_pruned_ones(quiet: Any, step: Make, product: Make) -> None:
    steps = linears(step, product(64, 64, "4x4", 0.2), product(64, 64), product(64, 32))
    (hint,) = find_hints(quiet, steps, [graph(*steps)])
    assert hint == "linear1 and 1 more: dense although other layers are pruned (60% of all weights)"
    head = linears(step, product(640, 640, "4x4", 0.2), product(2, 640))
    assert find_hints(quiet, head, [graph(*head)]) == (), "a small head is nobody's concern"


def test_blocks_cut_along_the_inputs(quiet: Any, step: Make, product: Make) -> None:
    weights = product(64, 64, "1x4", 0.2, cycles=66.0)
    steps = linears(step, weights)
    hints = find_hints(quiet, steps, [graph(*steps)])
    assert any("linear0: the weights are in blocks of 1 output x 4 inputs (1x4)" in hint for hint in hints)
    assert any("would run 2.1x as fast, 4x4 3.0x" in hint for hint in hints), "66 / (110 * 0.2 * 1.4), 66 / (110 * 0.2)"
    both = replace(weights, kind_density={**weights.kind_density, "4x4": 0.2})
    hints = find_hints(quiet, linears(step, both), [graph(*steps)])
    assert not any("cut the other way" in hint for hint in hints), "blocks of 4x4 are blocks of 1x4, too"


def test_zeros_that_are_not_in_blocks(quiet: Any, step: Make, product: Make) -> None:
    weights = product(64, 64, "dense", 0.1, work_density=1.0, cycles=100.0, kind_density={"dense": 1.0, "1x4": 0.35})
    steps = linears(step, weights, product(64, 64, "4x4", 0.2))
    (hint,) = find_hints(quiet, steps, [graph(*steps)])
    assert hint.startswith("linear0: 90% of the weights are 0, but 100% of the products are done")


def test_too_few_zeros(quiet: Any, step: Make, product: Make) -> None:
    weights = product(64, 64, "4x4", 0.85, cycles=95.0)
    steps = linears(step, weights)
    (hint,) = find_hints(quiet, steps, [graph(*steps)])
    assert hint.startswith("linear0: 15% zeros are too few, without any it is nearly as fast")
    assert hint.endswith("80% in blocks of 4x4 would pay")


def test_time_outside(quiet: Any) -> None:
    nodes = tuple(
        NodeProfile(f"n{i}", kind, "CPU", ms) for i, (kind, ms) in enumerate([("Erf", 1.0), ("Add", 0.5)] * 2)
    )
    (hint,) = find_hints(replace(quiet, other_nodes=nodes), [], [])
    assert "50% of the time is in 4 nodes outside of FastEP (Erf 2.00 ms, Add 1.00 ms)" in hint
    (hint,) = find_hints(replace(quiet, overhead_ms=1.2), [], [])
    assert "20% of the time is spent between nodes" in hint


def test_nothing_runs_on_fastep(quiet: Any) -> None:
    hints = find_hints(replace(quiet, steps=()), [], [], ["FastEP leaves 1 of 2"])
    assert hints[0] == "FastEP leaves 1 of 2"
    assert "fastep convert" in hints[1]
    assert find_hints(replace(quiet, steps=()), [], [], [NOTHING_TO_RUN]) == (NOTHING_TO_RUN,)


def test_several_subgraphs(quiet: Any) -> None:
    (hint,) = find_hints(quiet, [], [graph(), graph()])
    assert "in 2 subgraphs" in hint


def test_empty_lanes(quiet: Any) -> None:
    (hint,) = find_hints(quiet, [], [graph(tokens=7, lanes=16)])
    assert "56% of the lanes are empty" in hint
    assert find_hints(quiet, [], [graph(tokens=15, lanes=16)]) == ()


def test_padding(quiet: Any, step: Make) -> None:
    batch, attention = replace(quiet, batch=4), step("attention", "a")
    (hint,) = find_hints(batch, [attention], [graph(attention)])
    assert "skip_padding=1" in hint
    assert find_hints(batch, [attention], [graph(attention, skips=True)]) == ()
    assert find_hints(quiet, [attention], [graph(attention)]) == (), "one sequence has no padding"
