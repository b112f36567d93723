"""What the demo measures: times of all engines side by side, file sizes, agreement with stock ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import pyfastep
from pyfastep import _stock
from pyfastep.bench import Measurement, benchmark
from pyfastep.demo.build import Baseline, BuiltModel
from pyfastep.demo.similarity import Feeds, Floats
from pyfastep.demo.stock import StockForms
from pyfastep.errors import FastEPError

__all__ = ["Agreement", "SpeedRow", "Time", "agreement", "measure_speed", "stock_session"]

_ROUNDS = 25
_SECONDS_PER_LENGTH = 30.0


@dataclass(frozen=True)
class Time:
    """Milliseconds per call: median, 10th and 90th percentile, and what was run."""

    engine: str
    median_ms: float
    p10_ms: float
    p90_ms: float


@dataclass(frozen=True)
class SpeedRow:
    """One model at one length.

    Attributes:
        name: Of the model.
        batch: Sequences per call.
        length: Tokens per sequence.
        threads: Intra-op threads.
        fp32: Stock ONNX Runtime, float.
        int8: Stock ONNX Runtime, the fastest of its INT8 forms.
        fastep: FastEP.
        others: The other INT8 forms of stock ONNX Runtime.
    """

    name: str
    batch: int
    length: int
    threads: int
    fp32: Time
    int8: Time
    fastep: Time
    others: tuple[Time, ...]

    @property
    def speedup(self) -> float:
        """Median of ONNX Runtime's best INT8 / median of FastEP."""
        return self.int8.median_ms / self.fastep.median_ms


@dataclass(frozen=True)
class Agreement:
    """How far FastEP's outputs are from those of stock ONNX Runtime on the same quantized model, on real text."""

    largest_difference: float
    mean_magnitude: float
    cosine: float


def measure_speed(
    built: Sequence[BuiltModel],
    baseline: Baseline,
    *,
    lengths: Sequence[int],
    threads: int = 1,
    progress: Callable[[str], None],
) -> list[SpeedRow]:
    """Times every model of one architecture on FastEP and on stock ONNX Runtime, taking turns call by call.

    Stock ONNX Runtime computes with zeros as with any number, so its float and dynamic models are measured once for
    all patterns; its static INT8 is measured for each model, as that is the model that FastEP runs. Each of its forms
    is measured in the setting that is faster for the length.

    Raises:
        FastEPError: An engine failed.
    """
    forms = {"fp32": baseline.fp32, "dynamic": baseline.dynamic}
    forms |= {"static": baseline.static, "static-float": baseline.static_float}
    forms |= {f"static of {entry.model.name}": entry.quantized for entry in built}
    progress("open ONNX Runtime's forms")
    stock, times = StockForms(forms, threads), dict[tuple[str, int], Time]()
    for length in lengths:
        progress(f"measure ONNX Runtime's settings, length {length}")
        best = stock.best(1, length)
        report = benchmark(
            built[0].fastep,
            engines=(),
            models=[
                *(f"fastep:{entry.model.name}={entry.fastep}" for entry in built),
                *(f"{form.engine.kind}:{form.name}={form.engine.path}" for form in best),
            ],
            lengths=(length,),
            threads=(threads,),
            baseline="fp32",
            repeats=_ROUNDS,
            seconds=_SECONDS_PER_LENGTH,
            progress=lambda done, total, what: progress(f"measure {what}"),
        )
        titles = {form.name: form.title for form in best}
        times |= {(m.engine, m.length): _time(m, titles.get(m.engine, m.engine)) for m in report.measurements}
    return [_row(entry, length, threads, times) for entry in built for length in lengths]


def _time(measurement: Measurement, title: str) -> Time:
    if measurement.median_ms is None or measurement.p10_ms is None or measurement.p90_ms is None:
        raise FastEPError(f"not measured: {measurement.problem}", node=measurement.engine)
    return Time(title, measurement.median_ms, measurement.p10_ms, measurement.p90_ms)


def _row(entry: BuiltModel, length: int, threads: int, times: dict[tuple[str, int], Time]) -> SpeedRow:
    name = entry.model.name
    int8 = [times[engine, length] for engine in ("dynamic", "static", "static-float", f"static of {name}")]
    best = min(int8, key=lambda time: time.median_ms)
    return SpeedRow(
        name=name,
        batch=1,
        length=length,
        threads=threads,
        fp32=times["fp32", length],
        int8=best,
        fastep=times[name, length],
        others=tuple(time for time in int8 if time is not best),
    )


def stock_session(path: Path, *, optimized: bool = True) -> Any:
    """A session of ONNX Runtime without FastEP; `optimized`: with its graph optimizations."""

    def configure(options: onnxruntime.SessionOptions) -> None:
        options.log_severity_level = 3
        if not optimized:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL

    return _stock.stock_session(path, configure)


def agreement(built: BuiltModel, batches: Iterable[Feeds]) -> Agreement:
    """Runs source and converted model on the same texts; padding is left out."""
    stock, fastep = stock_session(built.quantized), pyfastep.InferenceSession(built.fastep, strict=True)
    wanted = {entry.name for entry in stock.get_inputs()}
    expected: list[Floats] = []
    actual: list[Floats] = []
    for batch in batches:
        feeds = {name: values for name, values in batch.items() if name in wanted}
        real = batch["attention_mask"] == 1
        for values, session in ((expected, stock), (actual, fastep)):
            values += [output[real].ravel() for output in session.run(None, feeds)]
    a, b = np.concatenate(actual).astype(np.float64), np.concatenate(expected).astype(np.float64)
    return Agreement(
        largest_difference=float(np.abs(a - b).max()),
        mean_magnitude=float(np.abs(b).mean()),
        cosine=float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))),
    )
