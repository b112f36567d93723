"""Writes function bodies node by node."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

FIRST_OPSET_WITH_AXES_INPUT = 18
"""From here on, ReduceMax and others take their axes as an input instead of an attribute."""


class Body:
    """Collects the nodes of a function body; every method returns the name of what it adds.

    Args:
        opset: version of the default domain that the body is written in.
    """

    def __init__(self, opset: int = 17) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._opset = opset

    def add(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """A node of ONNX with one output."""
        self.nodes.append(onnx.helper.make_node(op_type, inputs, [output], **attributes))
        return output

    def ints(self, output: str, values: list[int]) -> str:
        """A constant `[n]` of integers."""
        return self.add("Constant", [], output, value_ints=values)

    def scalar(self, output: str, value: float) -> str:
        """A float32 constant."""
        return self.add("Constant", [], output, value_float=value)

    def tensor(self, output: str, array: np.ndarray[Any, Any]) -> str:
        """A constant of any type."""
        return self.add("Constant", [], output, value=onnx.numpy_helper.from_array(array, output))

    def attribute(self, output: str, attribute: str, key: str) -> str:
        """A constant that takes its value from an attribute of the call.

        Args:
            output: name of the constant.
            attribute: name of the call's attribute.
            key: attribute of Constant that it becomes: `value_int`, `value_ints` or `value_float`.
        """
        self.add("Constant", [], output)
        self.refer(key, attribute, _ATTRIBUTE_TYPES[key])
        return output

    def refer(self, key: str, attribute: str, kind: Any) -> None:
        """Gives the last node an attribute that takes its value from one of the call."""
        reference = onnx.AttributeProto(name=key, ref_attr_name=attribute, type=kind)
        self.nodes[-1].attribute.append(reference)

    def reduce(self, op_type: str, x: str, axis: int, output: str) -> str:
        """A reduction over one axis, which stays with size 1."""
        if self._opset < FIRST_OPSET_WITH_AXES_INPUT:
            return self.add(op_type, [x], output, axes=[axis], keepdims=1)
        return self.add(op_type, [x, self.ints(f"{output}_axes", [axis])], output, keepdims=1)


_ATTRIBUTE_TYPES = {
    "value_int": onnx.AttributeProto.INT,
    "value_ints": onnx.AttributeProto.INTS,
    "value_float": onnx.AttributeProto.FLOAT,
}
