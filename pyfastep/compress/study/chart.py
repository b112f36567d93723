"""A study as a chart: quality against speed, with error bars."""

from __future__ import annotations

from pathlib import Path

from pyfastep.compress.study.results import StudyReport

__all__ = ["draw_study"]


def draw_study(report: StudyReport, path: Path) -> bool:
    """Draws the cells that have been measured, at the first shape; False, and no file, where there is none."""
    shape = next((shape for cell in report.cells for shape in cell.speedup), None)
    path.unlink(missing_ok=True)
    if shape is None:
        return False
    # Figure and canvas without pyplot: no display, and no state shared with the caller's own plots.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for cell in report.cells:
        speed, quality = cell.speedup.get(shape), cell.final
        if speed is None or quality is None:
            continue
        label = f"{cell.name} ({len(cell.seeds)})"
        x, y, x_margin, y_margin = speed.mean, quality.mean, speed.margin, quality.margin
        axes.errorbar(x, y, xerr=x_margin, yerr=y_margin, capsize=3, marker="o", linestyle="none", label=label)
    if report.dense is not None:
        axes.axhline(report.dense.mean, linestyle=":", color="gray", label="dense FP32")
    partial = "" if report.complete else " (partial)"
    axes.set(
        xlabel=f"times the speed of dense FP32 in ONNX Runtime, {shape}",
        ylabel=report.chief_figure.replace("_", " "),
        title=f"{report.study.name}{partial}: mean and 95 % interval (count of seeds)",
    )
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=120)
    return True
