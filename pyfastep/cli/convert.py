"""`fastep convert`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from pyfastep.errors import FastEPError

if TYPE_CHECKING:
    from pyfastep.passes.report import ConversionReport, LayerReport

_MEGABYTE = 1e6


def convert(
    model: Annotated[Path, typer.Argument(help="Quantized ONNX model.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Converted model. Without it, only the report is printed.")
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Keep every rounding of the source model.")] = False,
    external_data: Annotated[bool, typer.Option("--external-data", help="Put the tensors into <output>.data.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Run source and result on random inputs on stock ONNX Runtime and compare.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Rewrite a quantized model into fastep nodes; pruned weights are stored sparse."""
    from pyfastep.convert import convert as convert_model

    try:
        report = convert_model(model, output, exact=exact, external_data=external_data, verify=verify)
    except FastEPError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2))
    else:
        print_report(report, Console())


def print_report(report: ConversionReport, console: Console) -> None:
    """Prints a conversion report as tables."""
    table = Table(title=f"{len(report.layers)} linears converted")
    for column, justify in (
        ("layer", "left"),
        ("N x K", "right"),
        ("zeros", "left"),
        ("weights", "right"),
        ("blocks", "right"),
        ("kernel", "left"),
        ("fused", "left"),
        ("bytes", "right"),
    ):
        table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for layer in report.layers:
        table.add_row(*_row(layer))
    console.print(table)
    for note in sorted({layer.note for layer in report.layers if layer.note}):
        names = [layer.name for layer in report.layers if layer.note == note]
        console.print(f"{len(names)} layers, {names[0]} first: {note}", markup=False, highlight=False)
    for skip in report.skipped:
        console.print(f"left alone: {skip.node}: {skip.reason}", markup=False, highlight=False)
    if report.file_bytes_after:
        before, after = report.file_bytes_before / _MEGABYTE, report.file_bytes_after / _MEGABYTE
        console.print(f"file: {before:.1f} MB -> {after:.1f} MB")
    if report.largest_difference is not None:
        console.print(f"largest difference from the source on random inputs: {report.largest_difference:.4g}")


def _row(layer: LayerReport) -> tuple[str, ...]:
    fused = " + ".join(filter(None, ("bias" if layer.bias else "", layer.activation, layer.output)))
    return (
        layer.name,
        f"{layer.n} x {layer.k}",
        layer.structure,
        f"{layer.density:.0%}",
        f"{layer.block_density:.0%}",
        layer.kernel,
        fused,
        f"{layer.bytes_before} -> {layer.bytes_after}",
    )
