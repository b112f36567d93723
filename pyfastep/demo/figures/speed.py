"""How many times faster than stock ONNX Runtime, whichever of its forms and settings is the fastest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pyfastep.bench.engines import SKIP_FUSION
from pyfastep.bench.inputs import Inputs, make_inputs, vocabulary_size
from pyfastep.demo.build import Baseline, BuiltModel
from pyfastep.demo.figures.figure import Figure, Section
from pyfastep.demo.figures.files import DemoFiles
from pyfastep.demo.figures.worker import open_fastep
from pyfastep.demo.stock import StockForms
from pyfastep.demo.turns import ratios, seconds_of, spread, take_turns

__all__ = ["FLOORS", "measure_speed"]

# Model -> length -> (floor, aim) of the times faster than ONNX Runtime's best INT8, on a CPU with AVX512-VNNI.
FLOORS: dict[str, dict[int, tuple[float, float]]] = {
    "distilbert-4x1-80": {32: (4.5, 5.5), 128: (5.3, 6.0), 384: (5.7, 6.2)},
    "distilbert-4x4-80": {32: (5.7, 6.2), 128: (6.1, 6.6), 384: (6.3, 6.8)},
    "distilbert-4x4-90": {32: (8.5, 9.5), 128: (9.0, 10.0), 384: (9.0, 10.0)},
    "distilbert-dense": {32: (1.4, 1.5), 128: (1.55, 1.65), 384: (1.75, 1.9)},
}
LENGTHS = (32, 128, 384)
_BATCH = 8
_LENGTH = 128  # of the batch
_LOW_TIER, _LOW_TIER_FLOOR, _LOW_TIER_MODEL = "avx2", 5.0, "distilbert-4x4-80"
_FP32 = "fp32"
_ROUNDS, _SECONDS = 20, 40.0
_TITLE = "Speed, one thread"
_NOTES = (
    "Times faster: time of stock ONNX Runtime / time of FastEP, call by call in turns in one process. ORT INT8 best: "
    "the fastest of dynamic, static, static with float products, and static as FastEP gets it, each with ONNX "
    f"Runtime's {SKIP_FUSION} on or off, whichever is faster at that shape.",
    "Per sentence: time of a batch / its sequences / time of a single one.",
)


def measure_speed(files: DemoFiles, progress: Callable[[str], None]) -> Section:
    """All patterns of DistilBERT at all lengths, in a batch, and on a lower tier."""
    models = [built for built in files.models.values() if built.model.architecture == "distilbert"]
    vocabulary = vocabulary_size(models[0].fastep)
    progress(f"open ONNX Runtime's forms with and without {SKIP_FUSION}")
    forms = StockForms(_forms(files.baselines["distilbert"], models[0]), threads=1)
    fast = {built.model.name: open_fastep(built.fastep, 1) for built in models}
    figures: list[Figure] = []
    for length in LENGTHS:
        progress(f"1 x {length}")
        stock = _faster_settings(forms, 1, length)
        times = _times({**stock, **fast}, make_inputs(stock[_FP32], 1, length, vocabulary=vocabulary))
        figures += [figure for built in models for figure in _times_faster(built, 1, length, times, list(stock))]
    progress(f"{_BATCH} x {_LENGTH}")
    stock = _faster_settings(forms, _BATCH, _LENGTH)
    figures += _batch(models, {**stock, **fast}, list(stock), vocabulary)
    progress(f"tier {_LOW_TIER}")
    fp32 = _faster_settings(forms, 1, _LENGTH)[_FP32]
    figures.append(_low_tier(files.models[_LOW_TIER_MODEL], fp32, vocabulary))
    return Section("speed", _TITLE, tuple(figures), _NOTES)


def _faster_settings(forms: StockForms, batch: int, length: int) -> dict[str, Any]:
    """Sessions of ONNX Runtime's forms, each in the setting that is faster for this shape."""
    return {_FP32 if form.name == _FP32 else form.title: form.session for form in forms.best(batch, length)}


def _forms(baseline: Baseline, built: BuiltModel) -> dict[str, Path]:
    return {
        _FP32: baseline.fp32,
        "dynamic": baseline.dynamic,
        "static": baseline.static,
        "static-float": baseline.static_float,
        "static as FastEP gets it": built.quantized,
    }


def _call(session: Any, inputs: Inputs) -> Callable[[], float]:
    return seconds_of(lambda: session.run(None, inputs))


def _times(sessions: dict[str, Any], inputs: Inputs) -> dict[str, list[float]]:
    return take_turns(
        {name: _call(session, inputs) for name, session in sessions.items()}, rounds=_ROUNDS, seconds=_SECONDS
    )


def _times_faster(
    built: BuiltModel, batch: int, length: int, times: dict[str, list[float]], stock: Sequence[str]
) -> list[Figure]:
    own = times[built.model.name]
    best = min((name for name in stock if name != _FP32), key=lambda name: spread(times[name]).median)
    floor, aim = FLOORS.get(built.model.name, {}).get(length, (None, None))
    shape = f"{batch} x {length}"
    return [
        Figure(
            f"{built.model.title}: times faster than ORT {what}",
            shape,
            ratios(times[name], own),
            floor=bound,
            aim=hope,
            detail=f"{_ms(times[name])} {name} / {_ms(own)}",
        )
        for what, name, bound, hope in (("INT8 best", best, floor, aim), ("FP32", _FP32, None, None))
        if name in times
    ]


def _batch(models: list[BuiltModel], sessions: dict[str, Any], stock: list[str], vocabulary: int) -> list[Figure]:
    """The batch against ONNX Runtime's, and per sentence against a call of one sequence."""
    one, many = (make_inputs(sessions[_FP32], batch, _LENGTH, vocabulary=vocabulary) for batch in (1, _BATCH))
    turns = {name: _call(session, many) for name, session in sessions.items() if name != _FP32}
    single = {f"{built.model.name} 1": _call(sessions[built.model.name], one) for built in models}
    times = take_turns({**turns, **single}, rounds=_ROUNDS, seconds=_SECONDS)
    figures: list[Figure] = []
    for built in models:
        figures += _times_faster(built, _BATCH, _LENGTH, times, [name for name in stock if name != _FP32])
        per_sentence = [seconds / _BATCH for seconds in times[built.model.name]]
        alone = times[f"{built.model.name} 1"]
        figures.append(
            Figure(
                f"{built.model.title}: time per sentence in a batch / alone",
                f"{_BATCH} x {_LENGTH}",
                ratios(per_sentence, alone),
                floor=1.0,
                less_is_better=True,
                detail=f"{_ms(per_sentence)} / {_ms(alone)}",
            )
        )
    return figures


def _low_tier(built: BuiltModel, fp32: Any, vocabulary: int) -> Figure:
    session = open_fastep(built.fastep, 1, max_tier=_LOW_TIER)
    inputs = make_inputs(session, 1, _LENGTH, vocabulary=vocabulary)
    times = _times({_LOW_TIER: session, _FP32: fp32}, inputs)
    return Figure(
        f"{built.model.title}: tier {_LOW_TIER}, times faster than ORT FP32",
        f"1 x {_LENGTH}",
        ratios(times[_FP32], times[_LOW_TIER]),
        floor=_LOW_TIER_FLOOR,
        detail=f"{_ms(times[_FP32])} / {_ms(times[_LOW_TIER])}",
    )


def _ms(seconds: Sequence[float]) -> str:
    return f"{spread(seconds).median * 1e3:.2f} ms"
