"""The measurement: all engines in one process, taking turns, on the same inputs."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfastep import _ep
from pyfastep.bench.engines import MOST_THREADS, Engine, parse_engines
from pyfastep.bench.inputs import Inputs, make_inputs, vocabulary_size
from pyfastep.bench.machine import describe_machine
from pyfastep.bench.result import BenchReport, Measurement
from pyfastep.errors import FastEPError

# Below this cosine, two engines compute different things and their times must not be compared.
LEAST_COSINE = 0.7
# Of each of several streams: enough for all to be at work together most of the time.
_CALLS_PER_TURN = 4

Progress = Callable[[int, int, str], None]


def benchmark(
    model: str | os.PathLike[str],
    *,
    engines: Sequence[str] = ("fastep", "ort"),
    models: Sequence[str | os.PathLike[str]] = (),
    batches: Sequence[int] = (1,),
    lengths: Sequence[int] = (128,),
    threads: Sequence[int] = (1,),
    streams: Sequence[int] = (1,),
    baseline: str | None = None,
    repeats: int = 30,
    warmup: int = 3,
    seconds: float = 20.0,
    seed: int = 0,
    least_cosine: float = LEAST_COSINE,
    progress: Progress | None = None,
) -> BenchReport:
    """Measure the latency of every engine at every batch size, length, number of threads and of concurrent streams.

    Within a combination the engines take turns, call by call, in an order that rotates, so that a drift of the machine
    meets all of them alike. An engine that fails loses its own figures alone.

    Args:
        model: The model file that `engines` run.
        engines: Of `ENGINES`: `fastep`, `fastep-customop`, `ort`, `ort-unfused`, `ort-exact`.
        models: Further rows: `name=path` or `path` (on stock ONNX Runtime), or `engine:name=path`.
        batches: Sequences per call.
        lengths: Tokens per sequence.
        threads: Intra-op threads.
        streams: Callers of one session at the same time. Of several, throughput is measured, not derived.
        baseline: Name of the row to compare with; by default `ort`, or the first row where there is none.
        repeats: Measured calls per engine and combination.
        warmup: Calls before that.
        seconds: No new round begins after this time per combination (five rounds are always measured).
        seed: Of the inputs.
        least_cosine: Rows whose outputs are less like the baseline's get no speedup: they compute something else.
        progress: Called with (combinations done, combinations in all, what is measured next).

    Raises:
        FastEPError: Wrong arguments, or no suitable ONNX Runtime.
    """
    rows = parse_engines(model, engines, models)
    reference = _find_baseline(rows, baseline)
    _check(batches=batches, lengths=lengths, threads=threads, streams=streams)
    if repeats < 1 or warmup < 0 or seed < 0:
        raise FastEPError(f"expected repeats >= 1, warmup >= 0 and seed >= 0, found {repeats}, {warmup} and {seed}")
    _ep.import_onnxruntime()
    plan = _Plan(rows, reference, repeats, warmup, seconds, seed, least_cosine)
    measured: list[Measurement] = []
    total = len(batches) * len(lengths) * len(threads) * len(streams)
    done = 0
    for count in threads:
        runs = [_Run(engine, count) for engine in rows]
        for callers, batch, length in itertools.product(streams, batches, lengths):
            if progress:
                progress(done, total, f"threads {count}, streams {callers}, batch {batch}, length {length}")
            measured += plan.measure(runs, callers, batch, length)
            done += 1
    if progress:
        progress(total, total, "done")
    return BenchReport(describe_machine(), reference, tuple(measured))


def _check(**lists: Sequence[int]) -> None:
    for name, values in lists.items():
        if not values or min(values) < 1:
            raise FastEPError(f"{name} must be numbers of at least 1, found {list(values)}")
    if max(lists["streams"]) > MOST_THREADS:
        raise FastEPError(f"streams must be at most {MOST_THREADS}, found {max(lists['streams'])}")


def _find_baseline(rows: list[Engine], wanted: str | None) -> str:
    names = [engine.name for engine in rows]
    if wanted is not None and wanted not in names:
        raise FastEPError(f"no row is called {wanted!r}", remedy=f"the rows are {', '.join(names)}")
    return wanted or ("ort" if "ort" in names else names[0])


class _Run:
    """One engine's session for one thread count; a failure stays with the engine."""

    def __init__(self, engine: Engine, threads: int) -> None:
        self.engine, self.threads = engine, threads
        self.problem: str | None = None
        self.session: Any = None
        start = time.perf_counter()
        try:
            self.session = engine.open(threads)
        except Exception as error:  # ONNX Runtime's errors share no base
            self.problem = _one_line(error)
        self.load_ms = (time.perf_counter() - start) * 1e3


