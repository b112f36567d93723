"""Steps, weights and reports as they would come from a profile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pyfastep.profile.recording import Product, RecordedStep
from pyfastep.profile.result import NodeProfile, ProfileReport, StepProfile

KINDS = ("dense", "1x4", "2x4", "4x4", "8x4", "4x1")


def make_product(n: int = 64, k: int = 64, kernel: str = "dense", density: float = 1.0, **changes: Any) -> Product:
    """Weights whose non-zeros fill the blocks of `kernel`; cycles as a model with 1 cycle per dense output row has."""
    predictions = {("dense", 1.0): 100.0}
    predictions |= {
        (kind, d): 110 * d * w for kind, w in (("4x4", 1.0), ("4x1", 1.4), ("1x4", 3.0)) for d in (0.2, 0.1)
    }
    product = Product(
        n=n,
        k=k,
        kernel=kernel,
        density=density,
        work_density=density,
        kind_density={kind: density if kind == kernel else 1.0 for kind in KINDS},
        packed_bytes=int(n * k * density),
        cycles=100 * density,
        predictions=predictions,
    )
    return replace(product, **changes)


def make_step(op: str, *nodes: str, product: Product | None = None, ms: float = 1.0) -> RecordedStep:
    macs = product.n * product.k * product.work_density if product else 0.0
    dense = float(product.n * product.k) if product else 0.0
    return RecordedStep(op, nodes or ("node",), product, np.full(4, ms), ms / 2, macs, dense, macs)


def make_report(**changes: Any) -> ProfileReport:
    """Two layers of 3 ms and 1 ms, 0.5 ms between steps, a node of 1 ms, 0.5 ms of overhead: 6 ms."""
    linear = StepProfile("linear", "linear up", "layer.0", ("a", "b"), 2.0, 1.5, 2e6, 8e6, 1e3, 1.0, "4x4", 8, 4, 0.25)
    norm = StepProfile("norm", "norm", "layer.0", ("n",), 1.0, 0.5, 0.0, 0.0, 0.0, 0.0)
    last = replace(linear, layer="layer.1", ms=1.0, kernel="dense", density=1.0, nodes=("c",))
    report = ProfileReport(
        model="folder/fast.onnx",
        machine="a machine",
        tier="avx2",
        batch=2,
        length=8,
        threads=1,
        runs=5,
        peak_macs_per_second=4e9,
        read_bytes_per_second=1e9,
        run_ms=6.0,
        plain_run_ms=5.9,
        steps=(linear, norm, last),
        between_ms=0.5,
        other_nodes=(NodeProfile("gather", "Gather", "CPUExecutionProvider", 1.0),),
        overhead_ms=0.5,
    )
    return replace(report, **changes)


@pytest.fixture(scope="session")
def product() -> Callable[..., Product]:
    return make_product


@pytest.fixture(scope="session")
def step() -> Callable[..., RecordedStep]:
    return make_step


@pytest.fixture(scope="session")
def report() -> Callable[..., ProfileReport]:
    return make_report
