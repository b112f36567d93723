"""`fastep convert`: rewriting a quantized model into fastep nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from pyfastep.cli.console import result_console

if TYPE_CHECKING:
    from pyfastep.passes.report import ConversionReport, LayerReport

_MEGABYTE = 1e6
_NAME_WIDTH = 36
_LEAST_WIDTH = 132  # a narrower terminal wraps lines rather than losing figures
_RIGHT = ("N x K", "weights", "blocks", "kB")

_Model = Annotated[Path, typer.Argument(help="Quantized ONNX model.")]
_Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Converted model. Without it, only the report is printed.")
]
_Exact = Annotated[
    bool,
    typer.Option(
        "--exact",
        help="ONNX Runtime's outputs (where its products do not saturate), bit for bit: fuse products alone. Slower.",
    ),
]
_Encoder = Annotated[bool, typer.Option("--encoder/--no-encoder", help="Fuse attention, LayerNorm and embeddings too.")]
_Padding = Annotated[
    Literal["auto", "skip", "compute"],
    typer.Option(
        "--padding",
        help="Right padding of the attention mask is left out: auto: where it is proven that no output shows it; "
        "skip: always; compute: never.",
    ),
]
_ExternalData = Annotated[bool, typer.Option("--external-data", help="Put the tensors into <output>.data.")]
_Verify = Annotated[
    bool, typer.Option("--verify", help="Run source and result on random inputs on stock ONNX Runtime and compare.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]


def convert(
    model: _Model,
    output: _Output = None,
    exact: _Exact = False,
    encoder: _Encoder = True,
    padding: _Padding = "auto",
    external_data: _ExternalData = False,
    verify: _Verify = False,
    as_json: _Json = False,
) -> None:
    """Rewrite a quantized model into fastep nodes; pruned weights are stored sparse."""
    from pyfastep.convert import convert as run

    report = run(
        model,
        output,
        exact=exact,
        encoder=encoder,
        padding=padding,
        external_data=external_data,
        verify=verify,
    )
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2))
    else:
        print_report(report, result_console(_LEAST_WIDTH))


def print_report(report: ConversionReport, console: Console) -> None:
    """Prints a conversion report: a table of layers, what was left alone and why, and sizes."""
    from pyfastep.passes.report import EXACT

    table = Table(title=f"{len(report.layers)} linears converted, {len(report.skipped)} left alone")
    for column in ("layer", "N x K", "zeros", "weights", "blocks", "kernel*", "fused", "kB"):
        table.add_column(column, justify="right" if column in _RIGHT else "left", no_wrap=True)
    for layer in report.layers:
        table.add_row(*_row(layer))
    console.print(table)
    console.print("* estimated from the zeros; `fastep doctor` tells what this machine runs")
    for note in sorted({layer.note for layer in report.layers if layer.note}):
        names = [layer.name for layer in report.layers if layer.note == note]
        console.print(f"{len(names)} layers, {names[0]} first: {note}")
    for skip in report.skipped:
        console.print(f"left alone: {skip.node}: {skip.reason}")
    for line in report.encoder.lines() if report.encoder is not None else []:
        console.print(line)
    if report.exact:
        console.print(EXACT)
    if report.file_bytes_after:
        before, after = report.file_bytes_before / _MEGABYTE, report.file_bytes_after / _MEGABYTE
        console.print(f"file: {before:.1f} MB -> {after:.1f} MB")
    if report.largest_difference is not None:
        exact = "both with exact products on stock ONNX Runtime"
        console.print(f"largest difference from the source on random inputs: {report.largest_difference:.4g} ({exact})")


def _row(layer: LayerReport) -> tuple[str, ...]:
    fused = "+".join(filter(None, ("bias" if layer.bias else "", layer.activation, layer.output)))
    return (
        short_name(layer.name),
        f"{layer.n} x {layer.k}",
        layer.structure,
        f"{layer.density:.0%}",
        f"{layer.block_density:.0%}",
        layer.kernel,
        fused,
        f"{layer.bytes_before / 1e3:.0f} -> {layer.bytes_after / 1e3:.0f}",
    )


def short_name(name: str) -> str:
    """The end of an exporter's long node name, without the op at its end: `.../layer.0/attention/q_lin`."""
    parts = name.split("/")
    if len(parts) > 2 and parts[-1].startswith(("MatMul", "Gemm")):
        parts.pop()
    short = "/".join(parts)
    return short if len(short) <= _NAME_WIDTH else f"...{short[3 - _NAME_WIDTH :]}"
