"""`fastep profile`: where the time of a model goes, layer by layer and op by op."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from pyfastep._model_paths import check_model, check_output
from pyfastep.cli.console import result_console
from pyfastep.cli.convert import short_name

if TYPE_CHECKING:
    from pyfastep.profile import GroupProfile, ProfileReport, StepProfile

_MUCH, _TOP_TYPES = 0.02, 8  # other nodes are told apart from this part of a run on, so many types of them
LEAST_WIDTH = 132  # a narrower terminal wraps lines rather than losing figures

_Model = Annotated[Path, typer.Argument(help="Converted model.")]
_Batch = Annotated[int, typer.Option("--batch", "-b", help="Sequences per run.")]
_Length = Annotated[int, typer.Option("--length", "-l", help="Tokens per sequence.")]
_Threads = Annotated[int, typer.Option("--threads", "-t", help="Threads per run.")]
_Runs = Annotated[int, typer.Option(help="Measured runs, 250 at most.")]
_MaxTier = Annotated[str | None, typer.Option(help="The highest instruction tier to use.")]
_Json = Annotated[Path | None, typer.Option("--json", help="Also write everything into this file.")]
_Chart = Annotated[Path | None, typer.Option("--chart", help="Also draw a chart: a file .svg, .png or .pdf.")]
_Top = Annotated[int, typer.Option(help="Also show so many of the slowest steps.")]
_WhatIf = Annotated[bool, typer.Option("--what-if", help="Also predict each linear dense and pruned to 80 and 90 %.")]


def profile(
    model: _Model,
    batch: _Batch = 1,
    length: _Length = 128,
    threads: _Threads = 1,
    runs: _Runs = 50,
    max_tier: _MaxTier = None,
    json: _Json = None,
    chart: _Chart = None,
    top: _Top = 0,
    what_if: _WhatIf = False,
) -> None:
    """Measure where the time goes: layers, ops, the machine's limit, and why it is not faster."""
    from pyfastep.profile import profile as run
    from pyfastep.profile import save_chart
    from pyfastep.profile.chart import check_chart

    # Before minutes of measuring, not after.
    check_model(model)
    for path in (json, chart):
        if path is not None:
            check_output(path, model)
    if chart is not None:
        check_chart(chart)

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("opening sessions", total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, description="running")

        report = run(model, batch=batch, length=length, threads=threads, runs=runs, max_tier=max_tier, progress=show)
    print_report(report, result_console(LEAST_WIDTH), top=top, what_if=what_if)
    if json is not None:
        json.write_text(report.to_json() + "\n", encoding="utf-8")
    if chart is not None:
        save_chart(report, chart)


def print_report(report: ProfileReport, console: Console, *, top: int = 0, what_if: bool = False) -> None:
    """Prints a profile: layers, families, what else took time, and hints."""
    if report.steps:
        console.print(_layers(report))
    console.print(_families(report))
    if top > 0 and report.steps:
        console.print(_steps(report, top))
    if what_if and report.what_if:
        console.print(_what_if(report))
    for line in _notes(report):
        console.print(Text(line))
    for hint in report.hints:
        console.print(Text("hint: ", "bold yellow"), Text(hint), sep="")


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in left:
        table.add_column(column, no_wrap=True)
    for column in right:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _layers(report: ProfileReport) -> Table:
    figures = ("ms", "of run", "least ms", "GMAC/s", "of peak", "limit ms", "zeros", "kernels")
    table = _table(shlex.join(["fastep", *sys.argv[1:]]), ("layer",), figures)
    for layer in report.layers:
        table.add_row(layer.name, *_figures(report, layer), _zeros(layer), ", ".join(layer.kernels))
    return table


def _zeros(group: GroupProfile) -> str:
    return "" if group.density is None else f"{1 - group.density:.0%}"


def _figures(report: ProfileReport, part: GroupProfile | StepProfile) -> tuple[str, ...]:
    of_peak = report.of_peak(part)
    rate = part.macs / part.ms / 1e6 if part.macs and part.ms else None
    return (
        f"{part.ms:.3f}",
        f"{part.ms / report.run_ms:.1%}",
        f"{part.least_ms:.3f}",
        "" if rate is None else f"{rate:.0f}",
        "" if of_peak is None else f"{of_peak:.0%}",
        f"{part.limit_ms:.3f}" if part.limit_ms else "",
    )


