"""Distillation: losses that bring a student to its teacher, and a teacher whose answers can be kept on disk.

Logits: Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv:1503.02531. Hidden states: Jiao et al.,
"TinyBERT", arXiv:1909.10351, here with each dimension divided by the teacher's standard deviation in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from pyfastep.compress.batch import Batch, taken_by
from pyfastep.compress.pooling import Pooling
from pyfastep.compress.recipe import DistillSettings
from pyfastep.compress.tasks.base import MODEL_INPUTS
from pyfastep.errors import FastEPError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

__all__ = ["Distiller", "add_teacher_columns", "embedding_loss", "hidden_loss", "logit_loss", "sentence_embedding"]

TEACHER = "teacher_"
_CACHE_BATCH = 32
_LEAST_DEVIATION = 0.1
_EPSILON = 1e-6
# As a logit: no probability, and no infinity whose difference with another would be no number.
_NOTHING = -1e9


def logit_loss(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """``T^2 * KL(softmax(teacher / T) || softmax(student / T))``, mean over the batch.

    Args:
        student: ``[B, classes]``, or one logit per token ``[B, S]``.
        teacher: Of the same shape.
        temperature: T, above 0.
        mask: Where there is a logit per token, ``[B, S]``, 1 for real ones: only those share the probability.
    """
    soft_student, soft_teacher = student.float() / temperature, teacher.float() / temperature
    if mask is not None:
        padding = ~mask.bool()
        soft_student = soft_student.masked_fill(padding, _NOTHING)
        soft_teacher = soft_teacher.masked_fill(padding, _NOTHING)
    log_student, log_teacher = (functional.log_softmax(logits, dim=-1) for logits in (soft_student, soft_teacher))
    divergence = functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2


def hidden_loss(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, normalize: bool) -> torch.Tensor:
    """Mean over real tokens and dimensions of ``((student - teacher) / s)^2``.

    ``s`` is the teacher's standard deviation of each dimension over the batch's real tokens, but at least a tenth of
    the dimensions' mean: a dimension that never changes, as one of MiniLM's, would be all that counts. Without
    ``normalize`` ``s`` is 1.

    Args:
        student: ``[B, S, hidden]``.
        teacher: ``[B, S, hidden]``.
        mask: ``[B, S]``, 1 for real tokens.
        normalize: Divide by ``s``.
    """
    real = mask.bool()
    wanted, found = teacher[real].float(), student[real].float()
    difference = found - wanted
    if normalize and len(wanted) > 1:
        deviation = wanted.std(dim=0)
        difference = difference / deviation.clamp(min=_LEAST_DEVIATION * float(deviation.mean()) + _EPSILON)
    return difference.square().mean()


def sentence_embedding(hidden: torch.Tensor, mask: torch.Tensor, pooling: Pooling = "mean") -> torch.Tensor:
    """Mean of the real tokens, or the first one, scaled to length 1: ``[B, S, hidden]``, ``[B, S]`` to ``[B, hidden]``.

    Padding is on the right.
    """
    if pooling == "cls":
        return functional.normalize(hidden[:, 0].float(), dim=-1)
    weights = mask.unsqueeze(-1).float()
    mean = (hidden.float() * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
    return functional.normalize(mean, dim=-1)


def embedding_loss(student: torch.Tensor, teacher: torch.Tensor, cosine: float, mse: float) -> torch.Tensor:
    """``cosine * (1 - cos) + mse * hidden * mean((student - teacher)^2)`` of unit-length rows ``[B, hidden]``."""
    one_minus = 1.0 - (student * teacher).sum(dim=-1).mean()
    return cosine * one_minus + mse * student.shape[-1] * functional.mse_loss(student, teacher)


class Distiller:
    """The sum of losses of a recipe.

    Args:
        settings: Weights of the parts.
        teacher: The dense model; None where its answers are in the batch (:func:`add_teacher_columns`) or not needed.
        logits: Names of the outputs compared as logits.
        pooling: How the student's embeddings are made.
        teacher_pooling: How the teacher's are.
    """

    def __init__(
        self,
        settings: DistillSettings,
        teacher: PreTrainedModel | None,
        logits: tuple[str, ...],
        pooling: Pooling = "mean",
        teacher_pooling: Pooling = "mean",
    ) -> None:
        self.settings, self.teacher = settings, teacher
        self.pooling, self.teacher_pooling = pooling, teacher_pooling
        self.logits = tuple(name for name in logits if name.endswith("logits"))
        if teacher is not None:
            teacher.train(False)
            teacher.requires_grad_(False)
        self.needs_hidden = bool(settings.hidden)
        self.embeds = bool(settings.embedding or settings.embedding_mse)

    def check(self, student: PreTrainedModel) -> None:
        """Refuses a pair of models that cannot be compared, before anything is trained.

        Raises:
            FastEPError: Hidden states or embeddings are to be compared and the two models' sizes differ.
        """
        if self.teacher is None or not (self.needs_hidden or self.embeds):
            return
        own, its = (model.config.hidden_size for model in (student, self.teacher))
        if own != its:
            key, what = ("hidden", "hidden states") if self.needs_hidden else ("embedding", "embeddings")
            raise FastEPError(
                f"{what} of {its} features cannot be compared with the student's {own}",
                node=f"distill.{key}",
                remedy="take a teacher of the student's size, or set hidden, embedding and embedding_mse to 0",
            )

    def loss(self, outputs: Any, task_loss: torch.Tensor | None, inputs: Batch) -> torch.Tensor:
        """The weighted sum for one batch; ``outputs`` are the student's."""
        settings, mask = self.settings, inputs["attention_mask"]
        total = torch.zeros((), device=mask.device)
        if settings.task and task_loss is not None:
            total = total + settings.task * task_loss
        if not settings.needs_teacher:
            return total
        wanted = self._teacher_outputs(inputs)
        for name in self.logits if settings.logits else ():
            real = mask if _per_token(name) else None
            part = logit_loss(outputs[name], wanted[name], settings.temperature, real)
            total = total + settings.logits * part / len(self.logits)
        if settings.hidden:
            total = total + settings.hidden * self._hidden(outputs["hidden_states"], wanted["hidden_states"], mask)
        if self.embeds:
            own = sentence_embedding(_last_hidden(outputs), mask, self.pooling)
            known = wanted.get("embedding")
            target = self.teacher_embedding(wanted, mask) if known is None else known
            total = total + embedding_loss(own, target, settings.embedding, settings.embedding_mse)
        return total

    def teacher_embedding(self, outputs: Any, mask: torch.Tensor) -> torch.Tensor:
        """Sentence embeddings ``[B, hidden]`` of the teacher's outputs."""
        return sentence_embedding(_last_hidden(outputs), mask, self.teacher_pooling)

    @torch.no_grad()
    def _teacher_outputs(self, inputs: Batch) -> Any:
        if self.teacher is None:
            return {name.removeprefix(TEACHER): value for name, value in inputs.items() if name.startswith(TEACHER)}
        tokens = {name: inputs[name] for name in MODEL_INPUTS if name in inputs}
        return self.teacher(**taken_by(self.teacher, tokens), output_hidden_states=self.needs_hidden)

    def _hidden(self, student: Any, teacher: Any, mask: torch.Tensor) -> torch.Tensor:
        """Mean over layers, embeddings included; a deeper teacher at evenly spaced layers."""
        step = (len(teacher) - 1) / (len(student) - 1)
        pairs = [(own, teacher[round(index * step)]) for index, own in enumerate(student)]
        if self.settings.hidden_layers == "last":
            pairs = pairs[-1:]
        parts = [hidden_loss(own, other, mask, self.settings.normalize_hidden) for own, other in pairs]
        return torch.stack(parts).mean()


