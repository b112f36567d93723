"""Plots of a run, as PNG files: losses, quality against tokens, density per layer, quality against speed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyfastep.compress.forms import ENGINES
from pyfastep.compress.learning_curve import MULTIPLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pyfastep.compress.report import CompressReport

__all__ = ["draw_plots"]


def draw_plots(report: CompressReport, folder: Path) -> None:
    """Draws what there is to draw into ``folder``: ``loss.png``, ``quality.png``, ``density.png``, ``accuracy.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(log.losses for log in report.trainings.values()):
        _draw(folder / "loss.png", lambda axes: _losses(axes, report))
    if any(log.evaluations for log in report.trainings.values()):
        _draw(folder / "quality.png", lambda *axes: _quality(axes, report), columns=2)
    if report.sparsity:
        _draw(folder / "density.png", lambda axes: _density(axes, report))
    if report.bench.get("measurements"):
        _draw(folder / "accuracy.png", lambda axes: _accuracy(axes, report))


def _draw(path: Path, fill: Any, columns: int = 1) -> None:
    # Figure and canvas without pyplot: no display, and no state shared with the caller's own plots.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0 * columns, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    fill(*(figure.add_subplot(1, columns, column + 1) for column in range(columns)))
    figure.savefig(path, dpi=120)


def _losses(axes: Axes, report: CompressReport) -> None:
    for training, log in report.trainings.items():
        if log.losses:
            axes.plot([row["step"] for row in log.losses], [row["loss"] for row in log.losses], label=training)
    axes.set(xlabel="step", ylabel="loss", title=f"{report.recipe['name']}: loss")
    axes.legend()


def _quality(both: tuple[Axes, ...], report: CompressReport) -> None:
    """Linear and logarithmic; trainings one after the other would hide how fast each is, so each starts at 0."""
    figure, law = report.chief_figure, report.extrapolation
    for axes, logarithmic in zip(both, (False, True), strict=True):
        for training, log in report.trainings.items():
            rows = [row for row in log.evaluations if figure in row["figures"] and (row["tokens"] or not logarithmic)]
            tokens = [row["tokens"] for row in rows]
            if rows:
                axes.plot(tokens, [row["figures"][figure] for row in rows], marker=".", label=training)
        if law and logarithmic:
            multiples = (law.first_tokens / law.tokens, 1, *MULTIPLES)
            values = [law.quality(multiple) for multiple in multiples]
            tokens = [law.tokens * multiple for multiple in multiples]
            axes.plot(tokens, values, linestyle=":", color="gray", label="power law, extrapolated")
        axes.set(xlabel="tokens seen", ylabel=figure, title=f"{report.recipe['name']}: quality while training")
        if logarithmic:
            axes.set_xscale("log")
        axes.legend()


def _density(axes: Axes, report: CompressReport) -> None:
    layers = (report.sparsity or {})["report"]["layers"]
    axes.barh([row["name"] for row in layers], [100 * (1 - row["sparsity"]) for row in layers])
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=5)
    axes.set(xlabel="weights kept, %", title=f"{report.recipe['name']}: density per layer")


def _accuracy(axes: Axes, report: CompressReport) -> None:
    forms = {engine: form for form, engine in ENGINES.items()}
    for row in report.bench["measurements"]:
        form = forms[row["engine"]]
        if form in report.figures and row["median_ms"] is not None:
            quality = report.figures[form][report.chief_figure]
            axes.scatter(row["median_ms"], quality)
            axes.annotate(f"{row['engine']}, {row['batch']} x {row['length']}", (row["median_ms"], quality), fontsize=7)
    axes.set(xlabel="median ms per call", ylabel=report.chief_figure, title=f"{report.recipe['name']}: quality, speed")