def _families(report: ProfileReport) -> Table:
    figures = ("ms", "of run", "least ms", "GMAC/s", "of peak", "limit ms", "as if dense", "steps")
    table = _table("by op", ("family",), figures)
    for family in report.families:
        dense = f"{family.dense_macs / family.ms / 1e6:.0f}" if family.macs and family.ms else ""
        table.add_row(family.name, *_figures(report, family), dense, str(len(family.steps)))
    table.add_section()
    rest = {
        "FastEP, between steps": report.between_ms,
        f"ONNX Runtime, {len(report.other_nodes)} nodes": report.other_ms,
        "session and Python": report.overhead_ms,
    }
    for name, ms in rest.items():
        table.add_row(name, f"{ms:.3f}", f"{ms / report.run_ms:.1%}")
        if ms == report.other_ms > _MUCH * report.run_ms:
            for kind, own in report.other_types[:_TOP_TYPES]:
                table.add_row(f"  {kind}", f"{own:.3f}", f"{own / report.run_ms:.1%}")
    table.add_section()
    table.add_row("session.run", f"{report.run_ms:.3f}", "100.0%", "", "", "", f"{report.limit_ms:.3f}", style="bold")
    return table


def _steps(report: ProfileReport, top: int) -> Table:
    figures = ("ms", "least ms", "of peak", "N x K", "zeros", "done", "kernel", "gain")
    table = _table(f"slowest {min(top, len(report.steps))} of {len(report.steps)} steps", ("step",), figures)
    for step in sorted(report.steps, key=lambda step: -step.ms)[:top]:
        more = f" +{len(step.nodes) - 1}" if len(step.nodes) > 1 else ""
        weights: tuple[str, ...] = ()
        if step.kernel:
            shape, zeros = f"{step.n} x {step.k}", f"{1 - step.density:.0%}"
            weights = (shape, zeros, f"{step.work_density:.0%}", step.kernel, f"{step.gain:.1f}x")
        ms, _, least, _, of_peak, _ = _figures(report, step)
        table.add_row(short_name(step.nodes[0]) + more, ms, least, of_peak, *weights)
    return table


def _what_if(report: ProfileReport) -> Table:
    others = list(report.what_if[0].other_ms)
    table = _table("what if: ms of the linears, predicted from the cost model", ("family",), ("now", *others))
    families: dict[str, list[Any]] = {}
    for row in report.what_if:
        families.setdefault(row.family, []).append(row)
    for name, rows in families.items():
        table.add_row(name, *(f"{ms:.2f}" for ms in _sums(rows, others)))
    now, *predicted = _sums(report.what_if, others)
    table.add_section()
    runs = [report.run_ms, *(report.run_ms - now + ms for ms in predicted)]
    table.add_row("session.run", *(f"{ms:.2f}" for ms in runs), style="bold")
    table.add_row("times faster", *(f"{report.run_ms / ms:.2f}x" for ms in runs))
    return table


def _sums(rows: Sequence[Any], others: Sequence[str]) -> list[float]:
    return [sum(row.ms for row in rows), *(sum(row.other_ms[name] for row in rows) for name in others)]


def _notes(report: ProfileReport) -> list[str]:
    threads = f"{report.threads} thread{'s' * (report.threads > 1)}"
    shape = f"{report.batch} x {report.length} tokens, {threads}, tier {report.tier}"
    plain = f"without a profile {report.plain_run_ms:.3f} ms (median)"
    notes = [f"{shape}; mean of the middle half of {report.runs} runs; {plain}"]
    if report.peak_macs_per_second:
        limit = f"peak {report.peak_macs_per_second / 1e9:.0f} GMAC/s (8-bit products on registers alone)"
        notes.append(f"{limit}, reading {report.read_bytes_per_second / 1e9:.0f} GB/s per thread")
    return [*notes, report.machine]
