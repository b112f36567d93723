"""The library's file, read: per run and in milliseconds; files that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyfastep.errors import FastEPError
from pyfastep.profile.recording import read_recording


def durations(*nanoseconds: int) -> dict[str, Any]:
    last = list(nanoseconds)
    return {"total_ns": sum(last), "min_ns": min(last), "median_ns": sorted(last)[len(last) // 2], "last_ns": last}


def document() -> dict[str, Any]:
    product = {
        "n": 8,
        "k": 4,
        "kernel": "4x4",
        "density": 0.2,
        "work_density": 0.25,
        "packed_bytes": 10,
        "cycles_per_token": 3.5,
        "kind_density": {"dense": 1, "4x4": 0.25},
        "predictions": [{"kernel": "dense", "density": 1, "cycles_per_token": 9.0}],
    }
    steps = [
        {"op": "linear", "nodes": ["a", "b"], "value_bytes_per_token": 12, "product": product},
        {"op": "norm", "nodes": ["c"], "value_bytes_per_token": 64},
    ]
    work = {"calls": 2, "macs": 320, "dense_macs": 1280, "weight_bytes": 20}
    idle = {"calls": 2, "macs": 0, "dense_macs": 0, "weight_bytes": 0}
    often = {
        "shape": [2, 10],
        "skips_padding": True,
        "runs": 2,
        "tokens": 40,
        "lanes": 64,
        **durations(5_000_000, 3_000_000),
        "steps": [durations(3_000_000, 1_000_000) | work, durations(1_000_000, 500_000) | idle],
    }
    once = {**often, "shape": [1, 3], "runs": 1}
    subgraphs = [
        {"name": "fused", "steps": steps, "shapes": [once, often], "runs_left_out": 0},
        {"name": "never ran", "steps": steps, "shapes": [], "runs_left_out": 0},
    ]
    head = {"format": "fastep-profile", "version": 1, "fastep": "1", "tier": "avx2", "threads": 1, "complete": True}
    return {**head, "peak_macs_per_second": 1e11, "read_bytes_per_second": 1e10, "subgraphs": subgraphs}


def test_everything_is_per_run(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(document()))
    recording = read_recording(path)
    assert (recording.tier, recording.peak_macs_per_second, recording.read_bytes_per_second) == ("avx2", 1e11, 1e10)
    (subgraph,) = recording.subgraphs
    assert (subgraph.name, subgraph.runs, subgraph.tokens, subgraph.lanes) == ("fused", 2, 20, 32)
    assert subgraph.skips_padding
    assert np.array_equal(subgraph.last_ms, [5, 3])
    assert subgraph.mean_ms == 4
    linear, norm = subgraph.steps
    assert (linear.op, linear.nodes, linear.least_ms) == ("linear", ("a", "b"), 1)
    assert (linear.macs, linear.dense_macs, linear.weight_bytes) == (160, 640, 10)
    assert linear.product is not None
    assert (linear.product.n, linear.product.k, linear.product.kernel) == (8, 4, "4x4")
    assert linear.product.predictions == {("dense", 1): 9.0}
    assert norm.product is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("[]", "expected a profile of format 'fastep-profile', version 1, found None"),
        ('{"format": "fastep-profile", "version": 2}', r"found \('fastep-profile', 2\)"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(FastEPError, match=message):
        read_recording(path)
