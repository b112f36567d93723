"""What the library wrote of a session: the file of the execution provider's option `profile`, read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfastep.errors import FastEPError

FORMAT, VERSION = "fastep-profile", 1

Durations = NDArray[np.float64]


@dataclass(frozen=True)
class Product:
    """The weights of a linear: shape `[n, k]`, the kernel that got them, and what the cost model says of others.

    Attributes:
        n: Outputs.
        k: Inputs.
        kernel: `dense`, or rows x inputs of its blocks.
        density: Weights that are not 0 / all.
        work_density: Products done / all.
        kind_density: `work_density`, had the weights been packed for each kernel.
        packed_bytes: Bytes of the packed weights.
        cycles: Predicted cycles per token.
        predictions: The same by (kernel, density).
    """

    n: int
    k: int
    kernel: str
    density: float
    work_density: float
    kind_density: dict[str, float]
    packed_bytes: int
    cycles: float
    predictions: dict[tuple[str, float], float]


@dataclass(frozen=True)
class RecordedStep:
    """One step of a subgraph; counts and bytes are those of one run.

    Attributes:
        op: Kind of step.
        nodes: Nodes of the model that it computes or serves.
        product: Of a linear.
        last_ms: Milliseconds in each of the last runs, in their order.
        least_ms: Least time of all runs.
        macs: Products done.
        dense_macs: Products of a layer without zeros.
        weight_bytes: Bytes of weights read.
    """

    op: str
    nodes: tuple[str, ...]
    product: Product | None
    last_ms: Durations
    least_ms: float
    macs: float
    dense_macs: float
    weight_bytes: float


@dataclass(frozen=True)
class RecordedSubgraph:
    """Runs of one subgraph at one shape.

    Attributes:
        name: ONNX Runtime's name of the fused node.
        steps: In the order in which they run.
        runs: How many.
        last_ms: Milliseconds of each of the last runs, in their order.
        mean_ms: Milliseconds per run, of all runs.
        tokens: Computed per run.
        lanes: Computed per run, those that fill up tiles included.
        skips_padding: Whether tokens of padding are left out.
    """

    name: str
    steps: tuple[RecordedStep, ...]
    runs: int
    last_ms: Durations
    mean_ms: float
    tokens: float
    lanes: float
    skips_padding: bool


@dataclass(frozen=True)
class Recording:
    """One session: its tier, the machine's limits for one thread (0: not known), and its subgraphs that ran."""

    tier: str
    peak_macs_per_second: float
    read_bytes_per_second: float
    subgraphs: tuple[RecordedSubgraph, ...]


def read_recording(path: Path) -> Recording:
    """Read a file of the option `profile`; of each subgraph the shape that ran most often.

    Raises:
        FastEPError: It is not such a file, or of another version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FastEPError(f"the profile is no JSON: {error}", node=str(path)) from error
    found = (data.get("format"), data.get("version")) if isinstance(data, dict) else None
    if found != (FORMAT, VERSION):
        raise FastEPError(
            f"expected a profile of format {FORMAT!r}, version {VERSION}, found {found}",
            node=str(path),
            remedy="use the library and the Python package of one version of FastEP",
        )
    subgraphs = tuple(_subgraph(item) for item in data["subgraphs"] if item["shapes"])
    return Recording(data["tier"], data["peak_macs_per_second"], data["read_bytes_per_second"], subgraphs)


def _milliseconds(nanoseconds: list[int]) -> Durations:
    return np.asarray(nanoseconds, np.float64) / 1e6


def _subgraph(data: dict[str, Any]) -> RecordedSubgraph:
    totals = max(data["shapes"], key=lambda shape: int(shape["runs"]))
    runs = int(totals["runs"])
    steps = tuple(_step(label, step, runs) for label, step in zip(data["steps"], totals["steps"], strict=True))
    return RecordedSubgraph(
        name=data["name"],
        steps=steps,
        runs=runs,
        last_ms=_milliseconds(totals["last_ns"]),
        mean_ms=totals["total_ns"] / runs / 1e6,
        tokens=totals["tokens"] / runs,
        lanes=totals["lanes"] / runs,
        skips_padding=totals["skips_padding"],
    )


def _step(label: dict[str, Any], totals: dict[str, Any], runs: int) -> RecordedStep:
    return RecordedStep(
        op=label["op"],
        nodes=tuple(label["nodes"]),
        product=_product(label["product"]) if "product" in label else None,
        last_ms=_milliseconds(totals["last_ns"]),
        least_ms=totals["min_ns"] / 1e6,
        macs=totals["macs"] / runs,
        dense_macs=totals["dense_macs"] / runs,
        weight_bytes=totals["weight_bytes"] / runs,
    )


def _product(data: dict[str, Any]) -> Product:
    return Product(
        n=data["n"],
        k=data["k"],
        kernel=data["kernel"],
        density=data["density"],
        work_density=data["work_density"],
        kind_density=data["kind_density"],
        packed_bytes=data["packed_bytes"],
        cycles=data["cycles_per_token"],
        predictions={(p["kernel"], p["density"]): p["cycles_per_token"] for p in data["predictions"]},
    )
