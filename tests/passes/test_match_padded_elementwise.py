"""Rules for what elementwise ops make of right padding, held against all pairs of small numbers that they speak of."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from pyfastep.passes.match.padded import AtPadding, ByToken, Content
from pyfastep.passes.match.padded_elementwise import OPS, follow

FINITE = (-2.0, -0.5, 0.0, 1.0)
NUMBERS = (*FINITE, math.inf, -math.inf, math.nan)
ZEROS = [(0.0, 0.0), (-0.0, 0.0)]
AXES = (-2, -1)

_erf = np.vectorize(math.erf)
_SELU = (1.6732632, 1.050701)


def _elu(x: Any, alpha: float = 1.0) -> Any:
    return np.where(x > 0, x, alpha * (np.exp(np.minimum(x, 0)) - 1)) + x * 0 * np.isnan(x)


def _clip(x: Any, low: Any, high: Any) -> Any:
    return np.minimum(np.maximum(x, low), high)


def _softplus(x: Any) -> Any:
    return np.logaddexp(0, x)


NUMERIC: dict[str, tuple[int, Callable[..., Any]]] = {
    "Abs": (1, np.abs),
    "Add": (2, np.add),
    "Ceil": (1, np.ceil),
    "Clip": (3, _clip),
    "Div": (2, np.divide),
    "Dropout": (1, lambda x: x),
    "Elu": (1, _elu),
    "Equal": (2, np.equal),
    "Erf": (1, _erf),
    "Exp": (1, np.exp),
    "Floor": (1, np.floor),
    "Gelu": (1, lambda x: x * (1 + _erf(x / 2**0.5)) / 2),
    "Greater": (2, np.greater),
    "GreaterOrEqual": (2, np.greater_equal),
    "HardSigmoid": (1, lambda x: _clip(0.2 * x + 0.5, 0, 1)),
    "HardSwish": (1, lambda x: x * _clip(x / 6 + 0.5, 0, 1)),
    "Identity": (1, lambda x: x),
    "IsNaN": (1, np.isnan),
    "LeakyRelu": (1, lambda x: np.where(x < 0, 0.01 * x, x)),
    "Less": (2, np.less),
    "LessOrEqual": (2, np.less_equal),
    "Log": (1, np.log),
    "Max": (2, np.maximum),
    "Min": (2, np.minimum),
    "Mish": (1, lambda x: x * np.tanh(_softplus(x))),
    "Mul": (2, np.multiply),
    "Neg": (1, np.negative),
    "Pow": (2, np.power),
    "PRelu": (2, lambda x, slope: np.where(x < 0, slope * x, x)),
    "Reciprocal": (1, np.reciprocal),
    "Relu": (1, lambda x: np.maximum(x, 0)),
    "Round": (1, np.rint),
    "Selu": (1, lambda x: _SELU[1] * _elu(x, _SELU[0])),
    "Sigmoid": (1, lambda x: 1 / (1 + np.exp(-x))),
    "Sign": (1, np.sign),
    "Softplus": (1, _softplus),
    "Softsign": (1, lambda x: x / (1 + np.abs(x))),
    "Sqrt": (1, np.sqrt),
    "Sub": (2, np.subtract),
    "Tanh": (1, np.tanh),
}
LOGIC: dict[str, tuple[int, Callable[..., Any]]] = {
    "And": (2, np.logical_and),
    "Not": (1, np.logical_not),
    "Or": (2, np.logical_or),
}
OTHERS = {"Cast", "DequantizeLinear", "QuantizeLinear", "Where"}  # tests of their own


@functools.cache
def pairs(content: AtPadding, numbers: tuple[float, ...] = NUMBERS) -> list[tuple[float, float]]:
    """What may stand at one entry of padding in both runs."""
    finite = [x for x in numbers if math.isfinite(x)]
    if isinstance(content, float):
        return ZEROS if content == 0 else [(content, content)]
    same = [(x, x) for x in numbers]
    return {
        Content.STEADY: [(x, x) for x in finite],
        Content.ZERO_OR_NAN: [*ZEROS, (math.nan, math.nan)],
        Content.SAME: same,
        Content.FINITE: list(itertools.product(finite, finite)),
        Content.FINITE_OR_SAME: [*itertools.product(finite, finite), *same],
        Content.ANY: list(itertools.product(numbers, numbers)),
    }[content]


def holds(content: AtPadding, a: Any, b: Any) -> Any:
    """Whether pairs of results are what a content says, the sign of zeros aside."""
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    finite = np.isfinite(a) & np.isfinite(b)
    if isinstance(content, float):
        return (a == content) & (b == content)
    return {
        Content.STEADY: same & finite,
        Content.ZERO_OR_NAN: same & (np.isnan(a) | (a == 0)),
        Content.SAME: same,
        Content.FINITE: finite,
        Content.FINITE_OR_SAME: same | finite,
        Content.ANY: np.ones_like(same),
    }[content]


def content_after(op: str, contents: tuple[AtPadding, ...], kinds: list[ir.DataType], **attributes: Any) -> AtPadding:
    inputs = [ir.Value(name=f"x{i}", type=ir.TensorType(kind)) for i, kind in enumerate(kinds)]
    node = ir.node(op, inputs, attributes)
    state = follow(node, [ByToken(*AXES, content) for content in contents])
    assert isinstance(state, ByToken)
    assert state.axes == AXES
    return state.at_padding


def check(op: str, contents: tuple[AtPadding, ...], function: Callable[..., Any], numbers: Any, kinds: Any) -> None:
    found = content_after(op, contents, kinds)
    combinations = np.array(list(itertools.product(*(pairs(content, numbers) for content in contents))))
    with np.errstate(all="ignore"):
        a, b = (np.asarray(function(*combinations[:, :, run].T), np.float64) for run in (0, 1))
    wrong = ~holds(found, a, b)
    assert not wrong.any(), f"{op}{contents} is no {found}: {combinations[wrong][0]} gives {a[wrong][0], b[wrong][0]}"


def test_every_op_is_checked() -> None:
    assert {*NUMERIC, *LOGIC, *OTHERS} == OPS


CONTENTS: list[AtPadding] = [0.0, 1.0, -2.0, *Content]


@pytest.mark.parametrize("op", sorted(NUMERIC))
def test_numbers(op: str) -> None:
    count, function = NUMERIC[op]
    for contents in itertools.product(CONTENTS, repeat=count):
        check(op, contents, function, FINITE[1:] + NUMBERS[4:] if count > 2 else NUMBERS, [ir.DataType.FLOAT] * count)


BOOLS: list[AtPadding] = [0.0, 1.0, Content.STEADY, Content.SAME, Content.FINITE, Content.ANY]


@pytest.mark.parametrize("op", sorted(LOGIC))
def test_logic(op: str) -> None:
    count, function = LOGIC[op]
    for contents in itertools.product(BOOLS, repeat=count):
        check(op, contents, function, (0.0, 1.0), [ir.DataType.BOOL] * count)


def test_choices() -> None:
    kinds = [ir.DataType.BOOL, ir.DataType.FLOAT, ir.DataType.FLOAT]
    for condition in BOOLS:
        for sides in itertools.product(CONTENTS, repeat=2):
            found = content_after("Where", (condition, *sides), kinds)
            chosen = np.array(
                list(itertools.product(pairs(condition, (0.0, 1.0)), *(pairs(side) for side in sides)))
            )  # [n, operand, run]
            a, b = (np.where(chosen[:, 0, run] != 0, chosen[:, 1, run], chosen[:, 2, run]) for run in (0, 1))
            assert holds(found, a, b).all(), f"Where({condition}, {sides}) is no {found}"


TYPES = [ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.INT64, ir.DataType.UINT8, ir.DataType.BOOL]


@pytest.mark.parametrize("to", TYPES)
def test_casts(to: ir.DataType) -> None:
    """Of what a type may hold; 70000 is infinite in float16, and no negative number is an unsigned one."""
    numbers = (*NUMBERS, 70000.0) if to.is_floating_point() or to == ir.DataType.BOOL else FINITE[2:]
    contents = CONTENTS if -2.0 in numbers else [c for c in CONTENTS if c not in (-2.0, Content.ZERO_OR_NAN)]
    for content in contents:
        found = content_after("Cast", (content,), [ir.DataType.FLOAT], to=to.value)
        chosen = np.array(pairs(content, numbers))
        with np.errstate(over="ignore"):
            a, b = (chosen[:, run].astype(to.numpy()).astype(np.float64) for run in (0, 1))
        assert holds(found, a, b).all(), f"Cast({content}) is no {found}"


def test_numbers_that_a_type_does_not_hold() -> None:
    for content, to in ((-2.0, ir.DataType.UINT8), (1e30, ir.DataType.INT64), (70000.0, ir.DataType.FLOAT16)):
        assert content_after("Cast", (content,), [ir.DataType.FLOAT], to=to.value) is Content.SAME
    assert content_after("Sub", (0.0, 1.0), [ir.DataType.UINT8] * 2) == 255.0


@pytest.mark.parametrize("scale", [0.4, 0.0, math.inf])
def test_quantizers(scale: float) -> None:
    """Integers, whatever the scale; numbers are rounded in float32: 1.4 / 0.4 is 3.5 there, and less in float64."""
    inputs = [ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT))]
    for name, array in (("scale", np.float32(scale)), ("zero", np.uint8(10))):
        value = ir.Value(name=name, const_value=ir.tensor(array))
        ir.Graph([], [], nodes=[], initializers=[value])
        inputs.append(value)
    node, back = ir.node("QuantizeLinear", inputs), ir.node("DequantizeLinear", inputs)

    def after(node: ir.Node, content: AtPadding) -> AtPadding:
        state = follow(node, [ByToken(*AXES, content), None, None])
        assert isinstance(state, ByToken)
        return state.at_padding

    is_usual = scale == 0.4
    assert after(node, float(np.float32(1.4))) == (14.0 if is_usual else Content.STEADY)
    assert after(node, Content.SAME) is Content.STEADY
    assert after(node, Content.FINITE) is Content.FINITE
    assert after(node, Content.ANY) is Content.ANY
    assert after(back, 10.0) == (0.0 if is_usual else Content.STEADY if scale == 0 else Content.SAME)
    assert after(back, Content.FINITE) is (Content.ANY if scale == math.inf else Content.FINITE)


@pytest.mark.parametrize(
    ("op", "contents", "expected"),
    [
        ("Mul", (Content.FINITE, 0.0), 0.0),
        ("Mul", (Content.FINITE_OR_SAME, 0.0), Content.ZERO_OR_NAN),
        ("Mul", (Content.FINITE, Content.STEADY), Content.FINITE),
        ("Add", (Content.FINITE, Content.STEADY), Content.FINITE),
        ("Add", (Content.FINITE, Content.SAME), Content.FINITE_OR_SAME),
        ("Div", (Content.FINITE, -2.0), Content.FINITE),
        ("Div", (0.0, Content.SAME), Content.ZERO_OR_NAN),
        ("Tanh", (Content.FINITE,), Content.FINITE),
        ("Sub", (1.0, 1.0), 0.0),
        ("Equal", (0.0, 0.0), 1.0),
    ],
)
def test_nothing_is_given_away(op: str, contents: tuple[AtPadding, ...], expected: AtPadding) -> None:
    assert content_after(op, contents, [ir.DataType.FLOAT] * len(contents)) == expected
