"""Costs in words, and logs that come back from their file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pyfastep.compress.training_log import Cost, TrainingLog

COST = Cost(3600, 6_040_000, 3420.0, 6840.0, "cpu", 2, "bf16", 3600)


def test_words() -> None:
    assert str(COST) == "3600 steps, 6.0 M tokens, 57 min on 2 threads (1.9 CPU hours), bf16"
    limited = replace(COST, planned_steps=8000, threads=1, seconds=90.0, cpu_seconds=80.0)
    assert str(limited) == "3600 of 8000 steps (time limit), 6.0 M tokens, 1.5 min on 1 thread (1.3 CPU minutes), bf16"
    at_once = Cost(0, 31_500, 12.34, 20.0, "NVIDIA X", 2, "fp32")
    assert str(at_once) == "31.5 k tokens, 12.3 s on NVIDIA X (20.0 CPU seconds), fp32"
    assert str(replace(at_once, tokens=0)).startswith("12.3 s on")


def test_the_file_gives_the_same_log(tmp_path: Path) -> None:
    point = {"step": 0, "tokens": 0, "figures": {"f1": 1.5}}
    for log in (TrainingLog(), TrainingLog([{"step": 1.0, "loss": 2.0}], COST, [point], 3.0)):
        log.save(tmp_path / "log.json")
        assert TrainingLog.load(tmp_path / "log.json") == log
