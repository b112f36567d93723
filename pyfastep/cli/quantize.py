"""`fastep quantize`: static quantization of a float model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

_Model = Annotated[Path, typer.Argument(help="The float ONNX model, pruned or dense.")]
_Data = Annotated[
    Path, typer.Option(help="Calibration data: .npz or a folder of them, .jsonl with token ids, or a text file.")
]
_Output = Annotated[Path, typer.Option("--output", "-o", help="The quantized model to write.")]
_Tokenizer = Annotated[Path | None, typer.Option(help="tokenizer.json or its folder, for texts.")]
_Method = Annotated[str, typer.Option(help="How ranges are found: minmax, percentile or entropy.")]
_Percentile = Annotated[float, typer.Option(help="With --method percentile: the values within the range, in %.")]
_Attention = Annotated[bool, typer.Option(help="Quantize the two products of attention too.")]
_Embeddings = Annotated[bool, typer.Option("--embeddings", help="Quantize embedding tables too: a much smaller file.")]
_ProductOutputs = Annotated[
    bool,
    typer.Option("--product-outputs", help="Quantize products before their bias too: costs accuracy, rarely of use."),
]
_Exclude = Annotated[list[str] | None, typer.Option(help="Name of a node to leave float; may be repeated.")]
_MaxLength = Annotated[int, typer.Option(help="Sequences are cut to this many tokens.")]
_BatchSize = Annotated[int, typer.Option(help="Samples per calibration batch.")]
_MaxSamples = Annotated[int, typer.Option(help="Samples to use, about.")]


def quantize(
    model: _Model,
    data: _Data,
    output: _Output,
    tokenizer: _Tokenizer = None,
    method: _Method = "minmax",
    percentile: _Percentile = 99.999,
    attention: _Attention = True,
    embeddings: _Embeddings = False,
    product_outputs: _ProductOutputs = False,
    exclude: _Exclude = None,
    max_length: _MaxLength = 128,
    batch_size: _BatchSize = 8,
    max_samples: _MaxSamples = 256,
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
