"""Puts together what the library, ONNX Runtime and the clock say of the same runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfastep.profile.layers import HEAD, LINEAR, families, layers
from pyfastep.profile.ort_trace import TracedNode
from pyfastep.profile.recording import Durations, RecordedStep, RecordedSubgraph, Recording
from pyfastep.profile.result import NodeProfile, StepProfile


@dataclass
class Measured:
    """Runs of one profiled session, and its parts in the runs that count: the middle half by their time.

    Attributes:
        recording: What the library wrote.
        trace: What ONNX Runtime wrote of each measured run.
        run_ms: Milliseconds of `session.run`, of each measured run.
        warmup: Runs before those.
    """

    recording: Recording
    trace: list[list[TracedNode]]
    run_ms: Durations
    warmup: int

    def __post_init__(self) -> None:
        runs = len(self.run_ms)
        order = np.argsort(self.run_ms, kind="stable")
        self.middle: NDArray[np.intp] = np.sort(order[runs // 4 : max(runs - runs // 4, runs // 4 + 1)])
        # In the order in which they run.
        places = {node.name: i for i, node in enumerate(self.trace[-1])}
        known = self.recording.subgraphs
        self.subgraphs = sorted(known, key=lambda subgraph: places.get(subgraph.name, len(places)))

    def mean(self, values: Durations) -> float:
        """Of the runs that count."""
        return float(np.mean(values[self.middle]))

    def parts(self, threads: int) -> dict[str, Any]:
        """What the report is made of, beside its heading."""
        inside = sum((self._per_run(s, s.last_ms, s.mean_ms) for s in self.subgraphs), 0.0)
        steps = self._steps(threads)
        others = self._others()
        step_ms = sum(step.ms for step in steps)
        return {
            "steps": steps,
            "between_ms": inside - step_ms,
            "other_nodes": others,
            "overhead_ms": self.mean(self.run_ms) - inside - sum(node.ms for node in others),
        }

    def _per_run(self, subgraph: RecordedSubgraph, last_ms: Durations, otherwise: float) -> float:
        """Milliseconds per session.run: of the middle runs where each ran the subgraph once, else of all runs."""
        runs = len(self.run_ms)
        if subgraph.runs == runs + self.warmup:
            return self.mean(last_ms[-runs:])
        return otherwise * subgraph.runs / (runs + self.warmup)

    def _steps(self, threads: int) -> tuple[StepProfile, ...]:
        recorded = [(subgraph, step) for subgraph in self.subgraphs for step in subgraph.steps]
        only_steps = [step for _, step in recorded]
        found = []
        for (subgraph, step), layer, family in zip(recorded, layers(only_steps), families(only_steps), strict=True):
            ms = self._per_run(subgraph, step.last_ms, float(np.mean(step.last_ms)))
            place = LINEAR if layer == HEAD and step.product else family
            found.append(_step_profile(step, layer, place, ms, self._limit_ms(step, threads)))
        return tuple(found)

    def _limit_ms(self, step: RecordedStep, threads: int) -> float:
        """The longer of products at the machine's peak and weights at its memory's rate."""
        peak, rate = self.recording.peak_macs_per_second, self.recording.read_bytes_per_second
        products = step.macs / peak if peak > 0 else 0.0
        weights = step.weight_bytes / rate if rate > 0 else 0.0
        return max(products, weights) / threads * 1e3

    def _others(self) -> tuple[NodeProfile, ...]:
        """Nodes that ONNX Runtime runs, the slowest first."""
        own = {subgraph.name for subgraph in self.subgraphs}
        totals: dict[tuple[str, str, str], float] = {}
        for run in (self.trace[i] for i in self.middle):
            for node in run:
                if node.name not in own:
                    key = (node.name, node.op_type, node.provider)
                    totals[key] = totals.get(key, 0.0) + node.ms / len(self.middle)
        nodes = [NodeProfile(*key, ms) for key, ms in totals.items()]
        return tuple(sorted(nodes, key=lambda node: -node.ms))


def _step_profile(step: RecordedStep, layer: str, family: str, ms: float, limit_ms: float) -> StepProfile:
    found = StepProfile(
        op=step.op,
        family=family,
        layer=layer,
        nodes=step.nodes,
        ms=ms,
        least_ms=step.least_ms,
        macs=step.macs,
        dense_macs=step.dense_macs,
        weight_bytes=step.weight_bytes,
        limit_ms=limit_ms,
    )
    product = step.product
    if product is None:
        return found
    dense = product.predictions.get(("dense", 1.0), product.cycles)
    return replace(
        found,
        kernel=product.kernel,
        n=product.n,
        k=product.k,
        density=product.density,
        work_density=product.work_density,
        gain=dense / product.cycles if product.cycles > 0 else 1.0,
    )
