"""The steps that make a torch model: data, dense, prune, qat."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyfastep.compress.context import Context
from pyfastep.compress.data import load_splits
from pyfastep.compress.distill import Distiller, add_teacher_columns
from pyfastep.compress.equalize import equalize_attention
from pyfastep.compress.gradual import BlockPruner, PruningCallback
from pyfastep.compress.models import TINY, keep_layers, load_model, load_tokenizer, tiny_model, tiny_tokenizer
from pyfastep.compress.prune import prune_blocks
from pyfastep.compress.qat import insert_fake_quantization, remove_fake_quantization, save_ranges
from pyfastep.compress.recipe import DistillSettings, PruneSettings, TrainSettings
from pyfastep.compress.second_order import prune_second_order
from pyfastep.compress.trainer import train

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerCallback

__all__ = ["run_data", "run_dense", "run_prune", "run_qat"]


def run_data(context: Context, folder: Path) -> None:
    """Reads or makes the data, checks them, and settles the tokenizer."""
    recipe = context.recipe
    context.progress("data", 0.0, recipe.data.source)
    splits = load_splits(recipe, folder / "cache")
    splits.save(folder)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    if recipe.model.path == TINY:
        tokenizer = tiny_tokenizer(context.task.texts(splits.train))
    else:
        tokenizer = load_tokenizer(recipe.model.path)
    tokenizer.save_pretrained(str(folder / "tokenizer"))


def run_dense(context: Context, folder: Path) -> None:
    """Loads the dense model and trains it on the task, if the recipe says so."""
    from transformers import set_seed

    recipe, task, labels = context.recipe, context.task, context.splits.labels
    set_seed(recipe.seed)
    if recipe.model.path == TINY:
        model = tiny_model(task, len(context.tokenizer), recipe.model.max_length, labels)
    else:
        model = load_model(recipe.model.path, task, labels)
    if recipe.model.layers:
        keep_layers(model, recipe.model.layers)
    log: list[dict[str, float]] = []
    if recipe.dense.steps:
        alone = DistillSettings(task=1.0, logits=0.0)
        log = _train(context, model, "dense", folder, recipe.dense, alone, None, [])
    context.save(model, folder)
    _write(folder / "log.json", log)


def run_prune(context: Context, folder: Path) -> None:
    """Prunes the dense model and trains what stays, with what the teacher says."""
    from transformers import set_seed

    recipe, settings = context.recipe, context.recipe.prune
    set_seed(recipe.seed)
    model, pruner = _pruned_start(context, folder)
    callback = PruningCallback(pruner) if pruner else None
    log: list[dict[str, float]] = []
    if recipe.train.steps:
        callbacks: list[TrainerCallback] = [callback] if callback else []
        log = _train(context, model, "prune", folder, recipe.train, recipe.distill, _teacher(context), callbacks)
    context.save(model, folder)
    report = pruner.report().to_dict() if pruner else None
    history = callback.history if callback else []
    _write(folder / "log.json", log)
    _write(folder / "sparsity.json", {"pattern": settings.pattern, "report": report, "history": history})


def run_qat(context: Context, folder: Path) -> None:
    """Equalizes, and trains with fake quantization, if the recipe says so; zeros stay zeros."""
    from transformers import set_seed

    recipe, settings = context.recipe, context.recipe.quantize
    set_seed(recipe.seed)
    model = context.model("prune").to(context.device)  # type: ignore[arg-type]
    batches = context.calibration_batches()
    if settings.equalize:
        equalize_attention(model, batches)
    log: list[dict[str, float]] = []
    ranges: dict[str, tuple[float, float]] = {}
    if settings.method == "qat":
        pruner = BlockPruner(model, recipe.prune)
        insert_fake_quantization(model, list(pruner.layers), batches, settings.ranges, settings.momentum)
        pruner = BlockPruner(model, recipe.prune)  # the same weights, in the modules that are there now
        pruner.lock()
        callbacks = [PruningCallback(pruner)]
        log = _train(context, model, "qat", folder, settings.train, recipe.distill, _teacher(context), callbacks)
        ranges = remove_fake_quantization(model)
    context.save(model, folder)
    save_ranges(ranges, folder)
    _write(folder / "log.json", log)


def _pruned_start(context: Context, folder: Path) -> tuple[PreTrainedModel, BlockPruner | None]:
    """The model that training begins with; what took long to prune is kept for a run that is interrupted later."""
    settings = context.recipe.prune
    start = folder / "start"
    if (start / "done").is_file():
        model = load_model(str(start / "model"), context.task, context.splits.labels).to(context.device)  # type: ignore[arg-type]
    else:
        model = context.model("dense").to(context.device)  # type: ignore[arg-type]
        if settings.method == "one-shot":
            _prune_at_once(model, settings)
        elif settings.method == "second-order":
            prune_second_order(model, settings, context.calibration_batches(), context.tell("prune"))
            context.save(model, start)
            (start / "done").touch()
    if settings.method == "none":
        return model, None
    pruner = BlockPruner(model, settings)
    if settings.method != "gradual":
        pruner.lock()
    return model, pruner


def _prune_at_once(model: PreTrainedModel, settings: PruneSettings) -> None:
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


def _teacher(context: Context) -> PreTrainedModel | None:
    settings = context.recipe.distill
    if not settings.needs_teacher:
        return None
    if settings.teacher:
        return load_model(settings.teacher, context.task, context.splits.labels)
    return context.model("dense")


def _train(
    context: Context,
    model: PreTrainedModel,
    step: str,
    folder: Path,
    settings: TrainSettings,
    distill: DistillSettings,
    teacher: PreTrainedModel | None,
    callbacks: list[Any],
) -> list[dict[str, float]]:
    features = context.features()
    collate = context.task.collate(context.tokenizer)
    distiller = Distiller(distill, teacher, context.task.outputs)
    if distill.cache and teacher is not None:
        context.progress(step, 0.0, "the teacher answers")
        teacher.to(context.device)  # type: ignore[arg-type]
        features = add_teacher_columns(features, teacher, distiller, collate, folder / "teacher" / "answers.arrow")
        distiller = Distiller(distill, None, context.task.outputs)
    return train(
        model,
        features,
        settings,
        distiller=distiller,
        collate=collate,
        folder=folder / "checkpoints",
        seed=context.recipe.seed,
        callbacks=callbacks,
        progress=context.tell(step),
    )


def _write(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=1))
