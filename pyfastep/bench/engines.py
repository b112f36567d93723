"""What can be measured: a model file on FastEP, through the custom ops, or on stock ONNX Runtime."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyfastep import _ep
from pyfastep._model_paths import check_model
from pyfastep._stock import EXACT_PRODUCTS, survives_exact_products
from pyfastep.errors import FastEPError

_CPU = "CPUExecutionProvider"
MOST_THREADS = 1024
# An optimization of ONNX Runtime that is on by default and makes many encoders slower.
SKIP_FUSION = "SkipLayerNormFusion"
_ROW = re.compile(r"(?:(?P<engine>[a-z-]+):)?(?:(?P<name>[^=:]+)=)?(?P<path>.+)")


@dataclass(frozen=True)
class Engine:
    """A row of the table: a name, how sessions are opened (one of `ENGINES`), and the model file."""

    name: str
    kind: str
    path: Path

    def open(self, threads: int) -> Any:
        """Open a session with exactly `threads` intra-op threads.

        Raises:
            FastEPError: There is no such file, it is no model, or there is no suitable ONNX Runtime.
            Exception: What ONNX Runtime raises.
        """
        return ENGINES[self.kind](check_model(self.path), session_options(threads))


def session_options(threads: int) -> Any:
    """Options of a session that is measured: exactly `threads` threads, which rest between its calls, and no log.

    Raises:
        FastEPError: More threads than any machine has, or there is no suitable ONNX Runtime.
    """
    if threads > MOST_THREADS:
        raise FastEPError(f"threads must be at most {MOST_THREADS}, found {threads}")
    options = _ep.import_onnxruntime().SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # the report tells what fails
    # Threads spin within a call, as they do by default, but not on into the next engine's turn.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _open_fastep(path: Path, options: Any) -> Any:
    from pyfastep.session import InferenceSession

    return InferenceSession(path, options)


def _open_custom_ops(path: Path, options: Any) -> Any:
    options.register_custom_ops_library(_ep.get_library_path())
    return _open_stock(path, options)


def _open_stock(path: Path, options: Any, disabled: Sequence[str] = ()) -> Any:
    runtime = _ep.import_onnxruntime()
    return runtime.InferenceSession(str(path), options, providers=[_CPU], disabled_optimizers=list(disabled) or None)


def _open_unfused(path: Path, options: Any) -> Any:
    return _open_stock(path, options, [SKIP_FUSION])


def _open_exact(path: Path, options: Any) -> Any:
    if not survives_exact_products(path):
        raise FastEPError(
            "this ONNX Runtime aborts when asked for exact products of a MatMulInteger without a zero point of weights",
            remedy="take ONNX Runtime 1.31 or later",
        )
    options.add_session_config_entry(EXACT_PRODUCTS, "1")
    return _open_stock(path, options)


ENGINES: dict[str, Callable[[Path, Any], Any]] = {
    "fastep": _open_fastep,
    "fastep-customop": _open_custom_ops,
    "ort": _open_stock,
    "ort-unfused": _open_unfused,
    "ort-exact": _open_exact,
}


def parse_engines(
    model: str | os.PathLike[str], kinds: Sequence[str], models: Sequence[str | os.PathLike[str]]
) -> list[Engine]:
    """The engines of `model`, one of each kind, and the further `models`.

    A further model is `path` or `name=path`, run on stock ONNX Runtime, or either behind `engine:`.

    Raises:
        FastEPError: An unknown engine, or a name that is used twice.
    """
    found = [Engine(kind, kind, Path(model)) for kind in kinds]
    for spec in models:
        kind, name, path = split_row(spec)
        found.append(Engine(name or path.stem, kind or "ort", path))
    for engine in found:
        if engine.kind not in ENGINES:
            raise FastEPError(f"unknown engine {engine.kind!r}", remedy=f"known are {', '.join(ENGINES)}")
    names = [engine.name for engine in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise FastEPError(f"two rows would be called {twice!r}", remedy="name the further models: name=path")
    if not found:
        raise FastEPError("no engine is left to measure", remedy=f"name one of {', '.join(ENGINES)}")
    return found


def split_row(row: str | os.PathLike[str]) -> tuple[str | None, str | None, Path]:
    """Engine, name and path of `path`, `name=path`, `engine:path` or `engine:name=path`; what is a file is a path."""
    text = os.fspath(row)
    match = None if Path(text).is_file() else _ROW.fullmatch(text)
    return (None, None, Path(text)) if match is None else (match["engine"], match["name"], Path(match["path"]))
