"""The steps that make a torch model: data, dense, prune, train, qat."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from datasets import concatenate_datasets

from pyfastep.compress.context import Context
from pyfastep.compress.data import load_splits
from pyfastep.compress.distill import Distiller, add_teacher_columns
from pyfastep.compress.equalize import equalize_attention
from pyfastep.compress.freeze import check_freeze
from pyfastep.compress.gradual import BlockPruner, PruningCallback
from pyfastep.compress.meter import Meter, Stopwatch
from pyfastep.compress.models import (
    TINY,
    check_length,
    keep_layers,
    load_model,
    load_tokenizer,
    tiny_model,
    tiny_tokenizer,
)
from pyfastep.compress.prune import prune_blocks
from pyfastep.compress.qat import insert_fake_quantization, remove_fake_quantization, save_ranges
from pyfastep.compress.recipe import DistillSettings, PruneSettings, Recipe, TrainSettings
from pyfastep.compress.runners import torch_runner
from pyfastep.compress.second_order import prune_second_order
from pyfastep.compress.selection import select_linears, shares_per_layer
from pyfastep.compress.teacher import load_teacher
from pyfastep.compress.trainer import train
from pyfastep.compress.training_log import Cost, TrainingLog
from pyfastep.compress.workspace import SCRATCH

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerCallback

__all__ = ["run_data", "run_dense", "run_prune", "run_qat", "run_train"]

_AT_ONCE = ("one-shot", "second-order")


def run_data(context: Context, folder: Path) -> None:
    """Reads or makes the data, checks them, and settles the tokenizer."""
    recipe = context.recipe
    context.progress("data", 0.0, recipe.data.source)
    splits = load_splits(recipe, folder / SCRATCH)
    splits.save(folder)
    if recipe.model.path == TINY:
        tokenizer = tiny_tokenizer(context.task.texts(splits.train))
    else:
        tokenizer = load_tokenizer(recipe.model.path)
    context.task.check(splits, tokenizer)
    tokenizer.save_pretrained(str(folder / "tokenizer"))


def run_dense(context: Context, folder: Path) -> None:
    """Loads the dense model and trains it on the task, if the recipe says so."""
    from transformers import set_seed

    recipe, task, labels = context.recipe, context.task, context.splits.labels
    set_seed(recipe.seed)
    if recipe.model.path == TINY:
        model = tiny_model(task, len(context.tokenizer), recipe.model.max_length, labels)
    else:
        model = load_model(recipe.model.path, task, labels, trained=task.has_head and _needs_trained_head(recipe))
    if recipe.model.layers:
        keep_layers(model, recipe.model.layers)
    _check_model(model, recipe)
    if recipe.distill.teacher and recipe.trains_student:
        _distiller(context, model, recipe.distill)  # whose checks need not wait for the dense model
    log = TrainingLog()
    if recipe.dense.steps:
        log = _train(context, model, "dense", folder, recipe.dense)
    context.save(model, folder)
    log.save(folder / "log.json")


def run_prune(context: Context, folder: Path) -> None:
    """Prunes the dense model at once, if the recipe says so; gradual pruning is part of the training."""
    cost = None
    if context.recipe.prune.method in _AT_ONCE:
        model = context.model("dense").to(context.device)  # type: ignore[arg-type]
        cost = asdict(_prune_at_once(context, model))
        context.save(model, folder)
    (folder / "cost.json").write_text(json.dumps(cost))


def run_train(context: Context, folder: Path) -> None:
    """Trains what stays, with what the teacher says; prunes on the way where that is gradual."""
    from transformers import set_seed

    recipe, settings = context.recipe, context.recipe.prune
    set_seed(recipe.seed)
    before = "prune" if settings.method in _AT_ONCE else "dense"
    model = context.model(before).to(context.device)  # type: ignore[arg-type]
    pruner = BlockPruner(model, settings) if settings.method != "none" else None
    if pruner and settings.method != "gradual":
        pruner.lock()
    log = TrainingLog()
    if recipe.train.steps:
        check_freeze(model, recipe)
        callbacks = [PruningCallback(pruner)] if pruner else []
        log = _train(context, model, "train", folder, recipe.train, callbacks)
    context.save(model, folder)
    log.save(folder / "log.json")
    report = pruner.report().to_dict() if pruner else None
    known = {"pattern": settings.pattern, "report": report}
    (folder / "sparsity.json").write_text(json.dumps(known, indent=1))


def run_qat(context: Context, folder: Path) -> None:
    """Equalizes, and trains with fake quantization, if the recipe says so; zeros stay zeros."""
    from transformers import set_seed

    recipe, settings = context.recipe, context.recipe.quantize
    set_seed(recipe.seed)
    model = context.model("train").to(context.device)  # type: ignore[arg-type]
    batches = context.calibration_batches()
    if settings.equalize:
        equalize_attention(model, batches)
    log = TrainingLog()
    ranges: dict[str, tuple[float, float]] = {}
    if settings.method == "qat":
        pruner = BlockPruner(model, recipe.prune)
        insert_fake_quantization(model, list(pruner.layers), batches, settings.ranges, settings.momentum)
        pruner = BlockPruner(model, recipe.prune)  # the same weights, in the modules that are there now
        pruner.lock()
        log = _train(context, model, "qat", folder, settings.train, [PruningCallback(pruner)])
        ranges = remove_fake_quantization(model)
    context.save(model, folder)
    save_ranges(ranges, folder)
    log.save(folder / "log.json")


def _needs_trained_head(recipe: Recipe) -> bool:
    """Whether the checkpoint's head is the teacher's, or what is exported, without being trained before."""
    teaches = recipe.distill.needs_teacher and not recipe.distill.teacher
    return not recipe.dense.steps and (not recipe.train.steps or teaches)


def _check_model(model: PreTrainedModel, recipe: Recipe) -> None:
    """What later steps would only find out after a training.

    Raises:
        FastEPError: A pattern of names matches nothing, or the sequences are longer than the model can read.
    """
    settings = recipe.prune
    check_length(model, recipe.model.max_length, "model.max_length")
    check_freeze(model, recipe)
    if settings.method != "none":
        layers = select_linears(model, settings.include or None, settings.exclude)
        shares_per_layer(list(layers), settings.sparsity, settings.targets)


def _prune_at_once(context: Context, model: PreTrainedModel) -> Cost:
    settings, watch, tokens = context.recipe.prune, Stopwatch(), 0
    if settings.method == "one-shot":
        _prune_by_magnitude(model, settings)
    else:
        batches = context.calibration_batches()
        tokens = int(sum(batch["attention_mask"].sum() for batch in batches))
        prune_second_order(model, settings, batches, context.tell("prune"))
    seconds, cpu_seconds = watch.read()
    device = torch.cuda.get_device_name() if context.device.type == "cuda" else "cpu"
    return Cost(0, tokens, seconds, cpu_seconds, device, torch.get_num_threads(), "fp32")


def _prune_by_magnitude(model: PreTrainedModel, settings: PruneSettings) -> None:
    least, most = settings.layer_bounds
    prune_blocks(
        model,
        block=settings.pattern,
        sparsity=settings.sparsity,
        scope=settings.scope,
        bounds=(least, most),
        targets=settings.targets,
        include=settings.include or None,
        exclude=settings.exclude,
    )


def _distiller(context: Context, student: PreTrainedModel, settings: DistillSettings) -> Distiller:
    """The loss, with the teacher if that asks one."""
    outputs, pooling = context.task.outputs, context.task.pooling
    if not settings.needs_teacher:
        return Distiller(settings, None, outputs, pooling)
    teacher = load_teacher(context)
    distiller = Distiller(settings, teacher.model, outputs, pooling, teacher.pooling)
    distiller.check(student)
    return distiller


def _train(
    context: Context,
    model: PreTrainedModel,
    step: str,
    folder: Path,
    settings: TrainSettings,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingLog:
    """The dense model learns from labels alone."""
    judge = _judge(context, step, settings) if settings.evaluations else None
    meter = Meter(settings.evaluations, judge, context.task.chief_figure)
    features, primer = context.features(), context.primer_features() if step == "dense" else None
    if primer is not None:
        features = concatenate_datasets([primer, features])
    collate = context.task.collate(context.tokenizer)
    distill = DistillSettings(task=1.0, logits=0.0) if step == "dense" else context.recipe.distill
    distiller = _distiller(context, model, distill)
    if distill.cache and distiller.teacher is not None:
        context.progress(step, 0.0, "the teacher answers")
        teacher = distiller.teacher.to(context.device)  # type: ignore[arg-type]
        features = add_teacher_columns(features, teacher, distiller, collate, folder / SCRATCH / "answers.arrow")
        distiller = Distiller(distill, None, context.task.outputs, context.task.pooling)
    return train(
        model,
        features,
        settings,
        distiller=distiller,
        collate=collate,
        folder=folder / SCRATCH / "checkpoints",
        seed=context.recipe.seed,
        callbacks=callbacks,
        meter=meter,
        progress=context.tell(step),
        name=step,
        first_rows=0 if primer is None else len(primer),
    )


def _judge(context: Context, step: str, settings: TrainSettings) -> Callable[[PreTrainedModel], dict[str, float]]:
    """Figures of a model on the first evaluation samples; against the dense model, except while that is trained."""
    task, tokenizer = context.task, context.tokenizer
    data = context.splits.eval.select(range(min(settings.evaluation_samples, len(context.splits.eval))))
    dense = None
    if step != "dense":
        dense = task.predict(torch_runner(context.model("dense"), task.outputs), data, tokenizer)

    def judge(model: PreTrainedModel) -> dict[str, float]:
        predictions = task.predict(torch_runner(model, task.outputs), data, tokenizer)
        figures = task.judge(predictions, data, predictions if dense is None else dense)
        return {name: value for name, value in figures.items() if dense is not None or name not in task.relative}

    return judge