def _last_hidden(outputs: Any) -> torch.Tensor:
    last = outputs.get("last_hidden_state")
    found: torch.Tensor = outputs["hidden_states"][-1] if last is None else last
    return found


def add_teacher_columns(
    features: Dataset, teacher: PreTrainedModel, distiller: Distiller, collate: Any, cache: Path
) -> Dataset:
    """Runs the teacher once over all features and keeps its answers beside them, on disk.

    Args:
        features: Encoded rows.
        teacher: The dense model.
        distiller: Says which outputs are needed.
        collate: The task's collator.
        cache: File for the result.

    Returns:
        ``features`` with columns ``teacher_<output>``: logits ``[tokens]`` or ``[classes]``, ``teacher_embedding``.
    """
    teacher.train(False)

    def run(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        names = [name for name in rows if name in MODEL_INPUTS]
        samples = [
            dict(zip(names, values, strict=True)) for values in zip(*(rows[name] for name in names), strict=True)
        ]
        batch = taken_by(teacher, collate(samples))
        with torch.inference_mode():
            outputs = teacher(**batch)
        added = {TEACHER + name: _cut(name, outputs[name], rows["input_ids"]) for name in distiller.logits}
        if distiller.embeds:
            added[TEACHER + "embedding"] = distiller.teacher_embedding(outputs, batch["attention_mask"]).tolist()
        return added

    cache.parent.mkdir(parents=True, exist_ok=True)
    return features.map(
        run,
        batched=True,
        batch_size=_CACHE_BATCH,
        cache_file_name=str(cache),
        load_from_cache_file=False,
        desc="teacher",
    )


def _cut(name: str, logits: torch.Tensor, ids: list[list[int]]) -> list[list[float]]:
    """Rows without their padding, where there is one value per token."""
    rows = [[float(value) for value in row] for row in logits.tolist()]
    return [row[: len(tokens)] if _per_token(name) else row for row, tokens in zip(rows, ids, strict=True)]


def _per_token(name: str) -> bool:
    """Whether logits are one per token, as a span's start and end; a classifier's are per sequence."""
    return name != "logits"
