"""The command line's frame: the list of commands, `--version`, and the one place where errors become exit codes."""

from __future__ import annotations

import importlib
import re
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import pyfastep
from pyfastep._extras import explain
from pyfastep.errors import FastEPError

# In the order of `fastep --help`: each is a function of its name in the module of its name.
COMMANDS = ("convert", "compile", "quantize", "compress", "study", "bench", "memory", "profile", "doctor")

# ONNX Runtime's errors share no base, only their module.
_RUNTIME_ERRORS = "onnxruntime.capi.onnxruntime_pybind11_state"
_RUNTIME_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : (?=[A-Z_]+ : )")

app = typer.Typer(
    name="fastep",
    help="Pruned and quantized transformers, fast on x86 CPUs inside ONNX Runtime.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fastep {pyfastep.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Pruned and quantized transformers, fast on x86 CPUs inside ONNX Runtime."""


def _add_commands() -> None:
    for name in COMMANDS:
        module = importlib.import_module(f"pyfastep.cli.{name}")
        app.command(name, no_args_is_help=name != "doctor")(getattr(module, name))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; its exit code is 0, 1 after an error that was told, 2 after wrong usage."""
    if not app.registered_commands:
        _add_commands()
    try:
        app(arguments)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0
    except Exception as error:
        message = _message(error)
        if message is None:  # a bug
            raise
        _complain(message)
        return 1
    return 0


def _message(error: Exception) -> str | None:
    """What to tell of an error that a user can do something about; `None` of any other."""
    if isinstance(error, FastEPError | OSError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        explained = explain(error)
        return str(explained) if explained is not None else None
    if type(error).__module__ == _RUNTIME_ERRORS:
        return _RUNTIME_PREFIX.sub("ONNX Runtime: ", str(error))
    return None


def _complain(message: str) -> None:
    line = " ".join(message.split())
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]error:[/] {escape(line)}")


if __name__ == "__main__":
    sys.exit(main())
