"""Activations in any spelling.

Exporters write GELU in a dozen ways. Instead of a pattern for each, the elementwise nodes behind a value are evaluated
on sample points: what agrees with an activation on all of them is that activation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .constants import constant, is_constant, is_default_domain, is_op
from .dims import rank_of
from .quantizers import Scale, rounding_scale

Samples = npt.NDArray[np.float64]

_MAX_NODES = 24
_POINTS: Samples = np.concatenate([np.linspace(-8, 8, 129), [-40.0, -0.01, 0.003, 40.0]])
# The two GELUs differ by up to 5e-4; constants written with 5 digits (0.79788) move a value by less than 2e-5.
_TOLERANCE = 3e-5


def _erf(x: Samples) -> Samples:
    """Error function, Abramowitz and Stegun 7.1.26 (error below 1.5e-7)."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.asarray(np.sign(x) * (1 - poly * np.exp(-x * x)))


def _gelu(x: Samples) -> Samples:
    return x / 2 * (1 + _erf(x / np.sqrt(2)))


def _gelu_tanh(x: Samples) -> Samples:
    return np.asarray(x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))


def _relu(x: Samples) -> Samples:
    return np.maximum(x, 0)


_KINDS: dict[str, Callable[[Samples], Samples]] = {"relu": _relu, "gelu": _gelu, "gelutanh": _gelu_tanh}

_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
    "Max": np.maximum,
    "Neg": np.negative,
    "Erf": _erf,
    "Tanh": np.tanh,
    "Relu": _relu,
    "Identity": np.asarray,
}


@dataclasses.dataclass(frozen=True)
class ActivationMatch:
    """An activation behind a linear.

    Attributes:
        kind: `relu`, `gelu` or `gelutanh`.
        output: the value after it.
        pairs: Q/DQ pairs inside.
    """

    kind: str
    output: ir.Value
    pairs: int


class _Region:
    """The elementwise nodes behind a value, with what they make of the sample points."""

    def __init__(self, start: ir.Value) -> None:
        self.start = start
        self.samples: dict[ir.Value, Samples] = {start: _POINTS}
        self.nodes: dict[ir.Node, None] = {}
        self._rank = rank_of(start) or 1  # a constant with more axes would add some to the result

    def grow(self) -> ActivationMatch | None:
        """Adds nodes in order of dependence until one of them yields an activation."""
        waiting = self._readers(self.start)
        while waiting and len(self.nodes) < _MAX_NODES:
            node = waiting.pop(0)
            if node in self.nodes:
                continue
            result = self._evaluate(node)
            if result is None:
                continue
            self.nodes[node] = None
            output = node.outputs[0]
            self.samples[output] = result
            match = self._recognise(output)
            if match is not None:
                return match
            waiting += self._readers(output)
        return None

    def _readers(self, value: ir.Value) -> list[ir.Node]:
        """Those of the value's own graph: what is inside a branch stays there."""
        return [use.node for use in value.uses() if use.node.graph is self.start.graph]

    def _evaluate(self, node: ir.Node) -> Samples | None:
        """The node's output, or None if it is not elementwise or depends on anything else."""
        if is_op(node, "QuantizeLinear", "DequantizeLinear"):
            return self._evaluate_pair(node)
        function = _function_of(node)
        if function is None:
            return None
        arguments = [self._argument(value) for value in node.inputs]
        if any(argument is None for argument in arguments):
            return None
        with np.errstate(all="ignore"):
            return np.asarray(function(*arguments), np.float64)

    def _argument(self, value: ir.Value | None) -> Samples | None:
        if value is None or is_op(value.producer(), "QuantizeLinear"):
            return None  # arithmetic on quantized data is another
        if value in self.samples:
            return self.samples[value]
        if not is_constant(value) or (
            value.shape is not None and value.shape.is_static() and value.shape.numpy() not in _ONE
        ):
            return None
        number = constant(value)
        if number is None or number.size != 1 or number.ndim > self._rank or number.dtype.kind not in "fiu":
            return None
        return number.reshape(()).astype(np.float64)

    def _evaluate_pair(self, node: ir.Node) -> Samples | None:
        """Q and DQ are transparent, but for the clamp of a quantizer that knows one sign only."""
        scale = rounding_scale(node)
        source = node.inputs[0]
        if not isinstance(scale, Scale) or source not in self.samples:
            return None
        values = self.samples[source]
        if is_op(node, "DequantizeLinear") or not scale.is_one_sided:
            return values
        return (
            np.maximum(values, 0)
            if int(scale.zero_point) == np.iinfo(scale.zero_point.dtype).min
            else np.minimum(values, 0)
        )

    def _recognise(self, output: ir.Value) -> ActivationMatch | None:
        producer = output.producer()
        if is_op(producer, "QuantizeLinear", "DequantizeLinear"):
            return None  # a quantizer that clamps at 0 is the output's own
        for kind, function in _KINDS.items():
            if np.allclose(self.samples[output], function(_POINTS), rtol=_TOLERANCE, atol=_TOLERANCE):
                inside = self._nodes_behind(output)
                pairs = sum(is_op(node, "DequantizeLinear") for node in inside)
                return ActivationMatch(kind, output, pairs) if self._is_closed(inside, output) else None
        return None

    def _nodes_behind(self, output: ir.Value) -> set[ir.Node]:
        found: set[ir.Node] = set()
        waiting = [output.producer()]
        while waiting:
            node = waiting.pop()
            if node is not None and node in self.nodes and node not in found:
                found.add(node)
                waiting += [value.producer() for value in node.inputs if value is not None]
        return found

    def _is_closed(self, inside: set[ir.Node], output: ir.Value) -> bool:
        """Whether nothing else reads a value inside: it would have to be computed a second time."""
        values = [self.start, *(node.outputs[0] for node in inside if node.outputs[0] is not output)]
        return not any(
            v.is_graph_output() or any(u.node not in inside and not is_op(u.node, "Shape") for u in v.uses())
            for v in values
        )


_ONE = ((), (1,), (1, 1), (1, 1, 1))


def _function_of(node: ir.Node) -> Callable[..., Any] | None:
    if is_default_domain(node) and node.op_type == "Gelu":
        approximate = node.attributes.get("approximate")
        return _gelu_tanh if approximate is not None and approximate.as_string() == "tanh" else _gelu
    if is_default_domain(node):
        return _ELEMENTWISE.get(node.op_type)
    if node.domain == "com.microsoft" and len([v for v in node.inputs if v is not None]) == 1:
        return {"Gelu": _gelu, "FastGelu": _gelu_tanh}.get(node.op_type)
    return None


def match_activation(start: ir.Value) -> ActivationMatch | None:
    """Finds the activation that a value goes through, alone.

    Args:
        start: the value before it.
    """
    if start.is_graph_output():
        return None
    return _Region(start).grow()
