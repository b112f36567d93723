"""The measurement: a profiled session and a plain one in turns, and what their files say of the same runs."""

from __future__ import annotations

import gc
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pyfastep import _ep
from pyfastep._model_paths import check_model
from pyfastep.bench.engines import session_options
from pyfastep.bench.inputs import Inputs, make_inputs, vocabulary_size
from pyfastep.bench.machine import describe_machine
from pyfastep.errors import FastEPError
from pyfastep.profile.hints import find_hints
from pyfastep.profile.measured import Measured
from pyfastep.profile.ort_trace import TracedNode, read_trace
from pyfastep.profile.recording import Durations, read_recording
from pyfastep.profile.result import ProfileReport
from pyfastep.profile.what_if import predict
from pyfastep.session import InferenceSession

MOST_RUNS = 250  # the library keeps the last 256 durations one by one
_WARMUP = 5

Progress = Callable[[int, int], None]


def profile(
    model: str | os.PathLike[str],
    *,
    batch: int = 1,
    length: int = 128,
    threads: int = 1,
    runs: int = 50,
    max_tier: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ProfileReport:
    """Measure where the time of one `session.run` goes: layers and ops inside FastEP's plans, other nodes, the rest.

    The model runs on made-up inputs, as in `pyfastep.bench`. A profiled session and a plain one take turns, so that the
    report can say what profiling itself costs. Every time is the mean over the middle half of the profiled runs,
    ordered by their `session.run`: of the same runs for all parts, so parts add up.

    Args:
        model: A converted model; a model without `fastep` nodes is all ONNX Runtime's.
        batch: Sequences per run.
        length: Tokens per sequence.
        threads: Threads per run.
        runs: Measured runs, 1 to 250, after 5 that are not.
        max_tier: The highest instruction tier to use.
        seed: Of the inputs.
        progress: Called with (runs done, runs in all).

    Raises:
        FastEPError: Wrong arguments, no such file or none that is a model, or no suitable ONNX Runtime.
        Exception: What ONNX Runtime raises for a model that it cannot load or run.
    """
    _check(model, batch=batch, length=length, threads=threads, runs=runs)
    with tempfile.TemporaryDirectory(prefix="fastep-profile-") as folder:
        pair = _Pair(Path(model), Path(folder), threads, max_tier)
        run_ms, plain_ms = pair.run(pair.inputs(batch, length, seed), runs, progress)
        trace = pair.close()
        recording = read_recording(pair.file)
    measured = Measured(recording, trace[-runs:], run_ms, _WARMUP)
    report = ProfileReport(
        model=str(model),
        machine=describe_machine(),
        tier=recording.tier,
        batch=batch,
        length=length,
        threads=threads,
        runs=runs,
        peak_macs_per_second=recording.peak_macs_per_second * threads,
        read_bytes_per_second=recording.read_bytes_per_second,
        run_ms=measured.mean(run_ms),
        plain_run_ms=float(np.median(plain_ms)),
        **measured.parts(threads),
    )
    recorded = [step for subgraph in measured.subgraphs for step in subgraph.steps]
    hints = find_hints(report, recorded, measured.subgraphs, pair.warnings)
    return replace(report, hints=hints, what_if=predict(report.steps, recorded))


def _check(model: str | os.PathLike[str], **numbers: int) -> None:
    check_model(model)
    for name, value in numbers.items():
        if value < 1:
            raise FastEPError(f"{name} must be at least 1, found {value}")
    if numbers["runs"] > MOST_RUNS:
        raise FastEPError(f"runs must be at most {MOST_RUNS}, found {numbers['runs']}")


class _Pair:
    """A profiled session of a model and a plain one; they share the packed weights."""

    def __init__(self, model: Path, folder: Path, threads: int, max_tier: str | None) -> None:
        self.model, self.file = model, folder / "fastep.json"
        tier = {} if max_tier is None else {"max_tier": max_tier}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            options = session_options(threads)
            options.enable_profiling = True
            options.profile_file_prefix = str(folder / "ort")
            self.profiled = self._open(options, {**tier, "profile": str(self.file)})
            self.plain = self._open(session_options(threads), tier)
        self.warnings = tuple(dict.fromkeys(str(warning.message) for warning in caught))

    def _open(self, options: Any, own: dict[str, str]) -> Any:
        return InferenceSession(self.model, options, [(_ep.EP_NAME, own)])

    def inputs(self, batch: int, length: int, seed: int) -> Inputs:
        return make_inputs(self.plain, batch, length, vocabulary=vocabulary_size(self.model), seed=seed)

    def run(self, inputs: Inputs, runs: int, progress: Progress | None) -> tuple[Durations, Durations]:
        """Milliseconds of `session.run`, profiled and plain, after the warm-up."""
        times: dict[Any, list[float]] = {self.profiled: [], self.plain: []}
        for done in range(_WARMUP + runs):
            for session, durations in times.items():
                start = time.perf_counter()
                session.run(None, inputs)
                durations.append((time.perf_counter() - start) * 1e3)
            if progress is not None:
                progress(done + 1, _WARMUP + runs)
        profiled, plain = (np.asarray(durations[_WARMUP:]) for durations in times.values())
        return profiled, plain

    def close(self) -> list[list[TracedNode]]:
        """End the sessions, whose files are complete then, and read ONNX Runtime's."""
        trace = Path(self.profiled.end_profiling())
        del self.profiled, self.plain
        gc.collect()
        return read_trace(trace)
