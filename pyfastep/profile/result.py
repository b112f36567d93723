"""What a profile says, in typed form: all times of one run, which add up to that run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class StepProfile:
    """One step of a compiled plan.

    Attributes:
        op: Kind of step: linear, attention, norm, embed, ...
        family: Where in a layer it stands: `linear q k v`, `linear up`, ...; otherwise as `op`.
        layer: Layer of the model.
        nodes: Nodes of the model that it computes (several where they are one product) or serves.
        ms: Milliseconds per run.
        least_ms: Least time of all runs.
        macs: Products of 8-bit integers per run that are done: of blocks that are stored, tokens that are there.
        dense_macs: Products of the same step without zeros.
        weight_bytes: Bytes of weights read per run.
        limit_ms: The least time that this machine needs: products at its peak, or weights at its memory's rate,
            whichever takes longer; 0 for steps without either.
        kernel: Of a linear: dense, or rows x inputs of its blocks.
        n: Outputs of a linear.
        k: Inputs of a linear.
        density: Weights that are not 0 / all.
        work_density: Products done / all.
        gain: How much faster than without zeros this linear is by the cost model.
    """

    op: str
    family: str
    layer: str
    nodes: tuple[str, ...]
    ms: float
    least_ms: float
    macs: float
    dense_macs: float
    weight_bytes: float
    limit_ms: float
    kernel: str | None = None
    n: int = 0
    k: int = 0
    density: float = 1.0
    work_density: float = 1.0
    gain: float = 1.0


@dataclass(frozen=True)
class GroupProfile:
    """Several steps together: those of a layer or of a family."""

    name: str
    steps: tuple[StepProfile, ...]

    @property
    def ms(self) -> float:
        """Milliseconds per run."""
        return sum(step.ms for step in self.steps)

    @property
    def least_ms(self) -> float:
        """The least time of each step, added up: what they take when nothing disturbs them."""
        return sum(step.least_ms for step in self.steps)

    @property
    def macs(self) -> float:
        """Products per run."""
        return sum(step.macs for step in self.steps)

    @property
    def dense_macs(self) -> float:
        """Products of the same steps without zeros."""
        return sum(step.dense_macs for step in self.steps)

    @property
    def limit_ms(self) -> float:
        """The least time that this machine needs for them."""
        return sum(step.limit_ms for step in self.steps)

    @property
    def kernels(self) -> tuple[str, ...]:
        """Kernels of the linears, most time first."""
        kernels = {step.kernel for step in self.steps if step.kernel}
        return tuple(sorted(kernels, key=lambda kernel: -sum(s.ms for s in self.steps if s.kernel == kernel)))

    @property
    def density(self) -> float | None:
        """Weights of the linears that are not 0 / all; `None` without linears."""
        weights = sum(step.n * step.k for step in self.steps)
        return sum(step.density * step.n * step.k for step in self.steps) / weights if weights else None


@dataclass(frozen=True)
class NodeProfile:
    """A node that ONNX Runtime runs itself: its name, operator, execution provider and milliseconds per run."""

    name: str
    op_type: str
    provider: str
    ms: float


@dataclass(frozen=True)
class WhatIf:
    """A linear as it would be with another kernel: milliseconds by the cost model, scaled by what was measured.

    Attributes:
        layer: Layer of the model.
        family: Of the step.
        nodes: Of the step.
        ms: Measured now.
        other_ms: By name, such as `dense`, `4x4 80%`, `4x1 90%`.
    """

    layer: str
    family: str
    nodes: tuple[str, ...]
    ms: float
    other_ms: dict[str, float]


@dataclass(frozen=True)
class ProfileReport:
    """Where the time of one `session.run` goes.

    `steps`, `between_ms`, `other_nodes` and `overhead_ms` add up to `run_ms`. All times are means over the middle half
    of the runs, ordered by the time of `session.run`.

    Attributes:
        model: The model file.
        machine: CPU and versions.
        tier: Instruction tier of the kernels.
        batch: Sequences per run.
        length: Tokens per sequence.
        threads: Threads per run.
        runs: Measured.
        peak_macs_per_second: Of all threads, products on registers alone; 0: not known for this tier.
        read_bytes_per_second: Of one thread, reading as many bytes as the weights have.
        run_ms: One `session.run`, profiled.
        plain_run_ms: The same without a profile, median of runs in turns with the profiled ones.
        steps: In the order in which they run.
        between_ms: Inside FastEP's subgraphs, outside of their steps: checks, output tensors, memory.
        other_nodes: What ONNX Runtime runs itself, the slowest first.
        overhead_ms: All the rest: ONNX Runtime between its nodes, its profiler, Python.
        hints: What could make the model faster, or explains why it is not, in the order of weight.
        what_if: Of each linear.
    """

    model: str
    machine: str
    tier: str
    batch: int
    length: int
    threads: int
    runs: int
    peak_macs_per_second: float
    read_bytes_per_second: float
    run_ms: float
    plain_run_ms: float
    steps: tuple[StepProfile, ...]
    between_ms: float
    other_nodes: tuple[NodeProfile, ...]
    overhead_ms: float
    hints: tuple[str, ...] = ()
    what_if: tuple[WhatIf, ...] = ()

    @property
    def layers(self) -> tuple[GroupProfile, ...]:
        """The steps by layer, in the order in which layers begin."""
        return _groups((step.layer, step) for step in self.steps)

    @property
    def families(self) -> tuple[GroupProfile, ...]:
        """The steps by family, most time first."""
        return tuple(sorted(_groups((step.family, step) for step in self.steps), key=lambda group: -group.ms))

    @property
    def other_ms(self) -> float:
        """Milliseconds of the nodes that ONNX Runtime runs itself."""
        return sum(node.ms for node in self.other_nodes)

    @property
    def other_types(self) -> tuple[tuple[str, float], ...]:
        """Operators of those nodes with their milliseconds, most time first."""
        types: dict[str, float] = {}
        for node in self.other_nodes:
            types[node.op_type] = types.get(node.op_type, 0.0) + node.ms
        return tuple(sorted(types.items(), key=lambda item: -item[1]))

    @property
    def limit_ms(self) -> float:
        """The least time that this machine needs for all steps."""
        return sum(step.limit_ms for step in self.steps)

    def of_peak(self, part: StepProfile | GroupProfile) -> float | None:
        """Products per second / the machine's peak; `None` where there are no products or the peak is not known."""
        if part.macs == 0 or part.ms == 0 or self.peak_macs_per_second == 0:
            return None
        return part.macs / (part.ms / 1e3) / self.peak_macs_per_second

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain values for JSON; docs/profile.md describes it."""
        data = {"format": "fastep-profile-report", "version": SCHEMA_VERSION, **dataclasses.asdict(self)}
        for step, plain in zip(self.steps, data["steps"], strict=True):
            plain["share"] = step.ms / self.run_ms
            plain["of_peak"] = self.of_peak(step)
            plain["gmacs_per_second"] = _rate(step.macs, step.ms)
            plain["dense_gmacs_per_second"] = _rate(step.dense_macs, step.ms)
        data["layers"] = [self._group_dict(group) for group in self.layers]
        data["families"] = [self._group_dict(group) for group in self.families]
        return data

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=2)

    def _group_dict(self, group: GroupProfile) -> dict[str, Any]:
        return {
            "name": group.name,
            "steps": len(group.steps),
            "ms": group.ms,
            "least_ms": group.least_ms,
            "share": group.ms / self.run_ms,
            "macs": group.macs,
            "dense_macs": group.dense_macs,
            "gmacs_per_second": _rate(group.macs, group.ms),
            "of_peak": self.of_peak(group),
            "limit_ms": group.limit_ms,
            "density": group.density,
            "kernels": list(group.kernels),
        }


def _rate(macs: float, ms: float) -> float | None:
    """10^9 products per second."""
    return macs / ms / 1e6 if macs > 0 and ms > 0 else None


def _groups(named: Iterable[tuple[str, StepProfile]]) -> tuple[GroupProfile, ...]:
    groups: dict[str, list[StepProfile]] = {}
    for name, step in named:
        groups.setdefault(name, []).append(step)
    return tuple(GroupProfile(name, tuple(steps)) for name, steps in groups.items())
