"""``python -m pyfastep.demo.figures``: measures the figures on the demo's models, prints and keeps them."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from pyfastep.demo.command import be_quiet_and_offline, open_console, run_app
from pyfastep.errors import FastEPError

_LOG_WIDTH = 160

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    output: Annotated[Path, typer.Option(help="The demo's folder: its models are measured.")] = Path("build/demo"),
    only: Annotated[list[str] | None, typer.Option(help="Sections; may be repeated. [all]")] = None,
    build: Annotated[bool, typer.Option(help="Build what is missing or old; otherwise take the files as is.")] = True,
    results: Annotated[Path | None, typer.Option(help="Folder for figures.json and figures.md. [--output]")] = None,
) -> None:
    """Speed, threads, padding and accuracy of FastEP against stock ONNX Runtime, in turns in one process."""
    console = open_console(_LOG_WIDTH)
    start = time.perf_counter()
    be_quiet_and_offline()
    from pyfastep.bench.machine import describe_machine
    from pyfastep.demo.figures.files import build_files, find_files
    from pyfastep.demo.figures.report import Report, print_section, write_report
    from pyfastep.demo.figures.sections import SECTIONS

    unknown = next((name for name in only or () if name not in SECTIONS), None)
    if unknown is not None:
        raise FastEPError(f"no section is called {unknown!r}", remedy=f"known are {', '.join(SECTIONS)}")

    def progress(what: str) -> None:
        console.print(f"[{time.perf_counter() - start:4.0f} s] {what}", markup=False, highlight=False)

    files = build_files(output / "models", progress) if build else find_files(output / "models")
    sections = []
    for name in only or SECTIONS:
        sections.append(SECTIONS[name](files, progress))
        print_section(sections[-1], console)
    machine = describe_machine(note="")
    command = shlex.join(["python", "-m", "pyfastep.demo.figures", *sys.argv[1:]])
    written = write_report(Report(machine, command, tuple(sections)), results or output)
    console.print(f"\n{machine}.\n{written[0]}, {written[1]}", markup=False, highlight=False)


if __name__ == "__main__":
    run_app(app)
