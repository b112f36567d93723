"""Models of one `fastep` node and its function, run by stock ONNX Runtime or by onnx's reference implementation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.reference
from onnx import helper, numpy_helper

from pyfastep.passes.ops import DOMAIN
from pyfastep.passes.ops.registry import find_op

from ..stock import exact_session

Array = npt.NDArray[Any]

UNIT = 2.0**-24
TYPES: dict[str, Any] = {"u8": np.uint8, "s8": np.int8, "f32": np.float32}


EVALUATOR_OPSET = 19
"""The first opset whose quantizers onnx's reference implementation knows."""


def one_node(
    name: str,
    inputs: Mapping[str, Any],
    fed: list[str],
    outputs: Mapping[str, tuple[Any, int]],
    opset: int,
    **attributes: Any,
) -> onnx.ModelProto:
    """A checked model.

    Args:
        name: the op.
        inputs: arrays by name.
        fed: the names among them that are inputs of the model; the others are initializers.
        outputs: type and rank by name.
        opset: of the model and the function.
        attributes: of the node.
    """
    op = find_op(name)
    assert op is not None
    arrays = {key: np.asarray(inputs[key]) for key in op.inputs}
    entries = [
        helper.make_tensor_value_info(
            key, helper.np_dtype_to_tensor_dtype(arrays[key].dtype), _dims(key, arrays[key].ndim)
        )
        for key in fed
    ]
    results = [
        helper.make_tensor_value_info(key, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), _dims(key, rank))
        for key, (dtype, rank) in outputs.items()
    ]
    node = helper.make_node(name, list(op.inputs), list(outputs), domain=DOMAIN, **attributes)
    constants = [numpy_helper.from_array(array, key) for key, array in arrays.items() if key not in fed]
    graph = helper.make_graph([node], "g", entries, results, constants)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    ir_version = 10 if opset > 20 else 8
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, functions=[op.build_function(opset)])
    onnx.checker.check_model(model, full_check=True)
    return model


def _dims(key: str, rank: int) -> list[str]:
    return [f"{key}_{axis}" for axis in range(rank)]


def run_runtime(model: onnx.ModelProto, feeds: Mapping[str, Array], optimized: bool = True) -> list[Array]:
    session = exact_session(model.SerializeToString(), optimized=optimized, intra_op_num_threads=1)
    return [np.asarray(result) for result in session.run(None, dict(feeds))]


def run_evaluator(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """A second implementation of ONNX, written by others."""
    results: Any = onnx.reference.ReferenceEvaluator(model).run(None, dict(feeds))
    return [np.asarray(result) for result in results]
