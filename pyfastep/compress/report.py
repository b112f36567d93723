"""What a run shows in the end: ``report.md``, ``report.json``, plots, and the folder with the model."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyfastep._model_paths import files_of
from pyfastep._text import markdown_table
from pyfastep.bench.machine import describe_machine
from pyfastep.compress.context import Context
from pyfastep.compress.export_steps import FAST, PATTERN, PRUNED
from pyfastep.compress.learning_curve import PowerLaw
from pyfastep.compress.onnx_files import move_model, write_metadata
from pyfastep.compress.plots import draw_plots
from pyfastep.compress.pooling import copy_modules
from pyfastep.compress.recipe_file import recipe_tables
from pyfastep.compress.training_log import TrainingLog
from pyfastep.compress.training_report import cost_lines, curve_table, extrapolate, extrapolation_line

__all__ = ["CompressReport", "write_report"]

_PACKAGES = ("pyfastep", "torch", "transformers", "datasets", "optimum-onnx", "onnx", "onnxruntime")
_TRAININGS = ("dense", "train", "qat")


@dataclass(frozen=True)
class CompressReport:
    """A finished run.

    Attributes:
        output: Its folder.
        recipe: As nested tables.
        versions: Of the packages that wrote it; steps that were skipped may have had others.
        machine: The machine that the speed was measured on, in words.
        data: Counts of samples, labels and notes such as the level of chance.
        seconds: Per step, as it took when it was done.
        skipped: Steps that an earlier run had done.
        sparsity: Pattern, the sparsity measured per layer and what the exported file has of it; None where nothing was
            pruned.
        trainings: Losses, cost and figures along the way, of each.
        extrapolation: What those figures extrapolate to at more tokens; None where that says nothing.
        chief_figure: The figure that stands for quality.
        figures: Per form of the model.
        bench: What ``fastep bench --json`` prints; empty where nothing was measured.
    """

    output: Path
    recipe: dict[str, Any]
    versions: dict[str, str]
    machine: str
    data: dict[str, Any]
    seconds: dict[str, float]
    skipped: tuple[str, ...]
    sparsity: dict[str, Any] | None
    trainings: dict[str, TrainingLog]
    extrapolation: PowerLaw | None
    chief_figure: str
    figures: dict[str, dict[str, float]]
    bench: dict[str, Any]

    @property
    def model(self) -> Path:
        """The folder that optimum and transformers open."""
        return self.output / "model"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        law = self.extrapolation.to_dict() if self.extrapolation else None
        return {**asdict(self), "output": str(self.output), "skipped": list(self.skipped), "extrapolation": law}

    def to_markdown(self) -> str:
        """The report as text."""
        recipe = self.recipe
        parts = [f"# {recipe['name']}", recipe["description"], self._summary(), "## Quality", self._quality()]
        if self.bench.get("measurements"):
            parts += ["## Speed", self._speed(), "![accuracy against speed](plots/accuracy.png)"]
        if self.sparsity:
            parts += ["## Sparsity", self._layers(), "![density per layer](plots/density.png)"]
        pruning = (self.sparsity or {}).get("cost")
        costs = cost_lines(self.trainings, pruning, recipe["prune"]["method"])
        if costs:
            parts += ["## Training", costs]
        if any(log.losses for log in self.trainings.values()):
            parts += ["![loss](plots/loss.png)"]
        if any(log.evaluations for log in self.trainings.values()):
            parts += ["![quality](plots/quality.png)", self._curve(), extrapolation_line(self.extrapolation)]
        parts += ["## Recipe", f"```json\n{json.dumps(recipe, indent=1)}\n```"]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _summary(self) -> str:
        lines = [f"* machine: {self.machine}"]
        lines.append("* versions: " + ", ".join(f"{name} {version}" for name, version in self.versions.items()))
        primer = self.recipe["data"]["primer_samples"]
        easier = f" and {primer} easier ones for the dense model" if primer else ""
        counts = f"{self.data['train']} training samples{easier}, {self.data['eval']} for evaluation"
        notes = "".join(f", {name.replace('_', ' ')} {value:.1f}" for name, value in self.data["notes"].items())
        lines.append(f"* data: {counts}{notes}; seed {self.recipe['seed']}")
        lines.append("* time: " + ", ".join(f"{step} {seconds:.0f} s" for step, seconds in self.seconds.items()))
        return "\n".join(lines)

    def _quality(self) -> str:
        columns = list(dict.fromkeys(name for row in self.figures.values() for name in row))
        rows = [[form, *(f"{row[name]:.4g}" for name in columns)] for form, row in self.figures.items()]
        return markdown_table(["form", *(name.replace("_", " ") for name in columns)], rows)

    def _speed(self) -> str:
        rows = []
        for row in self.bench["measurements"]:
            median = "-" if row["median_ms"] is None else f"{row['median_ms']:.2f}"
            speedup = "-" if row.get("speedup") is None else f"{row['speedup']:.2f}x"
            rows.append([row["engine"], str(row["threads"]), f"{row['batch']} x {row['length']}", median, speedup])
        return markdown_table(["engine", "threads", "batch x length", "median ms", "against dense fp32"], rows)

    def _curve(self) -> str:
        settings = {
            "dense": self.recipe["dense"],
            "train": self.recipe["train"],
            "qat": self.recipe["quantize"]["train"],
        }
        samples = {step: min(table["evaluation_samples"], self.data["eval"]) for step, table in settings.items()}
        return curve_table(self.trainings, samples)

    def _layers(self) -> str:
        known = self.sparsity or {}
        report, files = known["report"], {row["name"]: row for row in known["file"]}
        title = f"Pattern {known['pattern']}, target {report['target']:.1%}, measured {report['sparsity']:.2%}. "
        title += _file_pattern(list(files.values())) if files else "None of these layers is in the exported file."
        rows = []
        for row in report["layers"]:
            stored = files.get(row["name"])
            share = f"{stored['pruned']:.2%}" if stored else "not in the file"
            rows.append([row["name"], "x".join(map(str, row["shape"])), f"{row['sparsity']:.2%}", share])
        return title + "\n\n" + markdown_table(["layer", "outputs x inputs", "zeros", "zero blocks in the file"], rows)


def _file_pattern(layers: list[dict[str, Any]]) -> str:
    """What the pattern of pruning became in the exported file."""
    blocks, broken, rounded = (sum(row[key] for row in layers) for key in ("blocks", "broken_blocks", "rounded_blocks"))
    pruned = sum(row["zero_blocks"] for row in layers) - rounded
    return (
        f"In the exported file {pruned / blocks:.2%} of the {blocks} blocks are zero by the pattern, "
        f"{rounded} more by rounding, {broken} break it."
    )


def write_report(context: Context) -> CompressReport:
    """Gathers what the steps left, fills the model's folder and writes report and plots."""
    report = _gather(context)
    _publish(context, report)
    output = context.workspace.output
    draw_plots(report, output / "plots")
    (output / "report.json").write_text(json.dumps(report.to_dict(), indent=1), encoding="utf-8")
    (output / "report.md").write_text(report.to_markdown(), encoding="utf-8")
    return report


