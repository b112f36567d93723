"""`fastep memory`: what opening a model costs."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table

from pyfastep.cli.console import result_console

_LEAST_WIDTH = 120  # a narrower terminal wraps lines rather than losing figures

_Models = Annotated[
    list[str], typer.Argument(help="Model files; ort:path opens one on stock ONNX Runtime. name=path gives it a name.")
]
_Threads = Annotated[int, typer.Option("--threads", "-t", min=1, help="Threads of the session.")]
_Length = Annotated[int, typer.Option("--length", "-l", min=1, help="Tokens of the one sequence that it runs.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def memory(models: _Models, threads: _Threads = 1, length: _Length = 128, as_json: _Json = False) -> None:
    """Seconds to open each model, resident memory that its session adds, and the peak meanwhile, in MB."""
    from pyfastep.bench.engines import split_row
    from pyfastep.bench.memory import COLUMNS, measure_memory

    rows = []
    for model in models:
        engine, name, path = split_row(model)
        rows.append(measure_memory(path, engine=engine or "fastep", name=name, threads=threads, length=length))
    if as_json:
        typer.echo(json.dumps([row.to_dict() for row in rows], indent=2))
        return
    table = Table()
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "engine" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row.cells())
    result_console(_LEAST_WIDTH, soft_wrap=False).print(table)
