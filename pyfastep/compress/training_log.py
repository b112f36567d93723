"""What a training leaves in ``log.json``: its losses, what it cost, and how good the model was along the way."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Cost", "TrainingLog"]

_MINUTE, _HOUR = 60.0, 3600.0


@dataclass(frozen=True)
class Cost:
    """What a training took, evaluations along the way not counted.

    A resumed training adds up; work after the last checkpoint that an interruption lost counts once.

    Attributes:
        steps: Optimizer steps.
        tokens: Seen, padding not counted.
        seconds: Of wall clock.
        cpu_seconds: Of all threads of the process.
        device: ``cpu``, or the GPU's name.
        threads: That torch computes with on the CPU.
        precision: ``fp32`` or ``bf16``.
        planned_steps: What the recipe says; more than ``steps`` where ``minutes`` allowed fewer.
    """

    steps: int
    tokens: int
    seconds: float
    cpu_seconds: float
    device: str
    threads: int
    precision: str
    planned_steps: int = 0

    def __str__(self) -> str:
        """As in "3600 steps, 6.0 M tokens, 57 min on 2 threads (1.9 CPU hours), bf16"."""
        parts = [f"{self.steps} steps"] if self.steps else []
        if self.planned_steps > self.steps:
            parts[-1:] = [f"{self.steps} of {self.planned_steps} steps (time limit)"]
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        where = threads if self.device == "cpu" else self.device
        parts += [_tokens(self.tokens)] if self.tokens else []
        parts.append(f"{_time(self.seconds)} on {where} ({_cpu_time(self.cpu_seconds)})")
        return ", ".join([*parts, self.precision])


@dataclass(frozen=True)
class TrainingLog:
    """One training.

    Attributes:
        losses: ``step`` and ``loss`` at regular steps.
        cost: None where nothing was trained.
        evaluations: Rows of ``step``, ``tokens`` and ``figures`` of the task, the start first.
        evaluation_seconds: Wall clock of those evaluations.
    """

    losses: list[dict[str, float]] = field(default_factory=list)
    cost: Cost | None = None
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    evaluation_seconds: float = 0.0

    def save(self, path: Path) -> None:
        """Writes JSON."""
        path.write_text(json.dumps(asdict(self), indent=1))

    @staticmethod
    def load(path: Path) -> TrainingLog:
        """What :meth:`save` wrote."""
        known = json.loads(path.read_text())
        cost = Cost(**known.pop("cost")) if known["cost"] else None
        return TrainingLog(cost=cost, **{name: value for name, value in known.items() if name != "cost"})


def _tokens(count: int) -> str:
    if count < 1000:
        return f"{count} tokens"
    return f"{count / 1e6:.1f} M tokens" if count >= 1e6 else f"{count / 1e3:.1f} k tokens"


def _time(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    return f"{seconds / _MINUTE:.0f} min" if seconds >= 10 * _MINUTE else f"{seconds / _MINUTE:.1f} min"


def _cpu_time(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{seconds:.1f} CPU seconds"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.1f} CPU minutes"
    return f"{seconds / _HOUR:.1f} CPU hours"
