"""What a session costs before it runs: seconds to open it, memory that it adds to the process, and the peak meanwhile.

Each model is opened in a process of its own, with ONNX Runtime imported and the provider registered before the memory
is first looked at. Linux only: figures are VmRSS and VmHWM of /proc/self/status, in MB of 10^6 bytes, and memory that
the C library keeps for later is given back to the system before it is counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass

from pyfastep._model_paths import check_model, file_bytes
from pyfastep._text import last_line
from pyfastep.errors import FastEPError

COLUMNS = ("engine", "files, MB", "load, s", "added, MB", "peak, MB", "after a run, MB")

_MEASURE = """
import ctypes, gc, json, sys, time
sys.path = json.loads(sys.argv[1])
engine, model, threads = sys.argv[2], sys.argv[3], int(sys.argv[4])
import numpy, onnxruntime, pyfastep.session
from pyfastep.bench.inputs import fixed_batch, make_inputs

def status():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return [int(lines[key].split()[0]) * 1024 / 1e6 for key in ("VmRSS", "VmHWM")]

def settle():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return status()[0]

numpy.random.default_rng(0).integers(0, 2, 2)  # so that inputs need nothing new later
if engine == "fastep":
    pyfastep.register()
    pyfastep.session._ep.get_devices()
settle()
try:
    open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
except OSError:
    pass
before = status()[0]
start = time.perf_counter()
if engine == "fastep":
    session = pyfastep.InferenceSession(model, threads=threads)
else:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
seconds = time.perf_counter() - start
peak = status()[1] - before
added = settle() - before
session.run(None, make_inputs(session, fixed_batch(session) or 1, int(sys.argv[5]), vocabulary=2))
after_run = settle() - before
print(json.dumps([seconds, added, peak, after_run]))
"""


@dataclass(frozen=True)
class MemoryUse:
    """One model on one engine.

    Attributes:
        name: What to call it.
        engine: `fastep` or `ort`, stock ONNX Runtime.
        files_mb: The model and the files beside it, MB.
        load_seconds: To open a session.
        added_mb: Resident memory that the open session adds to the process, MB.
        peak_mb: The most that was added while it was opened, MB.
        after_run_mb: Added once it has run, 1 x `length` tokens, MB: arena and pages of mapped files included.
    """

    name: str
    engine: str
    files_mb: float
    load_seconds: float
    added_mb: float
    peak_mb: float
    after_run_mb: float

    def cells(self) -> tuple[str, ...]:
        """The row of a table, as `COLUMNS` head it."""
        figures = (self.added_mb, self.peak_mb, self.after_run_mb)
        return (self.name, f"{self.files_mb:.1f}", f"{self.load_seconds:.2f}", *(f"{figure:.1f}" for figure in figures))

    def to_dict(self) -> dict[str, str | float]:
        """The attributes."""
        return asdict(self)


def measure_memory(
    model: str | os.PathLike[str],
    *,
    engine: str = "fastep",
    name: str | None = None,
    threads: int = 1,
    length: int = 128,
) -> MemoryUse:
    """Open a model in a process of its own, run it once, and tell what that took.

    Args:
        model: The model file.
        engine: `fastep`, or `ort` for stock ONNX Runtime.
        name: What to call it; by default engine and file name.
        threads: Threads of the session.
        length: Tokens of the one sequence that it runs.

    Raises:
        ModelFileError: The model is not there or is none.
        FastEPError: An unknown engine, or the model cannot be opened or run.
    """
    if engine not in ("fastep", "ort"):
        raise FastEPError(f"expected the engine fastep or ort, found {engine!r}")
    path = check_model(model)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, json.dumps(sys.path), engine, str(path), str(threads), str(length)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise FastEPError(f"its memory cannot be measured: {last_line(done)}", node=str(path))
    seconds, added, peak, after_run = json.loads(done.stdout.splitlines()[-1])
    name = name or f"{engine} {path.name}"
    return MemoryUse(name, engine, file_bytes(path) / 1e6, seconds, added, peak, after_run)
