"""Runs without training: reports as `compress` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pyfastep.compress.recipe import Recipe
from pyfastep.compress.study.plan import Cell, Study

STUDY = Study(
    "tiny study", "smoke", seeds=(0, 1, 2), cells=(Cell("4x1"), Cell("4x4", ("prune.pattern=4x4",)), Cell("late"))
)


def report_tables(recipe: Recipe) -> dict[str, Any]:
    """Figures that follow from pattern and seed: 4x4 is a point worse, one dense step 50, a seed a point better."""
    quality = 90.0 + recipe.seed - (recipe.prune.pattern == "4x4") - 50 * (recipe.dense.steps == 1)
    cost = {"steps": 100, "tokens": 2_000_000, "seconds": 60.0, "cpu_seconds": 120.0}
    speed = {"batch": 1, "length": 64, "threads": 1}
    return {
        "chief_figure": "accuracy",
        "machine": "a machine",
        "figures": {
            "dense fp32, torch": {"accuracy": quality + 2.0},
            "pruned fp32, torch": {"accuracy": quality + 0.5},
            "FastEP's file, FastEP": {"accuracy": quality, "agreement": 99.0},
        },
        "bench": {
            "measurements": [
                {**speed, "engine": "dense fp32", "median_ms": 8.0, "speedup": 1.0},
                {**speed, "engine": "FastEP", "median_ms": 2.0, "speedup": 4.0},
                {**speed, "length": 9, "engine": "FastEP", "median_ms": None},
            ]
        },
        "sparsity": {"report": {"sparsity": 0.8}, "cost": {"seconds": 30.0, "cpu_seconds": 60.0}},
        "trainings": {"dense": {"cost": cost}, "train": {"cost": cost}, "qat": {"cost": None}},
    }


def fake_compress(recipe: Recipe, output: Path, **_: Any) -> None:
    """Leaves a report and two steps."""
    for step in ("dense", "export"):
        (output / "steps" / step).mkdir(parents=True, exist_ok=True)
    (output / "model").mkdir(exist_ok=True)
    (output / "report.json").write_text(json.dumps(report_tables(recipe)))
