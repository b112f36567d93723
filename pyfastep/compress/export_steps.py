"""The steps from a torch model to a measured ONNX file: export, quantize, convert, evaluate, bench.

And ``reference``, which the evaluation compares with.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyfastep
from pyfastep._stock import stock_session
from pyfastep.bench import benchmark
from pyfastep.compress import forms
from pyfastep.compress.context import Context
from pyfastep.compress.export import export_onnx
from pyfastep.compress.file_pattern import measure_file
from pyfastep.compress.onnx_files import move_model, stored_weights
from pyfastep.compress.pattern import parse_pattern
from pyfastep.compress.predictions import load_predictions, save_predictions
from pyfastep.compress.qat import load_ranges
from pyfastep.compress.runners import Runner, session_runner, torch_runner
from pyfastep.compress.tasks import Task, create_task
from pyfastep.compress.teacher import load_teacher

__all__ = ["run_bench", "run_convert", "run_evaluate", "run_export", "run_quantize", "run_reference"]

DENSE, PRUNED, INT8, FAST = "dense.onnx", "pruned.onnx", "int8.onnx", "fastep.onnx"
_USUAL_LENGTH = 128
PATTERN = "pattern.json"


def run_reference(context: Context, folder: Path) -> None:
    """What the dense model answers, which every other form is compared with."""
    task = context.task
    context.progress("reference", 0.0, forms.DENSE)
    run = torch_runner(context.model("dense"), task.outputs)
    save_predictions(task.predict(run, context.splits.eval, context.tokenizer), folder)


def run_export(context: Context, folder: Path) -> None:
    """Writes the dense and the pruned model in float."""
    opset = context.recipe.export.opset
    for number, (step, name) in enumerate((("dense", DENSE), ("qat", PRUNED))):
        context.progress("export", number / 2, name)
        written = export_onnx(
            context.model(step), folder / step, task=context.task.export_task, tokenizer=context.tokenizer, opset=opset
        )
        move_model(written, folder / name)


def run_quantize(context: Context, folder: Path) -> None:
    """Quantizes the pruned file, with the trained ranges where there are any, and counts its zeros."""
    source = context.workspace.folder("export") / PRUNED
    quantized = context.recipe.quantize.method != "none"
    trained = load_ranges(context.workspace.folder("qat"))
    pruned = json.loads((context.workspace.folder("train") / "sparsity.json").read_text())
    linears = [layer["name"] for layer in pruned["report"]["layers"]] if pruned["report"] else []
    model = context.model("qat")
    weights = stored_weights(model, dict.fromkeys([*trained, *linears]), source)
    if quantized:
        _quantize(context, source, folder, {weights[name].tensor: trained[name] for name in trained if name in weights})
    pattern = None
    if linears:
        known = {name: weights[name] for name in linears if name in weights}
        layers = measure_file(folder / INT8 if quantized else source, known, model, parse_pattern(pruned["pattern"]))
        pattern = [layer.to_dict() for layer in layers]
    (folder / PATTERN).write_text(json.dumps(pattern))


def _quantize(context: Context, source: Path, folder: Path, ranges: dict[str, tuple[float, float]]) -> None:
    settings = context.recipe.quantize
    batches = context.calibration_arrays()
    report = pyfastep.quantize(
        source,
        folder / INT8,
        data=batches,
        method=settings.calibration,
        percentile=settings.percentile,
        attention=settings.attention,
        embeddings=settings.embeddings,
        ranges=ranges,
        max_samples=len(batches),
        progress=lambda done, total: context.progress(
            "quantize", done / max(1, total), f"calibrating, batch {done} of {total}"
        ),
    )
    (folder / "quantize.json").write_text(
        json.dumps({"weights": len(report.weights), "cosine": report.cosine, "bytes": report.output_bytes})
    )


def run_convert(context: Context, folder: Path) -> None:
    """Fuses and stores sparse; the file is compared with its source on stock ONNX Runtime."""
    if context.recipe.quantize.method == "none":
        return
    context.progress("convert", 0.0, FAST)
    report = pyfastep.convert(context.workspace.folder("quantize") / INT8, folder / FAST, verify=True)
    (folder / "convert.json").write_text(json.dumps(report.to_dict(), indent=1))


def run_evaluate(context: Context, folder: Path) -> None:
    """Judges the forms of the model with one evaluator."""
    task, data = context.task, context.splits.eval
    reference = load_predictions(context.workspace.folder("reference"))
    figures = {forms.DENSE: task.judge(reference, data, reference)}
    judged = _forms(context)
    for done, (name, make) in enumerate(judged.items()):
        context.progress("evaluate", done / len(judged), name)
        figures[name] = task.judge(make(), data, reference)
    (folder / "figures.json").write_text(json.dumps(figures, indent=1))


def _forms(context: Context) -> dict[str, Callable[[], Any]]:
    """What gives the answers of each form after the dense one, in the order in which they are made.

    All forms, or those that the recipe asks for.
    """
    folder, task, recipe = context.workspace.folder, context.task, context.recipe
    fast, pruned = folder("convert") / FAST, folder("export") / PRUNED

    def answers(run: Runner, task: Task = task) -> Any:
        return task.predict(run, context.splits.eval, context.tokenizer)

    def teacher_answers() -> Any:
        teacher = load_teacher(context)
        own_task = create_task(recipe.task, recipe.model.max_length, teacher.pooling)
        return answers(torch_runner(teacher.model, task.outputs), own_task)

    made: dict[str, Callable[[], Any]] = {}
    if recipe.distill.teacher and recipe.distill.needs_teacher and recipe.trains_student:
        made[forms.TEACHER] = teacher_answers
    made[forms.PRUNED] = lambda: answers(torch_runner(context.model("train"), task.outputs))
    made[forms.PRUNED_STOCK] = lambda: answers(session_runner(stock_session(pruned)))
    if recipe.quantize.method != "none":
        made[forms.INT8_STOCK] = lambda: answers(session_runner(stock_session(folder("quantize") / INT8)))
        made[forms.FAST_STOCK] = lambda: answers(session_runner(stock_session(fast)))
        made[forms.FAST] = lambda: answers(session_runner(pyfastep.InferenceSession(fast, strict=True)))
    if recipe.evaluate.forms == "all":
        return made
    return {name: made[name] for name in (forms.PRUNED, list(made)[-1])}


def run_bench(context: Context, folder: Path) -> None:
    """Times every ONNX form, engines taking turns."""
    settings = context.recipe.bench
    if not settings.batches:
        (folder / "bench.json").write_text("{}")
        return
    exported, final = context.workspace.folder("export"), context.workspace.folder("export") / PRUNED
    names = forms.ENGINES
    rows = [f"ort:{names[forms.DENSE]}={exported / DENSE}", f"ort:{names[forms.PRUNED_STOCK]}={final}"]
    if context.recipe.quantize.method != "none":
        final = context.workspace.folder("convert") / FAST
        quantized = context.workspace.folder("quantize") / INT8
        rows += [f"ort:{names[forms.INT8_STOCK]}={quantized}", f"fastep:{names[forms.FAST]}={final}"]
    report = benchmark(
        final,
        engines=(),
        models=rows,
        batches=settings.batches,
        lengths=settings.lengths or (min(_USUAL_LENGTH, context.recipe.model.max_length),),
        threads=(settings.threads,),
        repeats=settings.repeats,
        seconds=settings.seconds,
        baseline=names[forms.DENSE],
        seed=context.recipe.seed,
        least_cosine=-1.0,  # a pruned model does not compute what the dense one does
        progress=lambda done, total, what: context.progress("bench", done / max(1, total), what),
    )
    (folder / "bench.json").write_text(report.to_json())
