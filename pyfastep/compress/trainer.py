"""Training: ``transformers.Trainer`` with a loss that asks the teacher; loop and checkpoints are its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from pyfastep.compress.distill import Distiller
from pyfastep.compress.recipe import TrainSettings
from pyfastep.errors import FastEPError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

__all__ = ["CompressionTrainer", "Progress", "computes_bf16", "train"]

Progress = Callable[[float, str], None]
"""Called with the share of the step that is done, 0 to 1, and what is being done."""

_CHECKPOINTS = 10
_LOGS = 50
# AVX512-BF16 is no reason: a step of MiniLM at 64 x 24 tokens takes 1.08 s in bf16 there, 0.60 s in fp32 (torch 2.13).
_CPU_BF16_FLAG = "amx_bf16"


class CompressionTrainer(Trainer):
    """A trainer whose loss is a :class:`Distiller`'s."""

    def __init__(self, *, distiller: Distiller, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.distiller = distiller
        self.model_accepts_loss_kwargs = False  # the loss is a mean, never divided by a count of items

    def compute_loss(
        self, model: Any, inputs: Mapping[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The weighted sum of the task's loss and what the teacher adds."""
        given = {name: value for name, value in inputs.items() if not name.startswith("teacher_")}
        if self.distiller.needs_hidden:
            given["output_hidden_states"] = True
        outputs = model(**given)
        loss = self.distiller.loss(outputs, outputs.get("loss"), inputs)
        return (loss, outputs) if return_outputs else loss


def train(
    model: PreTrainedModel,
    features: Dataset,
    settings: TrainSettings,
    *,
    distiller: Distiller,
    collate: Any,
    folder: Path,
    seed: int,
    callbacks: Sequence[TrainerCallback] = (),
    progress: Progress | None = None,
) -> list[dict[str, float]]:
    """Trains in place; an interrupted run goes on from the last checkpoint in ``folder``.

    Args:
        model: Trained where torch sees a GPU on that, else on the CPU.
        features: Encoded rows.
        settings: Steps, rates, precision.
        distiller: The loss.
        collate: The task's collator.
        folder: Of the checkpoints.
        seed: Of the order of rows and of dropout.
        callbacks: Of pruning.
        progress: Told after each step.

    Returns:
        ``{"step": ..., "loss": ...}`` at regular steps.

    Raises:
        FastEPError: The loss became NaN or infinite.
    """
    distiller.check(model)
    trainer = CompressionTrainer(
        model=model,
        args=_arguments(settings, folder, seed),
        train_dataset=features,
        data_collator=collate,
        callbacks=[*callbacks, _Watch(progress)],
        distiller=distiller,
    )
    trainer.remove_callback(_printer())  # type: ignore[no-untyped-call]
    if distiller.teacher is not None:
        distiller.teacher.to(trainer.args.device)  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    last: str | None = get_last_checkpoint(str(folder))  # type: ignore[no-untyped-call]
    if last is not None and last.endswith(f"-{settings.steps}"):
        history = _take_back(model, Path(last))  # the trainer would train one step more
    else:
        trainer.train(resume_from_checkpoint=last)
        history = trainer.state.log_history
    return [{"step": float(row["step"]), "loss": float(row["loss"])} for row in history if "loss" in row]


def _take_back(model: PreTrainedModel, checkpoint: Path) -> list[dict[str, Any]]:
    """Weights and log of a training that was finished before it was interrupted."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(str(checkpoint / "model.safetensors")), strict=False)
    history: list[dict[str, Any]] = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return history


def computes_bf16() -> bool:
    """Whether the GPU, or else this CPU, is faster in bfloat16 than in float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return bool(flags and _CPU_BF16_FLAG in flags[1].split())


def _arguments(settings: TrainSettings, folder: Path, seed: int) -> TrainingArguments:
    steps = settings.steps
    if settings.batch_size % settings.accumulate:
        raise FastEPError(
            f"expected a divisor of batch_size = {settings.batch_size}, found {settings.accumulate}", node="accumulate"
        )
    use_bf16 = settings.precision == "bf16" or (settings.precision == "auto" and computes_bf16())
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size // settings.accumulate,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.learning_rate,
        warmup_steps=round(settings.warmup * steps),
        lr_scheduler_type=settings.schedule,
        weight_decay=settings.weight_decay,
        logging_steps=max(1, steps // _LOGS),
        save_strategy="steps",
        save_steps=settings.save_every or max(1, steps // _CHECKPOINTS),
        save_total_limit=1,
        bf16=use_bf16,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        group_by_length=True,
        remove_unused_columns=False,
        report_to=[],
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        seed=seed,
    )


def _printer() -> type[TrainerCallback]:
    from transformers.trainer_callback import PrinterCallback

    return PrinterCallback


class _Watch(TrainerCallback):
    """Tells how far it is, and stops where the loss is no number."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After each optimizer step."""
        if self._progress:
            self._progress(state.global_step / state.max_steps, f"step {state.global_step} of {state.max_steps}")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """At each logged loss."""
        loss = (logs or {}).get("loss")
        if loss is not None and not loss < float("inf"):
            raise FastEPError(
                f"the loss is {loss} at step {state.global_step}", node="train", remedy="lower learning_rate"
            )
