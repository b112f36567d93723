"""`fastep bench`: latency on FastEP and on stock ONNX Runtime, side by side."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from pyfastep.cli.console import result_console
from pyfastep.errors import FastEPError

if TYPE_CHECKING:
    from pyfastep.bench import BenchReport

_LEAST_WIDTH = 140  # a narrower terminal wraps lines rather than losing figures

_Model = Annotated[Path, typer.Argument(help="The model that every --engine runs.")]
_Models = Annotated[
    list[str] | None,
    typer.Argument(help="Further rows: name=path or path on stock ONNX Runtime, engine:name=path on another."),
]
_Engine = Annotated[
    list[str] | None,
    typer.Option("--engine", "-e", help="fastep, fastep-customop, ort, ort-unfused, ort-exact. (default: fastep,ort)"),
]
_Batch = Annotated[list[str] | None, typer.Option("--batch", "-b", help="Sequences per call. (default: 1)")]
_Length = Annotated[list[str] | None, typer.Option("--length", "-l", help="Tokens per sequence. (default: 128)")]
_Threads = Annotated[list[str] | None, typer.Option("--threads", "-t", help="Threads per call. (default: 1)")]
_Streams = Annotated[
    list[str] | None, typer.Option("--streams", "-s", help="Concurrent callers of one session. (default: 1)")
]
_Baseline = Annotated[str | None, typer.Option(help="The row to compare with. (default: ort)")]
_Repeats = Annotated[int, typer.Option(help="Measured calls per row.")]
_Warmup = Annotated[int, typer.Option(help="Calls before that.")]
_Seconds = Annotated[float, typer.Option(help="Time limit per combination.")]
_Seed = Annotated[int, typer.Option(help="Of the random inputs.")]
_LeastCosine = Annotated[float, typer.Option(help="Rows whose outputs are less like the baseline's are not compared.")]


class Form(str, Enum):
    """How the figures are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
_Markdown = Annotated[bool, typer.Option("--markdown", help="Print a markdown table.")]


def bench(
    model: _Model,
    models: _Models = None,
    engine: _Engine = None,
    batch: _Batch = None,
    length: _Length = None,
    threads: _Threads = None,
    streams: _Streams = None,
    baseline: _Baseline = None,
    repeats: _Repeats = 30,
    warmup: _Warmup = 3,
    seconds: _Seconds = 20.0,
    seed: _Seed = 0,
    least_cosine: _LeastCosine = 0.7,
    as_json: _Json = False,
    as_csv: _Csv = False,
    as_markdown: _Markdown = False,
) -> None:
    """Measure latency: engines take turns on the same inputs. Every list is comma-separated, or the option repeated."""
    form = _form(as_json, as_csv, as_markdown)
    report = _measure(
        model,
        engines=_words(engine, "fastep,ort"),
        models=models or (),
        batches=_numbers("--batch", batch, "1"),
        lengths=_numbers("--length", length, "128"),
        threads=_numbers("--threads", threads, "1"),
        streams=_numbers("--streams", streams, "1"),
        baseline=baseline,
        repeats=repeats,
        warmup=warmup,
        seconds=seconds,
        seed=seed,
        least_cosine=least_cosine,
    )
    _print(report, form)


def _form(as_json: bool, as_csv: bool, as_markdown: bool) -> Form:
    wanted = {Form.JSON: as_json, Form.CSV: as_csv, Form.MARKDOWN: as_markdown}
    chosen = [form for form, given in wanted.items() if given]
    if len(chosen) > 1:
        raise FastEPError("--json, --csv and --markdown exclude each other", remedy="give one of them")
    return chosen[0] if chosen else Form.TABLE


def _measure(model: Path, **arguments: Any) -> BenchReport:
    from pyfastep.bench import benchmark

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("opening sessions", total=None)

        def show(done: int, total: int, text: str) -> None:
            progress.update(task, completed=done, total=total, description=text)

        report = benchmark(model, progress=show, **arguments)
    if all(row.median_ms is None for row in report.measurements):
        raise FastEPError(f"nothing could be measured: {'; '.join(report.problems)}")
    return report


def _words(given: Sequence[str] | None, default: str) -> list[str]:
    return [word for item in given or [default] for word in re.split(r"[,\s]+", item) if word]


def _numbers(option: str, given: Sequence[str] | None, default: str) -> list[int]:
    words = _words(given, default)
    wrong = next((word for word in words if not (word.isascii() and word.isdigit())), None)
    if wrong is not None:
        raise FastEPError(f"{option}: expected whole numbers, found {wrong!r}", remedy=f"for example {option} 1,8")
    return [int(word) for word in words]


def _print(report: BenchReport, form: Form) -> None:
    if form is Form.TABLE:
        _print_table(report, result_console(_LEAST_WIDTH))
    else:
        texts = {Form.JSON: report.to_json, Form.CSV: report.to_csv, Form.MARKDOWN: report.to_markdown}
        typer.echo(texts[form]().rstrip("\n"))


def _print_table(report: BenchReport, console: Console) -> None:
    from pyfastep.bench.result import COLUMNS

    table = Table(title=shlex.join(["fastep", *sys.argv[1:]]), title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "engine" else "right", no_wrap=True)
    previous = None
    for row in report.measurements:
        combination = (row.threads, row.streams, row.batch, row.length)
        if previous not in (None, combination):
            table.add_section()
        previous = combination
        table.add_row(*map(Text, row.cells()))
    console.print(table)
    console.print(Text(report.note))
    for problem in report.problems:
        console.print(Text(problem, "yellow"))
