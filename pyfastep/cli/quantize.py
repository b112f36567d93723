"""`fastep quantize`: static quantization of a float model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress


def quantize(
    model: Annotated[Path, typer.Argument(help="The float ONNX model, pruned or dense.")],
    data: Annotated[
        Path, typer.Option(help="Calibration data: .npz or a folder of them, .jsonl with token ids, or a text file.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The quantized model to write.")],
    tokenizer: Annotated[Path | None, typer.Option(help="tokenizer.json or its folder, for texts.")] = None,
    method: Annotated[str, typer.Option(help="How ranges are found: minmax, percentile or entropy.")] = "minmax",
    percentile: Annotated[
        float, typer.Option(help="With --method percentile: the values within the range, in %.")
    ] = 99.999,
    attention: Annotated[bool, typer.Option(help="Quantize the two products of attention too.")] = True,
    embeddings: Annotated[bool, typer.Option(help="Quantize embedding tables too: a much smaller file.")] = False,
    product_outputs: Annotated[
        bool, typer.Option(help="Quantize products before their bias too: costs accuracy, rarely of use.")
    ] = False,
    exclude: Annotated[list[str] | None, typer.Option(help="Name of a node to leave float; may be repeated.")] = None,
    max_length: Annotated[int, typer.Option(help="Sequences are cut to this many tokens.")] = 128,
    batch_size: Annotated[int, typer.Option(help="Samples per calibration batch.")] = 8,
    max_samples: Annotated[int, typer.Option(help="Samples to use, about.")] = 256,
) -> None:
    """Quantize a float ONNX model statically to INT8, with the settings that suit encoders."""
    from pyfastep.quantize import quantize as run

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("calibrating", total=None)
        report = run(
            model,
            output,
            data=data,
            tokenizer=tokenizer,
            method=method,
            percentile=percentile,
            attention=attention,
            embeddings=embeddings,
            product_outputs=product_outputs,
            exclude=exclude or (),
            max_length=max_length,
            batch_size=batch_size,
            max_samples=max_samples,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    typer.echo(str(report))
