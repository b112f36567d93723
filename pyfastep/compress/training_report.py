"""What the report says of a run's trainings: what they cost, how quality grew, and what it extrapolates to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyfastep._text import markdown_table
from pyfastep.compress.learning_curve import MULTIPLES, PowerLaw, fit_power_law, locked_points
from pyfastep.compress.recipe import Recipe
from pyfastep.compress.training_log import Cost, TrainingLog

__all__ = ["cost_lines", "curve_table", "extrapolate", "extrapolation_line"]

EXTRAPOLATED = "cosine"
"""The figure whose curve is a power law of the tokens; its best value is 1."""


def cost_lines(logs: Mapping[str, TrainingLog], pruning: Mapping[str, Any] | None, method: str) -> str:
    """A line per training, and one for pruning at once."""
    lines = [f"* {step}: {log.cost}" for step, log in logs.items() if log.cost]
    if pruning:
        found = Cost(**pruning)
        at_once = f"* {method} pruning: {found}".replace(" tokens", " calibration tokens", 1)
        lines.insert(next((i for i, line in enumerate(lines) if line.startswith("* train")), len(lines)), at_once)
    return "\n".join(lines)


def curve_table(logs: Mapping[str, TrainingLog], samples: Mapping[str, int]) -> str:
    """Every point of every training."""
    parts = []
    for step, log in logs.items():
        if log.evaluations:
            names = list(log.evaluations[0]["figures"])
            rows = [
                [str(row["step"]), f"{row['tokens'] / 1e6:.3f}", *(f"{row['figures'][name]:.4g}" for name in names)]
                for row in log.evaluations
            ]
            title = f"Along `{step}`, the torch model on the first {samples[step]} evaluation samples:"
            columns = ["step", "M tokens", *(name.replace("_", " ") for name in names)]
            parts.append(title + "\n\n" + markdown_table(columns, rows))
    return "\n\n".join(parts)


def extrapolate(logs: Mapping[str, TrainingLog], recipe: Recipe) -> PowerLaw | None:
    """The law of the pruned model's training; None where there is no such figure or there are too few points."""
    log = logs["train"]
    if log.cost is None or not log.evaluations or EXTRAPOLATED not in log.evaluations[0]["figures"]:
        return None
    return fit_power_law(locked_points(log.evaluations, recipe.prune, log.cost.steps), EXTRAPOLATED)


def extrapolation_line(law: PowerLaw | None) -> str:
    """The law and its values at more tokens."""
    if law is None:
        return ""
    values = ", ".join(f"{law.quality(multiple):.4f} at {multiple}x" for multiple in MULTIPLES)
    return (
        f"**Extrapolation**, not measured: 1 - {EXTRAPOLATED} = {law.a:.4g} * tokens^-{law.b:.4f} (standard error of "
        f"the exponent {law.b_error:.4f}; residual {law.residual:.1%}, {law.points} points with the pattern locked) "
        f"gives {values} the {law.tokens / 1e6:.2f} M tokens seen. The learning rate falls to the end of this run, so "
        "its last points are better than those of a longer run at the same tokens: the exponent is rather too high."
    )
