"""What the report says of trainings."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pyfastep.compress.recipe_file import load_recipe
from pyfastep.compress.training_log import Cost, TrainingLog
from pyfastep.compress.training_report import cost_lines, curve_table, extrapolate, extrapolation_line

COST = Cost(100, 200_000, 61.0, 90.0, "cpu", 2, "fp32")
POINTS: list[dict[str, Any]] = [
    {"step": step, "tokens": 2000 * step, "figures": {"cosine": 1 - 0.5 * max(1, step) ** -0.5, "spearman": 0.5}}
    for step in (0, 25, 50, 75, 100)
]
LOGS = {"dense": TrainingLog(), "train": TrainingLog(cost=COST, evaluations=POINTS), "qat": TrainingLog(cost=COST)}


def test_a_line_per_training() -> None:
    at_once = asdict(Cost(0, 5000, 2.0, 3.0, "cpu", 2, "fp32"))
    text = cost_lines(LOGS, at_once, "second-order").splitlines()
    assert text == [
        "* second-order pruning: 5.0 k calibration tokens, 2.0 s on 2 threads (3.0 CPU seconds), fp32",
        "* train: 100 steps, 200.0 k tokens, 1.0 min on 2 threads (1.5 CPU minutes), fp32",
        "* qat: 100 steps, 200.0 k tokens, 1.0 min on 2 threads (1.5 CPU minutes), fp32",
    ]
    assert cost_lines({"train": TrainingLog()}, None, "gradual") == ""


def test_a_table_per_curve() -> None:
    text = curve_table(LOGS, {"train": 40})
    assert text.startswith("Along `train`, the torch model on the first 40 evaluation samples:")
    assert "| step | M tokens | cosine | spearman |" in text
    assert "| 25 | 0.050 | 0.9 | 0.5 |" in text


def test_extrapolation_is_marked() -> None:
    law = extrapolate(LOGS, load_recipe("minilm-embed-80-4x1"))
    assert law is not None
    assert abs(law.b - 0.5) < 1e-6
    text = extrapolation_line(law)
    assert text.startswith("**Extrapolation**, not measured: 1 - cosine = ")
    assert f"{1 - 0.05 / 2**0.5:.4f} at 2x" in text
    assert extrapolation_line(None) == ""
    assert extrapolate({"train": TrainingLog(cost=COST)}, load_recipe("smoke")) is None
