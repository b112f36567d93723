"""Watches a training: what it costs, how good the model is at evenly spaced points; goes on with its checkpoints."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from pyfastep.compress.checkpoints import LAST_FILE

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Meter", "Stopwatch", "evaluation_steps"]

Judge = Callable[["PreTrainedModel"], dict[str, float]]


class Stopwatch:
    """Seconds of wall clock and of all the process's threads since it was made, with what ran before."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def add(self, seconds: float, cpu_seconds: float) -> None:
        """Takes up what was measured before; negative where it is not to count."""
        self._wall, self._cpu = self._wall - seconds, self._cpu - cpu_seconds

    def read(self) -> tuple[float, float]:
        """Wall clock and CPU seconds."""
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def evaluation_steps(steps: int, evaluations: int) -> set[int]:
    """``evaluations + 1`` evenly spaced steps, 0 and ``steps`` among them; none where ``evaluations`` is 0."""
    return {round(number * steps / evaluations) for number in range(evaluations + 1)} if evaluations else set()


class Meter(TrainerCallback):
    """Measures a training; made when the work begins that is to count.

    Args:
        evaluations: How often ``judge`` is asked, the start not counted.
        judge: Figures of a model; its time is not the training's.
        chief_figure: The one of them that progress names.

    Attributes:
        points: Rows of ``step``, ``tokens``, ``figures``.
        evaluation_seconds: What they took.
    """

    def __init__(self, evaluations: int = 0, judge: Judge | None = None, chief_figure: str = "") -> None:
        self._evaluations, self._judge, self._chief = evaluations if judge else 0, judge, chief_figure
        self._watch = Stopwatch()
        self.points: list[dict[str, Any]] = []
        self.evaluation_seconds = 0.0

    def read(self) -> tuple[float, float]:
        """Wall clock and CPU seconds of the training so far."""
        return self._watch.read()

    def newest(self) -> str:
        """The chief figure as judged last, in words; empty where there is none."""
        last = self.points[-1] if self.points else {"figures": {}}
        value = last["figures"].get(self._chief)
        return "" if value is None else f"{self._chief.replace('_', ' ')} {value:.4g} at step {last['step']}"

    def restore(self, checkpoint: Path) -> None:
        """Goes on with what was measured up to a checkpoint."""
        path = checkpoint / LAST_FILE
        if path.is_file():
            known = json.loads(path.read_text())
            self._watch.add(known["seconds"], known["cpu_seconds"])
            self.points, self.evaluation_seconds = known["points"], known["evaluation_seconds"]

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Takes back what a checkpoint knows, or judges the start."""
        if state.global_step:
            self.restore(Path(args.output_dir) / f"checkpoint-{state.global_step}")
        self._evaluate(state, kwargs["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The masks have been applied, a checkpoint of this step is still to be written."""
        self._evaluate(state, kwargs["model"])

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Puts what is known beside the checkpoint, which is complete then."""
        seconds, cpu_seconds = self.read()
        known = {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "evaluation_seconds": self.evaluation_seconds,
            "points": self.points,
        }
        path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / LAST_FILE
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(known))
        partial.replace(path)

    def _evaluate(self, state: Any, model: PreTrainedModel) -> None:
        step = state.global_step
        due = step in evaluation_steps(state.max_steps, self._evaluations)
        if self._judge is None or not due or any(row["step"] == step for row in self.points):
            return
        seconds, cpu_seconds = self.read()
        training = model.training
        figures = self._judge(model)
        model.train(training)
        after, cpu_after = self.read()
        self._watch.add(seconds - after, cpu_seconds - cpu_after)
        self.evaluation_seconds += after - seconds
        self.points.append({"step": step, "tokens": int(state.num_input_tokens_seen), "figures": figures})
