"""The measurement: every combination, turns, comparison, and failures that stay where they are."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pyfastep.bench import benchmark, runner
from pyfastep.errors import FastEPError

pytestmark = pytest.mark.usefixtures("fastep_library")

FEW: dict[str, Any] = {"repeats": 3, "warmup": 1}


def test_every_engine_at_every_combination(fast_model: Path, float_model: Path) -> None:
    told: list[tuple[int, int, str]] = []
    report = benchmark(
        fast_model,
        engines=["fastep", "fastep-customop", "ort"],
        models=[f"fp32={float_model}"],
        batches=[1, 3],
        lengths=[5, 8],
        threads=[1, 2],
        progress=lambda *step: told.append(step),
        **FEW,
    )
    rows = [(m.engine, m.threads, m.batch, m.length) for m in report.measurements]
    assert len(set(rows)) == len(rows) == 4 * 8
    assert report.baseline == "ort"
    assert not report.problems
    for m in report.measurements:
        assert m.calls == 3
        assert m.p10_ms is not None
        assert m.median_ms is not None
        assert m.p90_ms is not None
        assert 0 < m.p10_ms <= m.median_ms <= m.p90_ms
        assert m.cosine is not None
        assert m.cosine > 0.95
        assert (m.speedup == 1.0 and m.largest_difference == 0.0) if m.engine == "ort" else m.speedup
    assert [step[:2] for step in told] == [(i, 8) for i in range(9)]


def test_streams_call_one_session_at_the_same_time(fast_model: Path) -> None:
    report = benchmark(fast_model, lengths=[6], streams=[1, 3], **FEW)
    assert [(m.engine, m.streams) for m in report.measurements] == [
        ("fastep", 1),
        ("ort", 1),
        ("fastep", 3),
        ("ort", 3),
    ]
    for m in report.measurements:
        assert m.problem is None
        assert m.p99_ms is not None
        assert m.p90_ms is not None
        assert m.p99_ms >= m.p90_ms
        if m.streams == 1:
            assert m.throughput is None
            continue
        assert m.calls == 3 * 3 * runner._CALLS_PER_TURN
        assert m.throughput is not None
        assert m.p10_ms is not None
        assert m.throughput > 0
        assert m.speedup
        assert m.cosine is not None


def fix_times(monkeypatch: pytest.MonkeyPatch, times: Callable[[int], float]) -> list[str]:
    """Lets the n-th call that is measured of an engine take `times(n)` ms; the engines in the order of all calls."""
    real, order = runner._Cell.call, list[str]()
    counts: dict[str, itertools.count[int]] = {}

    def call(self: Any) -> float:
        if not self.outputs:  # not measured yet
            counts[self.run.engine.name] = itertools.count()
            return real(self)
        order.append(self.run.engine.name)
        return times(next(counts[self.run.engine.name]))

    monkeypatch.setattr(runner._Cell, "call", call)
    return order


def test_turns_rotate(float_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = fix_times(monkeypatch, lambda n: 1.0)
    models = [f"{name}={float_model}" for name in "bc"]
    benchmark(float_model, engines=["ort"], models=models, lengths=[4], repeats=4, warmup=1)
    a, b, c = "ort", "b", "c"
    assert order == [a, b, c, b, c, a, c, a, b, a, b, c]


def test_figures_are_those_of_the_calls(float_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = [float((n + 1) ** 2) for n in range(30)]
    fix_times(monkeypatch, times.__getitem__)
    (row,) = benchmark(float_model, engines=["ort"], batches=[3], lengths=[4], repeats=30, warmup=1).measurements
    found = [row.p10_ms, row.median_ms, row.p90_ms, row.p99_ms]
    assert found == pytest.approx(list(np.percentile(times, [10, 50, 90, 99])))
    assert row.samples_per_second == pytest.approx(3 * 1e3 / np.median(times))


def test_throughput_counts_the_samples_of_all_streams(float_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns of 1, 2 and 8 ms per call; two streams of batch 3: 3000 samples per second in the turn in the middle."""
    calls = 2 * runner._CALLS_PER_TURN
    fix_times(monkeypatch, lambda n: (1.0, 2.0, 8.0)[n // calls])
    (row,) = benchmark(
        float_model, engines=["ort"], batches=[3], lengths=[4], streams=[2], repeats=3, warmup=1
    ).measurements
    assert row.problem is None
    assert row.calls == 3 * calls
    assert row.throughput == pytest.approx(3000)


def test_a_stream_that_fails_is_a_problem(fast_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = itertools.count()

    def call(self: Any) -> float:
        if next(calls) > 5:
            self.problem = "broken"
            return 0.0
        return 1.0

    monkeypatch.setattr(runner._Cell, "call", call)
    (row,) = benchmark(fast_model, engines=["fastep"], lengths=[4], streams=[2], **FEW).measurements
    assert row.problem == "broken"
    assert row.throughput is None


def test_a_stream_that_cannot_be_started_hangs_nobody(fast_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the number of processes is limited."""
    start, started = threading.Thread.start, itertools.count()

    def limited(self: threading.Thread) -> None:
        if self.name.startswith("ThreadPoolExecutor") and next(started) == 2:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(FastEPError, match="4 streams cannot be measured: can't start new thread"):
        benchmark(fast_model, engines=["fastep"], lengths=[4], streams=[4], **FEW)


def test_the_two_doors_agree_bit_for_bit(fast_model: Path) -> None:
    report = benchmark(fast_model, engines=["fastep", "fastep-customop"], lengths=[7], batches=[3], **FEW)
    assert report.baseline == "fastep"
    assert [m.largest_difference for m in report.measurements] == [0.0, 0.0]


def test_speedup_is_against_the_baseline(float_model: Path, quantized_model: Path) -> None:
    report = benchmark(float_model, engines=["ort"], models=[f"q8={quantized_model}"], baseline="q8", **FEW)
    by_name = {m.engine: m for m in report.measurements}
    assert by_name["q8"].speedup == 1.0
    q8, ort = by_name["q8"].median_ms, by_name["ort"].median_ms
    assert q8 is not None
    assert ort is not None
    assert by_name["ort"].speedup == pytest.approx(q8 / ort)


def test_one_bad_engine_costs_only_itself(float_model: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"broken")
    report = benchmark(
        float_model,
        engines=["ort"],
        models=[f"none={tmp_path / 'none.onnx'}", f"broken={tmp_path / 'broken.onnx'}"],
        lengths=[4],
        **FEW,
    )
    good, none, broken = report.measurements
    assert good.problem is None
    assert good.calls == 3
    assert none.problem is not None
    assert "no such model file" in none.problem
    assert broken.problem
    assert none.median_ms is broken.median_ms is None


def test_a_combination_that_fails_costs_only_itself(float_model: Path, tmp_path: Path) -> None:
    model = onnx.load(str(float_model))
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[1].dim_value = 6
    onnx.save(model, str(tmp_path / "fixed.onnx"))
    report = benchmark(tmp_path / "fixed.onnx", engines=["ort"], lengths=[5, 6], **FEW)
    assert [m.calls for m in report.measurements] == [0, 3]
    assert "fixed to 6, asked for 5" in report.problems[0]


def test_outputs_that_differ_wildly_are_not_compared(float_model: Path, tmp_path: Path) -> None:
    model = onnx.load(str(float_model))
    for tensor in model.graph.initializer:
        if tensor.name in ("gamma", "wp", "bp"):
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, str(tmp_path / "other.onnx"))
    report = benchmark(float_model, engines=["ort"], models=[f"other={tmp_path / 'other.onnx'}"], **FEW)
    other = report.measurements[1]
    assert other.median_ms is not None  # measured
    assert other.speedup is None  # but not compared
    assert other.cosine is not None
    assert other.cosine < runner.LEAST_COSINE
    assert "not compared" in str(other.problem)
    lenient = benchmark(
        float_model, engines=["ort"], models=[f"other={tmp_path / 'other.onnx'}"], least_cosine=-1.0, **FEW
    )
    assert lenient.measurements[1].speedup is not None


def test_outputs_of_other_names_or_with_nan_are_not_compared(float_model: Path, tmp_path: Path) -> None:
    model = onnx.load(str(float_model))
    del model.graph.output[1]
    onnx.save(model, str(tmp_path / "fewer.onnx"))
    model = onnx.load(str(float_model))
    gamma = next(tensor for tensor in model.graph.initializer if tensor.name == "gamma")
    gamma.CopyFrom(numpy_helper.from_array(np.full(12, np.nan, np.float32), "gamma"))
    onnx.save(model, str(tmp_path / "nan.onnx"))
    others = [f"fewer={tmp_path / 'fewer.onnx'}", f"nan={tmp_path / 'nan.onnx'}"]
    _, fewer, nan = benchmark(float_model, engines=["ort"], models=others, **FEW).measurements
    assert fewer.speedup is None
    assert "name or shape" in str(fewer.problem)
    assert nan.speedup is None
    assert "hold NaN" in str(nan.problem)


def test_the_time_limit_leaves_five_rounds(float_model: Path) -> None:
    (row,) = benchmark(float_model, engines=["ort"], repeats=1000, seconds=0.0).measurements
    assert row.calls == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batches": [0]}, r"batches must be numbers of at least 1, found \[0\]"),
        ({"lengths": []}, "lengths"),
        ({"threads": [-1]}, "threads"),
        ({"repeats": 0}, "repeats >= 1"),
        ({"warmup": -1}, "warmup >= 0"),
        ({"baseline": "x"}, "no row is called 'x' .*fastep, ort"),
        ({"engines": ["x"]}, "unknown engine"),
    ],
)
def test_wrong_arguments(float_model: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(FastEPError, match=message):
        benchmark(float_model, **arguments)
