"""What every unpacking needs: nodes in the place of an operator, and reading its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..edit import add_initializer, insert, remove_dead, replace
from ..match.constants import constant, is_constant

FLOAT = ir.DataType.FLOAT
INT64 = ir.DataType.INT64
BOOL = ir.DataType.BOOL
MICROSOFT = "com.microsoft"
NOT_OURS = ""
"""Why a node is no business of an unpacking: nothing that a user would want to read."""

Unpack = Callable[[ir.Node], "str | None"]
"""Puts plain ops in the place of a node; a string is the reason why not."""

Unpackers = dict[tuple[str, str], Unpack]
"""By domain and op type; the domain of ONNX itself is empty."""


class Writer:
    """Writes nodes in front of one whose place they take.

    Args:
        node: gives its name to the new nodes.
        last: the node whose outputs are replaced, if it is another one.
    """

    def __init__(self, node: ir.Node, last: ir.Node | None = None) -> None:
        self.name = node.name or str(node.outputs[0].name)
        self._last = last or node

    def put(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        label: str = "",
        dtype: ir.DataType | None = FLOAT,
        shape: ir.Shape | Sequence[Any] | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> ir.Value:
        """A node with one output.

        Args:
            op_type: what.
            inputs: its inputs.
            label: goes behind the name of the operator; without one, the node inherits the name itself.
            dtype: element type of the output.
            shape: of the output, if it is known; inference adds others later.
            domain: of the op.
            attributes: Python values.
        """
        name = f"{self.name}/{label}" if label else self.name
        like = ir.Value(shape=shape if shape is None or isinstance(shape, ir.Shape) else ir.Shape(shape))
        return insert(
            self._last,
            op_type,
            inputs,
            name=name,
            inherits=not label,
            like=like,
            dtype=dtype,
            domain=domain,
            attributes=attributes,
        )

    def constant(self, label: str, array: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> ir.Value:
        """An initializer."""
        graph = self._last.graph
        assert graph is not None  # nodes of a model belong to a graph
        return add_initializer(graph, f"{self.name}/{label}", np.asarray(array, dtype))

    def finish(self, *results: ir.Value | None) -> None:
        """Lets all that read the operator's outputs read these, and removes it."""
        for output, result in zip(self._last.outputs, results, strict=False):
            if result is None:
                continue
            if output.shape is not None:
                result.shape, result.type = output.shape, output.type or result.type
            replace(output, result)
        remove_dead([self._last])


def given(node: ir.Node, index: int) -> ir.Value | None:
    """An input that may be left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def is_used(node: ir.Node, index: int) -> bool:
    """Whether anything reads an output."""
    return index < len(node.outputs) and (bool(node.outputs[index].uses()) or node.outputs[index].is_graph_output())


def all_constant(node: ir.Node, *indices: int) -> bool:
    """Whether all of these inputs that are given are constant."""
    values = [given(node, index) for index in indices]
    return all(value is None or is_constant(value) for value in values)


def float_attribute(node: ir.Node, name: str, default: float) -> float:
    """A float attribute, or its default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_float()


def dequantize(writer: Writer, label: str, inputs: Sequence[ir.Value | None], axis: int = 1) -> ir.Value:
    """DQ(data, scale, zero point); `axis` counts if there is more than one scale."""
    data, scale, *zero_point = (value for value in inputs if value is not None)
    scales = constant(scale)
    attributes: dict[str, Any] = {"axis": axis} if scales is not None and scales.size > 1 else {}
    return writer.put("DequantizeLinear", data, scale, *zero_point, label=label, shape=data.shape, **attributes)


def quantize(writer: Writer, label: str, value: ir.Value, parameters: Sequence[ir.Value | None]) -> ir.Value:
    """Q(value, scale, zero point)."""
    zero_point = constant(parameters[1]) if len(parameters) > 1 else None
    dtype = ir.DataType.UINT8 if zero_point is None else ir.DataType.from_numpy(zero_point.dtype)
    inputs = [entry for entry in parameters if entry is not None]
    return writer.put("QuantizeLinear", value, *inputs, label=label, dtype=dtype, shape=value.shape)
