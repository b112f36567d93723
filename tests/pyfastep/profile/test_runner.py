"""The measurement on real models: all parts are there and add up."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pyfastep
from pyfastep._model_scan import fastep_nodes
from pyfastep.errors import FastEPError
from pyfastep.profile import ProfileReport

pytestmark = pytest.mark.usefixtures("fastep_library")


def check_sum(report: ProfileReport) -> None:
    assert report.run_ms > 0
    assert report.plain_run_ms > 0
    parts = sum(step.ms for step in report.steps) + report.between_ms + report.other_ms + report.overhead_ms
    assert parts == pytest.approx(report.run_ms)
    assert report.between_ms >= 0
    assert sum(layer.ms for layer in report.layers) == pytest.approx(sum(step.ms for step in report.steps))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_converted_model(fast_model: Path, threads: int) -> None:
    told: list[tuple[int, int]] = []
    report = pyfastep.profile(
        fast_model, batch=2, length=9, threads=threads, runs=7, progress=lambda *step: told.append(step)
    )
    check_sum(report)
    assert (report.batch, report.length, report.threads, report.runs) == (2, 9, threads, 7)
    assert told == [(i, 12) for i in range(1, 13)]
    names = {node for step in report.steps for node in step.nodes}
    assert names == {node.name for node in fastep_nodes(fast_model)}
    linears = [step for step in report.steps if step.kernel]
    assert all(step.dense_macs in (2 * step.n * step.k, 18 * step.n * step.k) for step in linears)
    assert all(step.least_ms > 0 for step in report.steps)
    assert {"Softmax", "Transpose"} & {node.op_type for node in report.other_nodes}
    assert len(report.what_if) == len(linears)
    assert "FastEP" in report.machine


def test_max_tier(fast_model: Path) -> None:
    report = pyfastep.profile(fast_model, length=4, runs=2, max_tier="scalar")
    check_sum(report)
    assert report.tier == "scalar"
    assert report.peak_macs_per_second == 0
    assert all(report.of_peak(step) is None for step in report.steps)


def test_a_node_that_is_left(half_model: Path) -> None:
    report = pyfastep.profile(half_model, length=4, runs=2)
    check_sum(report)
    assert any(re.search("FastEP leaves (1|some) of", hint) for hint in report.hints)
    assert report.steps


def test_a_model_without_fastep(float_model: Path) -> None:
    report = pyfastep.profile(float_model, length=4, runs=3)
    check_sum(report)
    assert report.steps == report.layers == report.families == report.what_if == ()
    assert any("fastep convert" in hint for hint in report.hints)
    assert {"MatMul", "Softmax"} <= {kind for kind, _ in report.other_types}


def test_nothing_is_left_behind(fast_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    pyfastep.profile(fast_model, length=4, runs=1)
    gc.collect()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0}, "batch must be at least 1, found 0"),
        ({"length": 0}, "length must be at least 1"),
        ({"threads": -1}, "threads must be at least 1, found -1"),
        ({"runs": 0}, "runs must be at least 1"),
        ({"runs": 251}, "runs must be at most 250, found 251"),
        ({"max_tier": "sse9"}, "option 'max_tier'"),
    ],
)
def test_wrong_arguments(fast_model: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(FastEPError, match=message):
        pyfastep.profile(fast_model, **arguments)


def test_no_such_file(tmp_path: Path) -> None:
    call: Callable[..., ProfileReport] = pyfastep.profile
    with pytest.raises(FastEPError, match="no such model file"):
        call(tmp_path / "missing.onnx")
