"""A study's report as Markdown."""

from __future__ import annotations

from pyfastep._text import markdown_table
from pyfastep.compress.study.results import CellResult, StudyReport
from pyfastep.compress.study.statistics import Estimate

__all__ = ["to_markdown"]

_MISSING = "-"
# Figures up to 1 (cosines, overlaps) need more digits than percents.
_FINE = 4


def to_markdown(report: StudyReport, *, chart: bool) -> str:
    """All of it; what is missing is said first."""
    study = report.study
    parts = [f"# {study.name}", study.description, _status(report), _summary(report)]
    if report.outcomes:
        parts += ["## Quality", _quality(report), "## Speed and budget", _budget(report)]
        parts += ["![quality against speed](study.png)"] if chart else []
        if report.orderings:
            parts += ["## Orderings", _orderings(report)]
        parts += ["## All figures", _figures(report), "## Runs", _runs(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _status(report: StudyReport) -> str:
    if report.complete:
        return ""
    total = len(report.outcomes) + len(report.missing)
    lines = [f"**Partial: {len(report.outcomes)} of {total} runs are finished.** Missing: {'; '.join(report.missing)}."]
    lines += [f"* failed: {run}: {reason}" for run, reason in report.failures.items()]
    return "\n\n".join([lines[0], "\n".join(lines[1:])]).strip()


def _summary(report: StudyReport) -> str:
    lines = [f"* recipe: {report.study.recipe}" + "".join(f", {change}" for change in report.study.set)]
    if report.dense is not None:
        machines = dict.fromkeys(row.machine for row in report.outcomes)
        lines.append("* machine: " + "; ".join(machines))
        digits = _digits(report)
        lines.append(f"* dense model: {report.chief_figure} {report.dense.text(digits)} ({_seeds(report.dense.count)})")
        if report.dense_cpu_minutes:
            each = f"{report.dense_cpu_minutes:.1f} CPU minutes per seed"
            lines.append(f"* its training, {each}, is shared by the cells and not in their budget")
    lines.append("* ±: 95 % confidence interval of the mean over seeds, Student's t; with one seed there is none")
    return "\n".join(lines)


def _quality(report: StudyReport) -> str:
    digits, figure = _digits(report), report.chief_figure.replace("_", " ")
    rows = [
        [
            cell.name + _mark(cell),
            str(len(cell.seeds)),
            "-" if cell.sparsity is None else f"{cell.sparsity.mean:.1%}",
            _text(cell.final, digits),
            _text(cell.loss, digits),
            _text(cell.int8_loss, digits),
        ]
        for cell in report.cells
    ]
    columns = ["cell", "seeds", "zeros", figure, "loss against dense FP32", "of it by INT8"]
    return markdown_table(columns, rows)


def _budget(report: StudyReport) -> str:
    shapes = list(dict.fromkeys(shape for cell in report.cells for shape in cell.speed_ms))
    rows = []
    for cell in report.cells:
        row = [cell.name + _mark(cell)]
        for shape in shapes:
            row += [_text(cell.speed_ms.get(shape)), _text(cell.speedup.get(shape))]
        spent = [f"{cell.steps:.0f}", f"{cell.tokens / 1e6:.2f}", f"{cell.minutes:.1f}", f"{cell.cpu_minutes:.1f}"]
        rows.append(row + (spent if cell.seeds else [_MISSING] * len(spent)))
    speeds = [name for shape in shapes for name in (f"ms, {shape}", f"times dense, {shape}")]
    columns = ["cell", *speeds, "steps", "M tokens", "minutes", "CPU minutes"]
    note = (
        "Medians of the final file on FastEP, or in ONNX Runtime where a recipe leaves it in float, against the dense "
        "FP32 model in ONNX Runtime. Budgets are means per run."
    )
    return note + "\n\n" + markdown_table(columns, rows)


def _orderings(report: StudyReport) -> str:
    digits = _digits(report)
    rows = [
        [f"{row.better} >= {row.worse}", str(row.difference.count), row.difference.text(digits), row.verdict]
        for row in report.orderings
    ]
    note = (
        f"Differences in {report.chief_figure.replace('_', ' ')}, paired by seed. An ordering holds, or is reversed, "
        "where the 95 % interval leaves out 0; each interval is for itself, not for all rows at once."
    )
    return note + "\n\n" + markdown_table(["ordering", "seeds", "difference", "verdict"], rows)


def _figures(report: StudyReport) -> str:
    names = list(dict.fromkeys(name for cell in report.cells for name in cell.figures))
    digits = _digits(report)
    rows = [
        [cell.name + _mark(cell), *(_text(cell.figures.get(name), digits) for name in names)] for cell in report.cells
    ]
    return "Of the final file.\n\n" + markdown_table(["cell", *(name.replace("_", " ") for name in names)], rows)


def _runs(report: StudyReport) -> str:
    digits = _digits(report)
    rows = [
        [
            row.cell,
            str(row.seed),
            f"{row.dense:.{digits}f}",
            f"{row.pruned:.{digits}f}",
            f"{row.final:.{digits}f}",
            f"{row.tokens / 1e6:.2f}",
            f"{row.cpu_seconds / 60:.1f}",
        ]
        for row in report.outcomes
    ]
    return markdown_table(["cell", "seed", "dense", "pruned FP32", "final", "M tokens", "CPU minutes"], rows)


def _digits(report: StudyReport) -> int:
    return _FINE if all(abs(row.dense) <= 1 for row in report.outcomes) else 2


def _text(found: Estimate | None, digits: int = 2) -> str:
    return _MISSING if found is None else found.text(digits)


def _mark(cell: CellResult) -> str:
    """Says which seeds are missing."""
    return f" (missing: seed {', '.join(map(str, cell.missing))})" if cell.missing else ""


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count > 1 else ''}"
