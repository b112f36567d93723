"""Training: ``transformers.Trainer`` with a loss that asks the teacher; loop and checkpoints are its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_utils import SaveStrategy

from pyfastep.compress.batch import taken_by
from pyfastep.compress.checkpoints import KEPT, newest_complete
from pyfastep.compress.distill import Distiller
from pyfastep.compress.dropout import dropout_rate
from pyfastep.compress.freeze import frozen
from pyfastep.compress.meter import Meter
from pyfastep.compress.precision import computes_bf16, own_forward, own_precision
from pyfastep.compress.qat import QUANTIZERS
from pyfastep.compress.recipe import TrainSettings
from pyfastep.compress.row_order import EpochSampler
from pyfastep.compress.time_limit import StepTimer, limit_steps, probe_rows, probe_settings
from pyfastep.compress.training_log import Cost, TrainingLog
from pyfastep.errors import FastEPError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

__all__ = ["CompressionTrainer", "Progress", "train"]

Progress = Callable[[float, str], None]
"""Called with the share of the step that is done, 0 to 1, and what is being done."""

_CHECKPOINTS = 10
_LOGS = 50


class CompressionTrainer(Trainer):
    """A trainer whose loss is a :class:`Distiller`'s, and whose order of rows an interruption does not change."""

    def __init__(self, *, distiller: Distiller, first_rows: int = 0, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.distiller = distiller
        self.first_rows = first_rows
        self.model_accepts_loss_kwargs = False  # the loss is a mean, never divided by a count of items

    def compute_loss(
        self, model: Any, inputs: Mapping[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The weighted sum of the task's loss and what the teacher adds."""
        given: dict[str, Any] = taken_by(self.model, inputs)  # type: ignore[arg-type]
        if self.distiller.needs_hidden:
            given["output_hidden_states"] = True
        outputs = model(**given)
        loss = self.distiller.loss(outputs, outputs.get("loss"), inputs)
        return (loss, outputs) if return_outputs else loss

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Weights; nothing draws the ranges of quantization to 0."""
        names: list[str] = super().get_decay_parameter_names(model)
        return [name for name in names if not name.startswith(QUANTIZERS)]

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(tokens) for tokens in rows["input_ids"]]
        per_step = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return EpochSampler(lengths, per_step, self.args.seed, self.first_rows)


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
    meter: Meter | None = None,
    progress: Progress | None = None,
    name: str = "train",
    first_rows: int = 0,
) -> TrainingLog:
    """Trains in place; an interrupted run goes on from the last complete checkpoint in ``folder``.

    Args:
        model: Trained where torch sees a GPU on the first one, else on the CPU.
        features: Encoded rows.
        settings: Steps, rates, precision.
        distiller: The loss.
        collate: The task's collator.
        folder: Of the checkpoints.
        seed: Of the order of rows and of dropout.
        callbacks: Of pruning.
        meter: Measures cost and quality, by default cost alone; the last to write into a checkpoint, which says that
            all is there.
        progress: Told after each step.
        name: Of the training, for errors.
        first_rows: The first so many rows are seen before all others.

    Raises:
        FastEPError: The loss became NaN or infinite, or a checkpoint lacks what a callback needs.
    """
    meter = meter or Meter()
    folder.mkdir(parents=True, exist_ok=True)

    def build(
        model: PreTrainedModel, rows: Dataset, settings: TrainSettings, folder: Path, *callbacks: TrainerCallback
    ) -> CompressionTrainer:
        given: dict[str, Any] = {"data_collator": collate, "callbacks": list(callbacks)}
        given |= {"distiller": distiller, "first_rows": first_rows}
        with own_precision():
            arguments = _arguments(settings, folder, seed)
            trainer = CompressionTrainer(model=model, args=arguments, train_dataset=rows, **given)
        if distiller.teacher is not None:
            distiller.teacher.to(arguments.device)  # type: ignore[arg-type]
        trainer.remove_callback(_printer())  # type: ignore[no-untyped-call]
        return trainer

    with _training_conditions(model, settings, distiller, name):
        limited = limit_steps(settings, folder, lambda: _seconds_per_step(build, model, features, settings, seed))
        trainer = build(model, features, limited, folder, *callbacks, meter, _Watch(progress, name, meter))
        _train_on(trainer, newest_complete(folder), limited.steps, meter)
    return _log(trainer, meter, settings)


def _train_on(trainer: CompressionTrainer, last: Path | None, steps: int, meter: Meter) -> None:
    """From the last checkpoint, if there is one."""
    if last is not None and last.name.endswith(f"-{steps}"):
        _take_back(trainer, last, meter)  # the trainer would train one step more
    else:
        trainer.train(resume_from_checkpoint=None if last is None else str(last))


@contextmanager
def _training_conditions(
    model: PreTrainedModel, settings: TrainSettings, distiller: Distiller, name: str
) -> Iterator[None]:
    rate = _dropout(settings, distiller)
    with dropout_rate(model, rate), frozen(model, settings.freeze, name), own_forward(model):
        yield


def _log(trainer: CompressionTrainer, meter: Meter, settings: TrainSettings) -> TrainingLog:
    seconds, cpu_seconds = meter.read()
    on_gpu = trainer.args.device.type == "cuda"
    cost = Cost(
        steps=trainer.args.max_steps,
        tokens=int(trainer.state.num_input_tokens_seen),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        device=torch.cuda.get_device_name() if on_gpu else "cpu",
        threads=torch.get_num_threads(),
        precision="bf16" if trainer.args.bf16 else "fp32",
        planned_steps=settings.steps,
    )
    rows = (row for row in trainer.state.log_history if "loss" in row)
    losses = [{"step": float(row["step"]), "loss": float(row["loss"])} for row in rows]
    return TrainingLog(losses, cost, meter.points, meter.evaluation_seconds)


def _take_back(trainer: CompressionTrainer, checkpoint: Path, meter: Meter) -> None:
    """Weights, log and measurements of a training that was finished before it was interrupted."""
    from safetensors.torch import load_file

    model: Any = trainer.model
    model.load_state_dict(load_file(str(checkpoint / "model.safetensors")), strict=False)
    trainer.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    meter.restore(checkpoint)


def _dropout(settings: TrainSettings, distiller: Distiller) -> float | None:
    """The rate to train with; None for the checkpoint's own."""
    if not isinstance(settings.dropout, str):
        return settings.dropout
    return 0.0 if settings.dropout == "auto" and distiller.settings.needs_teacher else None


def _seconds_per_step(
    build: Callable[..., CompressionTrainer], model: PreTrainedModel, rows: Dataset, settings: TrainSettings, seed: int
) -> float:
    """Trains a copy of the model for a few steps."""
    timer = StepTimer()
    with tempfile.TemporaryDirectory() as folder:
        short, few = probe_settings(settings), probe_rows(rows, settings, seed)
        trainer = build(deepcopy(model), few, short, Path(folder), timer)
        trainer.args.save_strategy = SaveStrategy.NO
        trainer.train()
    return timer.seconds_per_step


def _arguments(settings: TrainSettings, folder: Path, seed: int) -> TrainingArguments:
    steps = settings.steps
    use_bf16 = settings.precision == "bf16" or (settings.precision == "auto" and computes_bf16())
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size // settings.accumulate,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.learning_rate,
        warmup_steps=round(settings.warmup * steps),
        lr_scheduler_type=settings.schedule,
        weight_decay=settings.weight_decay,
        adam_beta2=settings.adam_beta2,
        logging_steps=max(1, steps // _LOGS),
        save_strategy="steps",
        save_steps=settings.save_every or max(1, steps // _CHECKPOINTS),
        save_total_limit=KEPT,
        bf16=use_bf16,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        include_num_input_tokens_seen="non_padding",
        report_to=[],
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        seed=seed,
    )
    # With several GPUs it would take n times the batch, and not in bf16.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _printer() -> type[TrainerCallback]:
    from transformers.trainer_callback import PrinterCallback

    return PrinterCallback


class _Watch(TrainerCallback):
    """Tells how far it is, and stops where the loss is no number."""

    def __init__(self, progress: Progress | None, name: str, meter: Meter) -> None:
        self._progress, self._name, self._meter = progress, name, meter

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After each optimizer step."""
        if self._progress:
            place, figure = f"step {state.global_step} of {state.max_steps}", self._meter.newest()
            self._progress(state.global_step / state.max_steps, f"{place}, {figure}" if figure else place)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """At each logged loss."""
        loss = (logs or {}).get("loss")
        if loss is not None and not loss < float("inf"):
            raise FastEPError(
                f"the loss is {loss} at step {state.global_step}", node=self._name, remedy="lower learning_rate"
            )
