"""What opening the demo's first sparse model costs in each of its forms, and on stock ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyfastep
from pyfastep.bench.memory import MemoryUse, measure_memory
from pyfastep.demo.build import BuiltModel

__all__ = ["MEMORY_MODEL", "measure_forms"]

MEMORY_MODEL = "distilbert-4x4-80"


def measure_forms(built: BuiltModel, progress: Callable[[str], None]) -> tuple[MemoryUse, ...]:
    """Stock ONNX Runtime on the source, and FastEP on one file, external data, and compiled in two files or one.

    Raises:
        FastEPError: A form cannot be written or opened.
    """
    folder = built.fastep.parent
    external, compiled, embedded = (folder / f"{name}.onnx" for name in ("external", "compiled", "embedded"))
    progress(f"{built.model.title}: external data, compiled")
    pyfastep.convert(built.quantized, external, external_data=True)
    pyfastep.compile_model(built.fastep, compiled)
    pyfastep.compile_model(built.fastep, embedded, embed=True)
    forms: list[tuple[str, str, Path]] = [
        ("ONNX Runtime, INT8", "ort", built.quantized),
        ("FastEP, one file", "fastep", built.fastep),
        ("FastEP, external data", "fastep", external),
        ("FastEP, compiled", "fastep", compiled),
        ("FastEP, compiled, one file", "fastep", embedded),
    ]
    progress(f"{built.model.title}: memory")
    return tuple(measure_memory(path, engine=engine, name=name) for name, engine, path in forms)
