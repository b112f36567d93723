"""A process of its own, bound to one CPU, that runs a model on request.

It reads numbers of seconds from its standard input, one a line, runs the model for about so long and answers with the
sequences per second that it reached.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import onnxruntime

import pyfastep
from pyfastep.bench.inputs import make_inputs, vocabulary_size
from pyfastep.errors import FastEPError

__all__ = ["Worker", "open_fastep", "rate"]

_READY = "ready"
# With the paths of this process, so that it imports the same package.
_START = f"""
import json, sys
sys.path = json.loads(sys.argv[1])
from {__name__} import serve
serve(*sys.argv[2:])
"""


def open_fastep(path: Path, threads: int, *, affinities: str = "", **options: str) -> Any:
    """A session with FastEP, with these options of it, in which every fastep node runs there.

    `affinities` binds the threads that are not the caller's own, as ONNX Runtime's option of that name does.
    """
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = threads
    session_options.inter_op_num_threads = 1
    session_options.log_severity_level = 3
    if affinities:
        session_options.add_session_config_entry("session.intra_op_thread_affinities", affinities)
    return pyfastep.InferenceSession(path, session_options, [(pyfastep.get_ep_name(), options)], strict=True)


def rate(call: Callable[[], object], batch: int, seconds: float) -> float:
    """Sequences per second of calls of `batch` sequences, made one after the other for at least so long."""
    calls = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or calls == 0:
        call()
        calls += 1
    return calls * batch / elapsed


class Worker:
    """The other end: starts the process and asks it."""

    def __init__(self, path: Path, cpu: int, batch: int, length: int) -> None:
        command = [sys.executable, "-c", _START, json.dumps(sys.path), str(path), str(cpu), str(batch), str(length)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._expect()

    def start(self, seconds: float) -> None:
        """Lets it run; `result` waits for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()

    def result(self) -> float:
        """Sequences per second of what was started last."""
        return float(self._expect())

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _expect(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise FastEPError("a measuring process ended early", remedy="see what it printed")
        return line


def serve(path: str, cpu: str, batch: str, length: str) -> None:
    """Answers until its standard input ends."""
    os.sched_setaffinity(0, {int(cpu)})
    session = open_fastep(Path(path), 1)
    inputs = make_inputs(session, int(batch), int(length), vocabulary=vocabulary_size(Path(path)))
    for _ in range(3):
        session.run(None, inputs)
    print(_READY, flush=True)
    for line in sys.stdin:
        print(rate(lambda: session.run(None, inputs), int(batch), float(line)), flush=True)
