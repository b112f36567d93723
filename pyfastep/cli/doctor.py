"""`fastep doctor`: what is installed here, what is wrong, and how a model would run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pyfastep.cli.console import result_console

if TYPE_CHECKING:
    from pyfastep.doctor import Diagnosis, ModelDiagnosis

_MEGABYTE = 1e6


def doctor(
    model: Annotated[Path | None, typer.Argument(help="Also tell how this model would run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Report the CPU, the library, ONNX Runtime, common problems with remedies, and how a model would run."""
    from pyfastep.doctor import diagnose

    diagnosis = diagnose(model)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(diagnosis), indent=2, default=str))
    else:
        _print(diagnosis, result_console())
    if not diagnosis.works:
        raise typer.Exit(1)


def _print(diagnosis: Diagnosis, console: Console) -> None:
    cpu, library, runtime = diagnosis.cpu, diagnosis.library, diagnosis.runtime
    rows = [
        ("CPU", f"{cpu.model}, {cpu.cores} cores, {cpu.cpus} usable CPUs"),
        ("", ", ".join(cpu.instruction_sets) or "no AVX2"),
        ("FastEP", f"{diagnosis.fastep_version}, Python {diagnosis.python}"),
    ]
    if runtime:
        rows.append(("ONNX Runtime", f"{runtime.version} ({', '.join(runtime.distributions) or 'unknown package'})"))
    if library:
        rows += [
            ("library", f"{library.path}, version {library.version}"),
            ("compiled for", f"ONNX Runtime API {library.headers}"),
            ("ops", ", ".join(library.ops)),
            ("tiers built", ", ".join(library.tiers_built)),
            ("tiers supported", ", ".join(library.tiers_supported)),
            ("tier chosen", library.tier),
        ]
    rows += sorted(diagnosis.environment.items())
    for label, value in rows:
        console.print(Text(f"{label:16}", "bold"), Text(value), sep="")
    if diagnosis.model:
        _print_model(diagnosis.model, console)
    for problem in diagnosis.problems:
        style = "bold red" if problem.fatal else "bold yellow"
        console.print(Text("error: " if problem.fatal else "note: ", style), Text(problem.problem), sep="")
        console.print(Text(f"  remedy: {problem.remedy}"))
    if not diagnosis.problems:
        console.print(Text("no problems found", "bold green"))


def _print_model(model: ModelDiagnosis, console: Console) -> None:
    console.print(Text(f"\n{model.path}: FastEP runs {model.taken} of {len(model.nodes)} fastep nodes", "bold"))
    if model.padding:
        console.print(Text(f"padding: {model.padding}"))
    for plan in model.plans:
        console.print(
            Text(
                f"{plan.partition}: compiled for {plan.tier} by FastEP {plan.fastep_version}, "
                f"{plan.bytes / _MEGABYTE:.1f} MB in {plan.file}"
            )
        )
    if not model.nodes:
        return
    table = Table("node", "op", "run by", "kernel, or reason")
    for node in model.nodes:
        table.add_row(*map(Text, (node.name, node.op, "FastEP" if node.taken else "ONNX Runtime", node.detail)))
    console.print(table)