def _gather(context: Context) -> CompressReport:
    workspace, splits = context.workspace, context.splits

    def read(step: str, name: str) -> Any:
        return json.loads((workspace.folder(step) / name).read_text())

    sparsity = {**read("train", "sparsity.json"), "cost": read("prune", "cost.json"), "file": read("quantize", PATTERN)}
    bench = read("bench", "bench.json")
    trainings = {step: TrainingLog.load(workspace.folder(step) / "log.json") for step in _TRAININGS}
    return CompressReport(
        output=workspace.output,
        recipe=recipe_tables(context.recipe),
        versions=_versions(),
        machine=bench.get("machine") or describe_machine(),
        data={
            "train": len(splits.train),
            "eval": len(splits.eval),
            "labels": list(splits.labels),
            "notes": splits.notes,
        },
        seconds={name: record.seconds for name, record in workspace.records.items()},
        skipped=tuple(name for name, record in workspace.records.items() if record.skipped),
        sparsity=sparsity if sparsity["report"] else None,
        trainings=trainings,
        extrapolation=extrapolate(trainings, context.recipe),
        chief_figure=context.task.chief_figure,
        figures=read("evaluate", "figures.json"),
        bench=bench,
    )


def _publish(context: Context, report: CompressReport) -> None:
    """``model/``: the final file with its metadata, and all that opens it, complete or as it was."""
    workspace = context.workspace
    quantized = context.recipe.quantize.method != "none"
    final = workspace.folder("convert") / FAST if quantized else workspace.folder("export") / PRUNED
    scratch = workspace.output / "model.partial"
    shutil.rmtree(scratch, ignore_errors=True)
    exported = workspace.folder("export") / "qat"
    shutil.copytree(exported, scratch)
    for file in files_of(final):
        shutil.copy(file, scratch)
    move_model(scratch / final.name, scratch / "model.onnx")
    if not context.task.has_head:
        copy_modules(context.recipe.model.path, scratch)
    measured = report.sparsity["report"] if report.sparsity else None
    values = {"recipe": report.recipe, "versions": report.versions, "seed": context.recipe.seed, "sparsity": measured}
    write_metadata(scratch / "model.onnx", values)
    shutil.rmtree(report.model, ignore_errors=True)
    scratch.rename(report.model)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # another build of it, or run from the sources
            continue
    return found
