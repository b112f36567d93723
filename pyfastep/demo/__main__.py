"""``python -m pyfastep.demo``: builds the models, runs them, prints and keeps the tables."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pyfastep.demo.command import be_quiet_and_offline, open_console, run_app

_LOG_WIDTH = 120

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    output: Annotated[Path, typer.Option(help="Folder for models and results.")] = Path("build/demo"),
    length: Annotated[list[int] | None, typer.Option(help="Tokens per call; may be repeated. [32 128 384]")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each engine.")] = 1,
) -> None:
    """From a Hugging Face model to the speed table: prune, export, quantize, convert, run, compare."""
    console = open_console(_LOG_WIDTH)
    start = time.perf_counter()
    be_quiet_and_offline()
    from pyfastep.demo.report import print_results, write_results
    from pyfastep.demo.steps import STEPS, run_demo

    columns = (SpinnerColumn(), BarColumn(20), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("start", total=STEPS)

        def progress(what: str) -> None:
            bar.update(task, advance=1, description=what)
            if not console.is_terminal:  # a log shows no bar
                console.print(f"[{time.perf_counter() - start:4.0f} s] {what}", markup=False, highlight=False)

        results = run_demo(output, lengths=length or [32, 128, 384], threads=threads, progress=progress)
    print_results(results, console)
    files = write_results(results, output)
    console.print(f"\n{time.perf_counter() - start:.0f} s; {files[0]}, {files[1]}", markup=False, highlight=False)


if __name__ == "__main__":
    run_app(app)
