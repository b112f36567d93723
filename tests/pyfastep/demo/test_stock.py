"""ONNX Runtime's settings: the faster one is taken, and named."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pyfastep.bench.engines import SKIP_FUSION
from pyfastep.demo import stock
from pyfastep.errors import FastEPError


@pytest.mark.parametrize(("seconds", "kind"), [((1.0, 2.0), "ort"), ((2.0, 1.0), "ort-unfused")])
def test_the_faster_setting_is_taken(
    fast_model: Path, monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], kind: str
) -> None:
    taken = itertools.cycle(seconds)

    def seconds_of(call: Callable[[], object]) -> Callable[[], float]:
        call()
        mine = next(taken)
        return lambda: mine

    monkeypatch.setattr(stock, "seconds_of", seconds_of)
    first, second = stock.StockForms({"a": fast_model, "b": fast_model}, threads=2).best(1, 5)
    assert (first.name, second.name) == ("a", "b")
    assert first.engine.kind == second.engine.kind == kind
    assert first.title == ("a" if kind == "ort" else f"a without {SKIP_FUSION}")
    assert first.session.get_session_options().intra_op_num_threads == 2


def test_each_shape_has_its_own(fast_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []

    def seconds_of(call: partial[object]) -> Callable[[], float]:
        ids = call.args[1]["input_ids"]
        shapes.append(ids.shape)
        return lambda: float(ids.shape[1] if len(shapes) % 2 else 7)

    monkeypatch.setattr(stock, "seconds_of", seconds_of)
    forms = stock.StockForms({"a": fast_model}, threads=1)
    assert [forms.best(2, length)[0].session is forms.best(2, length)[0].session for length in (3, 12)] == [True, True]
    assert set(shapes) == {(2, 3), (2, 12)}


def test_a_form_that_does_not_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "damaged.onnx").write_bytes(b"damaged")
    with pytest.raises(FastEPError, match="static: not measured"):
        stock.StockForms({"static": tmp_path / "damaged.onnx"}, threads=1)
