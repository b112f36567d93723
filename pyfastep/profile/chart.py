"""A profile as a chart: a bar per layer, stacked by family, with a mark where the machine's limit is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pyfastep._extras import how_to_install
from pyfastep.errors import FastEPError
from pyfastep.profile.layers import DOWN, LINEAR, OUTPUT, PROJECTIONS, UP
from pyfastep.profile.result import GroupProfile, ProfileReport

FORMATS = (".svg", ".png", ".pdf")

# Linears in blues, everything else apart from them and from each other.
_COLOURS = {
    PROJECTIONS: "#08519c",
    OUTPUT: "#3182bd",
    UP: "#6baed6",
    DOWN: "#9ecae1",
    LINEAR: "#c6dbef",
    "attention": "#e6843c",
    "norm": "#5aae61",
    "embed": "#8073ac",
    "transfer": "#b8b8b8",
}
_SPARE_COLOURS = ("#d6604d", "#e7d4a8", "#35978f", "#c994c7")
_OUTSIDE_COLOUR = "#7a7a7a"
_LIMIT_COLOUR = "#111111"
_BAR_INCHES, _FRAME_INCHES, _WIDTH_INCHES = 0.36, 2.1, 9.5
_ROOM_FOR_TEXT = 1.18


def save_chart(report: ProfileReport, path: str | os.PathLike[str]) -> None:
    """Draw a profile into a file; its extension, .svg, .png or .pdf, says the form.

    Each bar is a layer, its parts the families of its steps; a line across it marks the least time that the machine
    needs for the layer's products and weights. The last bars are the time outside of FastEP's steps.

    Raises:
        FastEPError: Another extension, or no matplotlib.
    """
    target = Path(path)
    check_chart(target)
    figure = draw_chart(report)
    figure.savefig(target, dpi=160, metadata={"Date": None} if target.suffix.lower() == ".svg" else None)


def check_chart(path: Path) -> None:
    """Whether a chart can be drawn into a file of this name.

    Raises:
        FastEPError: Another extension, or no matplotlib.
    """
    if path.suffix.lower() not in FORMATS:
        raise FastEPError(
            f"expected a chart file that ends in {', '.join(FORMATS)}, found {path.name!r}",
            remedy="for example profile.svg",
        )
    _figure_class()


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise FastEPError(
            "charts are drawn by matplotlib, which is not installed", remedy=how_to_install("profile")
        ) from error
    return Figure


def draw_chart(report: ProfileReport) -> Any:
    """The chart of `save_chart` as a `matplotlib.figure.Figure`.

    Raises:
        FastEPError: No matplotlib.
    """
    layers = report.layers
    outside = _outside(report)
    height = _FRAME_INCHES + _BAR_INCHES * (len(layers) + len(outside))
    figure = _figure_class()(figsize=(_WIDTH_INCHES, height), layout="constrained")
    axes = figure.add_subplot()
    _draw_layers(axes, report, layers)
    for i, ms in enumerate(outside.values(), len(layers)):
        axes.barh(i, ms, color=_OUTSIDE_COLOUR, height=0.72)
        _write_total(axes, report, i, ms)
    names = [*(layer.name for layer in layers), *outside]
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    longest = max([*(max(layer.ms, layer.limit_ms) for layer in layers), *outside.values(), 1e-6])
    axes.set_xlim(0, longest * _ROOM_FOR_TEXT)
    axes.set_xlabel("milliseconds per run")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    _write_heading(figure, axes, report)
    return figure


def _outside(report: ProfileReport) -> dict[str, float]:
    parts = {
        "between steps": report.between_ms,
        f"ONNX Runtime ({len(report.other_nodes)} nodes)": report.other_ms,
        "session, Python": report.overhead_ms,
    }
    return {name: max(ms, 0.0) for name, ms in parts.items()}


def _draw_layers(axes: Any, report: ProfileReport, layers: tuple[GroupProfile, ...]) -> None:
    families = list(dict.fromkeys([*_COLOURS, *(step.family for step in report.steps)]))
    spare = iter(_SPARE_COLOURS * len(families))
    starts = [0.0] * len(layers)
    for family in families:
        widths = [sum(step.ms for step in layer.steps if step.family == family) for layer in layers]
        if not any(widths):
            continue
        colour = _COLOURS.get(family) or next(spare)
        axes.barh(
            range(len(layers)),
            widths,
            left=starts,
            height=0.72,
            color=colour,
            edgecolor="white",
            linewidth=0.5,
            label=family,
        )
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    limits = [(i, layer.limit_ms) for i, layer in enumerate(layers) if layer.limit_ms > 0]
    if limits:
        rows, ends = zip(*limits, strict=True)
        tops, bottoms = [row - 0.45 for row in rows], [row + 0.45 for row in rows]
        axes.vlines(ends, tops, bottoms, color=_LIMIT_COLOUR, linewidth=1.8, label="limit of this machine")
    for i, layer in enumerate(layers):
        _write_total(axes, report, i, layer.ms)


def _write_total(axes: Any, report: ProfileReport, row: int, ms: float) -> None:
    axes.annotate(
        f"{ms:.2f} ms, {ms / report.run_ms:.0%}",
        (ms, row),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color="#333333",
    )


def _write_heading(figure: Any, axes: Any, report: ProfileReport) -> None:
    path = Path(report.model)
    figure.suptitle(
        f"{path.parent.name}/{path.name}: {report.run_ms:.2f} ms per run", x=0.01, ha="left", fontsize=13, weight="bold"
    )
    peak = report.peak_macs_per_second
    of_peak = f", peak {peak / 1e9:.0f} GMAC/s" if peak else ""
    threads = f"{report.threads} thread{'s' * (report.threads > 1)}"
    text = f"{report.batch} x {report.length} tokens, {threads}, tier {report.tier}"
    axes.set_title(text + of_peak, loc="left", fontsize=9.5, color="#555555")
    if report.steps:
        figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=8.5)
