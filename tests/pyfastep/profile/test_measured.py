"""Parts of a run from made-up recordings: the middle half, sums, limits, subgraphs that do not run once per run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pyfastep.profile.measured import Measured
from pyfastep.profile.ort_trace import TracedNode
from pyfastep.profile.recording import RecordedSubgraph, Recording

WARMUP, RUNS = 2, 8
RUN_MS = np.array([9.0, 5.0, 4.0, 100.0, 5.5, 4.5, 1.0, 6.0])
MIDDLE = [1, 4, 5, 7]  # 4.5, 5.0, 5.5, 6.0


def subgraph(name: str, *steps: Any, ms: float = 3.0, runs: int = WARMUP + RUNS) -> RecordedSubgraph:
    last = np.arange(runs, dtype=np.float64) * 0.01 + ms
    return RecordedSubgraph(name, steps, runs, last, float(last.mean()), 10.0, 16.0, False)


def recording(*subgraphs: RecordedSubgraph) -> Recording:
    return Recording("avx2", 2e9, 1e6, subgraphs)


def trace(*names: str) -> list[list[TracedNode]]:
    others = [TracedNode("gather", "Gather", "CPU", 0.2), TracedNode("cast", "Cast", "CPU", 0.3)]
    return [[*(TracedNode(name, "fused", "EP", 3.0) for name in names), *others] for _ in range(RUNS)]


def with_runs(step: Any, ms: float) -> Any:
    return replace(step, last_ms=np.arange(WARMUP + RUNS) * 0.001 + ms)


def test_the_middle_half_and_what_adds_up(step: Callable[..., Any], product: Callable[..., Any]) -> None:
    steps = [with_runs(step("linear", "a", product=product(64, 64)), 1.5), with_runs(step("norm", "b"), 0.5)]
    measured = Measured(recording(subgraph("fused", *steps)), trace("fused"), RUN_MS, WARMUP)
    assert sorted(measured.middle) == MIDDLE
    assert measured.mean(RUN_MS) == 5.25
    parts = measured.parts(threads=1)
    assert [s.ms for s in parts["steps"]] == pytest.approx([1.50625, 0.50625]), "of the runs behind the warm-up"
    assert [n.name for n in parts["other_nodes"]] == ["cast", "gather"], "the slowest first, without FastEP's own"
    assert parts["between_ms"] == pytest.approx(3.0625 - 2.0125)
    whole = sum(s.ms for s in parts["steps"]) + parts["between_ms"] + 0.5 + parts["overhead_ms"]
    assert whole == pytest.approx(5.25)


@pytest.mark.parametrize("runs", [1, 2, 3, 5])
def test_few_runs(runs: int, step: Callable[..., Any]) -> None:
    graph = subgraph("fused", runs=WARMUP + runs)
    measured = Measured(recording(graph), trace("fused")[:runs], RUN_MS[:runs], WARMUP)
    assert 1 <= len(measured.middle) <= runs
    assert np.isfinite(measured.parts(1)["overhead_ms"])


def test_limits(step: Callable[..., Any], product: Callable[..., Any]) -> None:
    """Products at the peak of all threads, or weights at the rate of memory, whichever takes longer."""
    busy = replace(step("linear", "a", product=product(64, 64)), macs=8e6, weight_bytes=1000.0)
    heavy = replace(busy, weight_bytes=50000.0)
    steps = [with_runs(s, 1.0) for s in (busy, heavy, step("norm", "n"))]
    measured = Measured(recording(subgraph("fused", *steps)), trace("fused"), RUN_MS, WARMUP)
    assert [s.limit_ms for s in measured.parts(1)["steps"]] == pytest.approx([4.0, 50.0, 0.0])
    assert [s.limit_ms for s in measured.parts(2)["steps"]] == pytest.approx([2.0, 25.0, 0.0])
    unknown = replace(measured.recording, peak_macs_per_second=0, read_bytes_per_second=0)
    silent = Measured(unknown, trace("fused"), RUN_MS, WARMUP)
    assert [s.limit_ms for s in silent.parts(1)["steps"]] == [0, 0, 0]


def test_subgraphs_stand_in_the_order_in_which_they_run(step: Callable[..., Any]) -> None:
    second, first = (subgraph(name, with_runs(step("norm", name), 1.0)) for name in ("second", "first"))
    measured = Measured(recording(second, first), trace("first", "second"), RUN_MS, WARMUP)
    assert [s.nodes for s in measured.parts(1)["steps"]] == [("first",), ("second",)]


def test_a_subgraph_that_runs_several_times_per_run(step: Callable[..., Any]) -> None:
    """In a loop: its time per run is that of all its runs, spread over the session's."""
    often = subgraph("looped", replace(step("norm", "x"), last_ms=np.full(30, 0.4)), ms=1.0, runs=30)
    parts = Measured(recording(often), trace("looped"), RUN_MS, WARMUP).parts(1)
    assert parts["steps"][0].ms == pytest.approx(0.4 * 3)
    assert parts["between_ms"] == pytest.approx(often.mean_ms * 3 - 1.2)


def test_what_is_told_of_weights(step: Callable[..., Any], product: Callable[..., Any]) -> None:
    weights = product(64, 32, "4x4", 0.25)
    graph = subgraph("fused", with_runs(step("linear", "a", "b", product=weights), 1.0))
    (found,) = Measured(recording(graph), trace("fused"), RUN_MS, WARMUP).parts(1)["steps"]
    assert (found.kernel, found.n, found.k, found.density, found.nodes) == ("4x4", 64, 32, 0.25, ("a", "b"))
    assert found.gain == pytest.approx(4.0), "100 cycles dense, 25 now"
