"""Two threads against two processes, and several callers of one session against sessions of their own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from pyfastep.bench.inputs import make_inputs, vocabulary_size
from pyfastep.demo.build import BuiltModel
from pyfastep.demo.figures.figure import Figure, Section
from pyfastep.demo.figures.worker import Worker, open_fastep, rate
from pyfastep.demo.turns import ratios, spread, take_turns
from pyfastep.errors import FastEPError

__all__ = ["measure_threads"]

SHAPES = ((1, 128), (8, 128))
CALLERS = 4
_TURN_SECONDS = 0.4
_PAUSE_SECONDS = 0.02  # after this, the threads of whoever ran before have stopped spinning
_ROUNDS = 15
_TITLE = "Threads and concurrent calls"
_NOTES = (
    "Two threads: sequences per second of one session with two threads / of two processes at the same time, each with "
    "one thread and bound to a CPU of its own. Bound threads: with session.intra_op_thread_affinities, and the caller "
    "bound as well.",
    "Concurrent calls: sequences per second of four callers of one session / of four callers with a session each, one "
    "thread per session; every output is compared with that of a call alone.",
)


def measure_threads(built: BuiltModel, progress: Callable[[str], None]) -> Section:
    """Measures one converted model.

    Raises:
        FastEPError: There is only one CPU, or concurrent calls changed a result.
    """
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise FastEPError("two threads are measured on two CPUs, only one is usable", remedy="leave out this section")
    title, path = built.model.title, built.fastep
    figures: list[Figure] = []
    for batch, length in SHAPES:
        progress(f"two threads, {batch} x {length}")
        figures += _two_threads(title, path, batch, length, cpus)
    for batch, length in SHAPES:
        progress(f"concurrent calls, {batch} x {length}")
        figures.append(_concurrent(title, path, batch, length))
    return Section("threads", _TITLE, tuple(figures), _NOTES)


def _two_threads(title: str, path: Path, batch: int, length: int, cpus: list[int]) -> list[Figure]:
    """Of a session as it is opened by default, and of one whose threads are bound to CPUs, as the processes are."""
    free = open_fastep(path, 2)
    bound = open_fastep(path, 2, affinities=str(cpus[1] + 1))  # ONNX Runtime counts from 1
    inputs = make_inputs(free, batch, length, vocabulary=vocabulary_size(path))
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(path, cpu, batch, length)) for cpu in cpus[:2]]

        def processes() -> float:
            time.sleep(_PAUSE_SECONDS)
            for worker in workers:
                worker.start(_TURN_SECONDS)
            return sum(worker.result() for worker in workers)

        def threads(session: Any, caller: set[int]) -> float:
            time.sleep(_PAUSE_SECONDS)
            os.sched_setaffinity(0, caller)  # of this thread alone
            try:
                return rate(lambda: session.run(None, inputs), batch, _TURN_SECONDS)
            finally:
                os.sched_setaffinity(0, cpus)

        turns = {
            "threads": lambda: threads(free, set(cpus)),
            "bound threads": lambda: threads(bound, {cpus[0]}),
            "processes": processes,
        }
        measured = take_turns(turns, rounds=_ROUNDS)
    rates = _rates(measured)
    return [
        Figure(
            f"{title}: two {name}",
            f"{batch} x {length}",
            ratios(measured[name], measured["processes"]),
            floor=0.93,
            detail=rates,
        )
        for name in ("threads", "bound threads")
    ]


def _concurrent(title: str, path: Path, batch: int, length: int) -> Figure:
    sessions = [open_fastep(path, 1) for _ in range(CALLERS)]
    vocabulary = vocabulary_size(path)
    inputs = [make_inputs(sessions[0], batch, length, vocabulary=vocabulary, seed=seed) for seed in range(CALLERS)]
    alone = [sessions[0].run(None, feeds) for feeds in inputs]
    with ThreadPoolExecutor(CALLERS) as pool:

        def callers(of: list[Any]) -> Callable[[], float]:
            def turn() -> float:
                calls = [_checked(of[i], inputs[i], alone[i]) for i in range(CALLERS)]
                return sum(pool.map(lambda call: rate(call, batch, _TURN_SECONDS), calls))

            return turn

        turns = {"one session": callers([sessions[0]] * CALLERS), "four sessions": callers(sessions)}
        measured = take_turns(turns, rounds=_ROUNDS)
    value = ratios(measured["one session"], measured["four sessions"])
    shape = f"{CALLERS} callers of {batch} x {length}"
    return Figure(f"{title}: concurrent calls", shape, value, floor=0.97, aim=1.0, detail=_rates(measured))


def _checked(session: Any, inputs: Any, expected: list[Any]) -> Callable[[], None]:
    def call() -> None:
        found = session.run(None, inputs)
        if not all(np.array_equal(x, y) for x, y in zip(found, expected, strict=True)):
            raise FastEPError("a call beside others gave another result than alone", remedy="report this")

    return call


def _rates(measured: dict[str, list[float]]) -> str:
    return ", ".join(f"{name} {spread(values).median:.1f}/s" for name, values in measured.items())
