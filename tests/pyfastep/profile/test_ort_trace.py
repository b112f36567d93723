"""ONNX Runtime's profile: nodes by run, time of its own of each, and a real file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from pyfastep.profile.ort_trace import read_trace


def event(name: str, start: int, duration: int, cat: str = "Node", **args: str) -> dict[str, Any]:
    return {"cat": cat, "ph": "X", "name": name, "ts": start, "dur": duration, "tid": 1, "args": args}


def trace(tmp_path: Path, *events: dict[str, Any]) -> Path:
    path = tmp_path / "ort.json"
    path.write_text(json.dumps(list(events)))
    return path


def test_nodes_belong_to_the_run_around_them(tmp_path: Path) -> None:
    events = [
        event("model_loading_uri", 0, 5, "Session"),
        event("b_kernel_time", 130, 20, op_name="Add", provider="P"),
        event("a_kernel_time", 110, 15, op_name="MatMul", provider="P"),
        event("a_kernel_time", 210, 16, op_name="MatMul", provider="P"),
        event("model_run", 200, 50, "Session"),
        event("model_run", 100, 60, "Session"),
        event("a_fence_before", 109, 1),
    ]
    runs = read_trace(trace(tmp_path, *events))
    assert [[(n.name, n.op_type, n.provider, n.ms) for n in run] for run in runs] == [
        [("a", "MatMul", "P", 0.015), ("b", "Add", "P", 0.02)],
        [("a", "MatMul", "P", 0.016)],
    ]


def test_time_of_its_own(tmp_path: Path) -> None:
    """A node does not answer for the nodes of its branches, however deep."""
    events = [
        event("model_run", 0, 1000, "Session"),
        event("if_kernel_time", 100, 500),
        event("loop_kernel_time", 150, 300),
        event("leaf_kernel_time", 160, 100),
        event("leaf2_kernel_time", 300, 50),
        event("next_kernel_time", 700, 10),
    ]
    (run,) = read_trace(trace(tmp_path, *events))
    assert {n.name: n.ms for n in run} == pytest.approx(
        {"if": 0.2, "loop": 0.15, "leaf": 0.1, "leaf2": 0.05, "next": 0.01}
    )


def test_a_real_trace(float_model: Path, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "ort")
    session = onnxruntime.InferenceSession(str(float_model), options, providers=["CPUExecutionProvider"])
    feeds = {value.name: np.array([[1, 1, 1]]) for value in session.get_inputs()}
    for _ in range(3):
        session.run(None, feeds)
    runs = read_trace(Path(session.end_profiling()))
    assert len(runs) == 3
    assert [n.name for n in runs[0]] == [n.name for n in runs[2]]
    assert {"Softmax", "LayerNormalization"} <= {n.op_type for n in runs[0]}
    assert {n.provider for n in runs[0]} == {"CPUExecutionProvider"}
    assert all(n.ms >= 0 for run in runs for n in run)
