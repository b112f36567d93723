"""Stock ONNX Runtime at its best: each form of a model in the setting in which it is faster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pyfastep.bench.engines import SKIP_FUSION, Engine
from pyfastep.bench.inputs import make_inputs, vocabulary_size
from pyfastep.demo.turns import seconds_of, spread, take_turns
from pyfastep.errors import FastEPError

__all__ = ["KINDS", "StockForm", "best_settings"]

KINDS = {"ort": "", "ort-unfused": f" without {SKIP_FUSION}"}
"""Engines of :mod:`pyfastep.bench` that are tried, and what tells them apart in words."""

_LENGTH = 128  # tokens of the one sequence that settings are compared with
_ROUNDS = 5


@dataclass(frozen=True)
class StockForm:
    """A form of a model, and ONNX Runtime's faster setting for it.

    Attributes:
        name: Of the form.
        engine: The setting and the file.
        session: Open with it.
    """

    name: str
    engine: Engine
    session: Any

    @property
    def title(self) -> str:
        """The name, with the setting where that is not the default."""
        return self.name + KINDS[self.engine.kind]


def best_settings(forms: Mapping[str, Path], threads: int) -> list[StockForm]:
    """Opens each form with and without ONNX Runtime's fusion of skip connections and keeps the faster session.

    Args:
        forms: Files by name.
        threads: Intra-op threads.

    Raises:
        FastEPError: ONNX Runtime does not run a form.
    """
    best = []
    for name, path in forms.items():
        try:
            best.append(_best(name, path, threads))
        except Exception as error:  # ONNX Runtime's errors share no base
            raise FastEPError(f"not measured: {' '.join(str(error).split())}", node=name) from error
    return best


def _best(name: str, path: Path, threads: int) -> StockForm:
    engines = [Engine(name, kind, path) for kind in KINDS]
    forms = {engine.kind: StockForm(name, engine, engine.open(threads)) for engine in engines}
    inputs = make_inputs(forms["ort"].session, 1, _LENGTH, vocabulary=vocabulary_size(path))
    turns = {kind: seconds_of(partial(form.session.run, None, inputs)) for kind, form in forms.items()}
    times = take_turns(turns, rounds=_ROUNDS, warmup=1)
    return forms[min(forms, key=lambda kind: spread(times[kind]).median)]
