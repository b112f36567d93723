"""Stock ONNX Runtime at its best: each form of a model in the setting in which it is faster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pyfastep.bench.engines import SKIP_FUSION, Engine
from pyfastep.bench.inputs import make_inputs, vocabulary_size
from pyfastep.demo.turns import seconds_of, spread, take_turns
from pyfastep.errors import FastEPError

__all__ = ["KINDS", "StockForm", "StockForms"]

KINDS = {"ort": "", "ort-unfused": f" without {SKIP_FUSION}"}
"""Engines of :mod:`pyfastep.bench` that are tried, and what tells them apart in words."""

_ROUNDS = 7  # to choose a setting by


@dataclass(frozen=True)
class StockForm:
    """A form of a model in one setting of ONNX Runtime.

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


class StockForms:
    """Forms of a model, each open in every setting."""

    def __init__(self, forms: Mapping[str, Path], threads: int) -> None:
        """Opens them.

        Args:
            forms: Files by name.
            threads: Intra-op threads.

        Raises:
            FastEPError: ONNX Runtime does not open a form.
        """
        self._forms: dict[str, list[StockForm]] = {}
        for name, path in forms.items():
            with _naming(name):
                engines = [Engine(name, kind, path) for kind in KINDS]
                self._forms[name] = [StockForm(name, engine, engine.open(threads)) for engine in engines]

    def best(self, batch: int, length: int) -> list[StockForm]:
        """Each form in its faster setting for this shape; which one that is may depend on it.

        Raises:
            FastEPError: ONNX Runtime does not run a form.
        """
        found = []
        for name, settings in self._forms.items():
            with _naming(name):
                found.append(_faster(settings, batch, length))
        return found


@contextmanager
def _naming(form: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # ONNX Runtime's errors share no base
        raise FastEPError(f"not measured: {' '.join(str(error).split())}", node=form) from error


def _faster(settings: list[StockForm], batch: int, length: int) -> StockForm:
    vocabulary = vocabulary_size(settings[0].engine.path)
    inputs = make_inputs(settings[0].session, batch, length, vocabulary=vocabulary)
    turns = {form.engine.kind: seconds_of(partial(form.session.run, None, inputs)) for form in settings}
    times = take_turns(turns, rounds=_ROUNDS, warmup=1)
    return min(settings, key=lambda form: spread(times[form.engine.kind]).median)