@dataclass
class _Cell:
    """One engine within one combination."""

    run: _Run
    problem: str | None
    inputs: Inputs = field(default_factory=dict)
    outputs: dict[str, NDArray[Any]] = field(default_factory=dict)
    times_ms: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    """Calls per second of all streams together, turn by turn; of a single stream none."""

    def call(self) -> float:
        """One call; its time in milliseconds, 0 if it failed."""
        start = time.perf_counter()
        try:
            values = self.run.session.run(None, self.inputs)
        except Exception as error:
            self.problem = _one_line(error)
            return 0.0
        elapsed = (time.perf_counter() - start) * 1e3
        if not self.outputs:
            self.outputs = {o.name: v for o, v in zip(self.run.session.get_outputs(), values, strict=True)}
        return elapsed

    def take_turn(self, streams: int, pool: ThreadPoolExecutor) -> None:
        """One call; of several streams, some calls of each at the same time."""
        if streams == 1:
            self.times_ms.append(self.call())
            return
        start = threading.Barrier(streams)

        def stream(_: int) -> list[float]:
            start.wait()
            return [self.call() for _ in range(_CALLS_PER_TURN)]

        try:
            times = list(pool.map(stream, range(streams)))
        except RuntimeError as error:
            start.abort()  # those that wait for a thread that could not be started
            raise FastEPError(f"{streams} streams cannot be measured: {error}") from error
        self.times_ms += itertools.chain.from_iterable(times)
        if self.problem is None:
            # Each over its own time: nobody's wait for the last one counts.
            self.rates.append(sum(1e3 * len(own) / sum(own) for own in times))


@dataclass
class _Plan:
    """How one combination is measured."""

    rows: list[Engine]
    baseline: str
    repeats: int
    warmup: int
    seconds: float
    seed: int
    least_cosine: float

    def __post_init__(self) -> None:
        # One vocabulary for all, so that all get the same ids.
        self.vocabulary = vocabulary_size(*(engine.path for engine in self.rows))

    def measure(self, runs: list[_Run], streams: int, batch: int, length: int) -> list[Measurement]:
        cells = [_Cell(run, run.problem) for run in runs]
        for cell in cells:
            if cell.problem is None:
                self._prepare(cell, batch, length)
        with ThreadPoolExecutor(streams) as pool:
            self._take_turns(cells, streams, pool)
        results = [_summarize(cell, streams, batch, length) for cell in cells]
        baseline = next(i for i, cell in enumerate(cells) if cell.run.engine.name == self.baseline)
        return [
            _compare(row, cell, results[baseline], cells[baseline], self.least_cosine)
            for row, cell in zip(results, cells, strict=True)
        ]

    def _prepare(self, cell: _Cell, batch: int, length: int) -> None:
        try:
            cell.inputs = make_inputs(cell.run.session, batch, length, vocabulary=self.vocabulary, seed=self.seed)
        except FastEPError as error:
            cell.problem = _one_line(error)
            return
        for _ in range(max(1, self.warmup)):  # the first call also tells the outputs
            if cell.problem is None:
                cell.call()

    def _take_turns(self, cells: list[_Cell], streams: int, pool: ThreadPoolExecutor) -> None:
        end = time.perf_counter() + self.seconds
        for turn in range(self.repeats):
            if turn >= 5 and time.perf_counter() > end:
                return
            shift = turn % len(cells)
            for cell in (*cells[shift:], *cells[:shift]):
                if cell.problem is None:
                    cell.take_turn(streams, pool)


def _summarize(cell: _Cell, streams: int, batch: int, length: int) -> Measurement:
    run = cell.run
    row = Measurement(
        run.engine.name, run.threads, batch, length, load_ms=run.load_ms, problem=cell.problem, streams=streams
    )
    if cell.problem is not None:
        return row
    p10, median, p90, p99 = (float(q) for q in np.percentile(cell.times_ms, [10, 50, 90, 99]))
    throughput = float(np.median(cell.rates)) * batch if cell.rates else None
    calls = len(cell.times_ms)
    return replace(row, median_ms=median, p10_ms=p10, p90_ms=p90, p99_ms=p99, calls=calls, throughput=throughput)


def _compare(
    row: Measurement, cell: _Cell, baseline: Measurement, reference: _Cell, least_cosine: float
) -> Measurement:
    """Add speedup and difference against the baseline, or say why there are none."""
    if row.samples_per_second is None or baseline.samples_per_second is None:
        return row
    speedup = row.samples_per_second / baseline.samples_per_second
    if {n: np.shape(v) for n, v in cell.outputs.items()} != {n: np.shape(v) for n, v in reference.outputs.items()}:
        return replace(row, problem=f"outputs differ in name or shape from those of {baseline.engine}: not compared")
    a, b = (
        np.concatenate([np.ravel(c.outputs[n]).astype(np.float64) for n in sorted(c.outputs)])
        for c in (cell, reference)
    )
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        return replace(row, problem=f"outputs, or those of {baseline.engine}, hold NaN or infinity: not compared")
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(a @ b) / norms if norms > 0 else float(np.array_equal(a, b))
    row = replace(row, cosine=cosine, largest_difference=float(np.max(np.abs(a - b), initial=0.0)))
    if cosine < least_cosine:
        return replace(row, problem=f"outputs have cosine {cosine:.3f} to those of {baseline.engine}: not compared")
    return replace(row, speedup=speedup)


def _one_line(error: BaseException) -> str:
    return " ".join((str(error).strip() or type(error).__name__).split())
