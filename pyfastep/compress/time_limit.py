"""As many steps as fit into a time: measured before a training begins, so that every schedule is made for them.

The number is kept with the checkpoints: an interrupted training goes on with the one that it began with.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from pyfastep.compress.recipe import TrainSettings

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["WARM_UP_STEPS", "StepTimer", "limit_steps", "probe_rows", "probe_settings"]

_PLAN_FILE = "steps.json"
_PROBE_STEPS = 12
WARM_UP_STEPS = 2
# Of the time; pruning and checkpoints are not in the measured steps.
_RESERVE = 0.05
_MINUTE_S = 60.0


def limit_steps(settings: TrainSettings, folder: Path, seconds_per_step: Callable[[], float]) -> TrainSettings:
    """The settings with at most as many steps as fit into ``settings.minutes``, at least one.

    Args:
        settings: Returned as they are if ``minutes`` is 0.
        folder: Of the training's checkpoints.
        seconds_per_step: Measures; called only where nothing was decided before.
    """
    if not settings.minutes:
        return settings
    plan = folder / _PLAN_FILE
    if not plan.is_file():
        fit = int(settings.minutes * _MINUTE_S * (1.0 - _RESERVE) / seconds_per_step())
        partial = plan.with_suffix(".partial")
        partial.write_text(json.dumps({"steps": max(1, min(fit, settings.steps))}))
        partial.replace(plan)
    return replace(settings, steps=int(json.loads(plan.read_text())["steps"]))


def probe_settings(settings: TrainSettings) -> TrainSettings:
    """Of the short training that is measured and thrown away."""
    steps = WARM_UP_STEPS + _PROBE_STEPS
    return replace(settings, steps=steps, warmup=0.0, save_every=steps + 1, minutes=0.0)


def probe_rows(features: Dataset, settings: TrainSettings, seed: int) -> Dataset:
    """Rows for the probe, drawn at random: the trainer's own order begins with the longest."""
    import numpy as np

    count = min(len(features), (WARM_UP_STEPS + _PROBE_STEPS) * settings.batch_size)
    return features.select(np.random.default_rng(seed).choice(len(features), count, replace=False))


class StepTimer(TrainerCallback):
    """The mean time of a training's steps, the first ones not counted."""

    def __init__(self) -> None:
        self._ends: list[float] = []

    @property
    def seconds_per_step(self) -> float:
        """Mean of the steps after the warm-up."""
        counted = self._ends[WARM_UP_STEPS - 1 :]
        return (counted[-1] - counted[0]) / (len(counted) - 1)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After each optimizer step."""
        self._ends.append(time.perf_counter())
