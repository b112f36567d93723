"""`fastep bench`: latency on FastEP and on stock ONNX Runtime, side by side."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from pyfastep.errors import FastEPError

if TYPE_CHECKING:
    from pyfastep.bench import BenchReport

_LEAST_WIDTH = 120  # a narrower terminal wraps lines rather than losing figures


def bench(
    model: Annotated[Path, typer.Argument(help="The model that every --engine runs.")],
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Further rows: name=path or path on stock ONNX Runtime, engine:name=path on another."),
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option("--engine", "-e", help="fastep, fastep-customop, ort. [default: fastep,ort]")
    ] = None,
    batch: Annotated[list[str] | None, typer.Option("--batch", "-b", help="Sequences per call. [default: 1]")] = None,
    length: Annotated[
        list[str] | None, typer.Option("--length", "-l", help="Tokens per sequence. [default: 128]")
    ] = None,
    threads: Annotated[list[str] | None, typer.Option("--threads", "-t", help="Threads per call. [default: 1]")] = None,
    baseline: Annotated[str | None, typer.Option(help="The row to compare with. [default: ort]")] = None,
    repeats: Annotated[int, typer.Option(help="Measured calls per row.")] = 30,
    warmup: Annotated[int, typer.Option(help="Calls before that.")] = 3,
    seconds: Annotated[float, typer.Option(help="Time limit per combination.")] = 20.0,
    seed: Annotated[int, typer.Option(help="Of the random inputs.")] = 0,
    least_cosine: Annotated[
        float, typer.Option(help="Rows whose outputs are less like the baseline's are not compared.")
    ] = 0.7,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a markdown table.")] = False,
) -> None:
    """Measure latency: engines take turns on the same inputs. Every list is comma-separated, or the option repeated."""
    from pyfastep.bench import benchmark

    if as_json + as_csv + as_markdown > 1:
        raise FastEPError("--json, --csv and --markdown exclude each other", remedy="give one of them")
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("opening sessions", total=None)
        report = benchmark(
            model,
            engines=_words(engine, "fastep,ort"),
            models=models or (),
            batches=_numbers("--batch", batch, "1"),
            lengths=_numbers("--length", length, "128"),
            threads=_numbers("--threads", threads, "1"),
            baseline=baseline,
            repeats=repeats,
            warmup=warmup,
            seconds=seconds,
            seed=seed,
            least_cosine=least_cosine,
            progress=lambda done, total, text: progress.update(task, completed=done, total=total, description=text),
        )
    if all(row.median_ms is None for row in report.measurements):
        raise FastEPError(f"nothing could be measured: {'; '.join(report.problems)}")
    if as_json:
        typer.echo(report.to_json())
    elif as_csv:
        typer.echo(report.to_csv(), nl=False)
    elif as_markdown:
        typer.echo(report.to_markdown())
    else:
        console = Console(highlight=False)
        _print(report, Console(highlight=False, soft_wrap=True, width=max(console.width, _LEAST_WIDTH)))


def _words(given: Sequence[str] | None, default: str) -> list[str]:
    return [word for item in given or [default] for word in re.split(r"[,\s]+", item) if word]


def _numbers(option: str, given: Sequence[str] | None, default: str) -> list[int]:
    words = _words(given, default)
    wrong = next((word for word in words if not word.isdigit()), None)
    if wrong is not None:
        raise FastEPError(f"{option}: expected whole numbers, found {wrong!r}", remedy=f"for example {option} 1,8")
    return [int(word) for word in words]


def _print(report: BenchReport, console: Console) -> None:
    from pyfastep.bench.result import COLUMNS

    table = Table(title=shlex.join(["fastep", *sys.argv[1:]]), title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "engine" else "right", no_wrap=True)
    previous = None
    for row in report.measurements:
        combination = (row.threads, row.batch, row.length)
        if previous not in (None, combination):
            table.add_section()
        previous = combination
        table.add_row(*map(Text, row.cells()))
    console.print(table)
    console.print(Text(report.note))
    for problem in report.problems:
        console.print(Text(problem, "yellow"))
