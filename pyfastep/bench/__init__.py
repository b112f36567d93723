"""Latency of models on FastEP and on stock ONNX Runtime, measured side by side in one run.

>>> from pyfastep.bench import benchmark
>>> report = benchmark("fast.onnx", batches=[1, 8], lengths=[128], threads=[1, 2], models=["fp32=model.onnx"])
>>> print(report.to_markdown())
"""

from __future__ import annotations

from pyfastep.bench.engines import ENGINES, Engine
from pyfastep.bench.result import BenchReport, Measurement
from pyfastep.bench.runner import benchmark

__all__ = ["ENGINES", "BenchReport", "Engine", "Measurement", "benchmark"]
