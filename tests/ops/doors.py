"""Models of single `fastep` nodes, and sessions that run them through either door of the library."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from pyfastep.passes import storage
from pyfastep.passes.ops import DOMAIN, VERSION, qlinear

EP_NAME = "FastEPExecutionProvider"
OPSET = 17

Array = npt.NDArray[Any]
Door = Literal["provider", "custom_ops", "both"]
DOORS: tuple[Door, ...] = ("provider", "custom_ops", "both")
NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    "u8": np.dtype(np.uint8),
    "s8": np.dtype(np.int8),
    "f32": np.dtype(np.float32),
}


@dataclasses.dataclass
class Case:
    """One QLinear node: its variant and the values of all inputs but x."""

    variant: qlinear.Variant
    shape: tuple[int, int]
    x_type: np.dtype[Any]
    inputs: dict[str, Array]

    def x(self, *leading: int, seed: int = 1) -> Array:
        """Random activations `[*leading, K]`."""
        info = np.iinfo(self.x_type)
        rng = np.random.default_rng(seed)
        return rng.integers(info.min, info.max + 1, (*leading, self.shape[1])).astype(self.x_type)

    def expected(self, x: Array) -> Array:
        """What every tier and both doors must return, bit for bit."""
        return qlinear.reference(self.variant, {"x": x, **self.inputs}, self.shape)


def make_case(
    name: str,
    n: int = 33,
    k: int = 29,
    *,
    x_type: str = "u8",
    weight_type: str = "s8",
    block: tuple[int, int] = (4, 1),
    density: float = 0.3,
    per_channel: bool = True,
    seed: int = 0,
) -> Case:
    """A node with random weights whose quantized output covers its range."""
    variant = qlinear.Variant.parse(name)
    assert variant is not None, name
    rng = np.random.default_rng(seed)
    channels = (n,) if per_channel else ()
    x_dtype = NUMPY_TYPES[x_type]
    inputs: dict[str, Array] = {
        "x_scale": np.array(0.03, np.float32),
        "x_zero_point": np.array(rng.integers(3, 90), x_dtype),
        "w_scale": rng.uniform(0.001, 0.003, channels).astype(np.float32),
        "bias": rng.normal(0, 0.5, n).astype(np.float32),
    }
    if variant.sparse:
        stored = storage.encode(random_blocks(rng, n, k, block, density), block)
        inputs |= {"blocks": stored.blocks, "block_gaps": stored.gaps, "w_zero_point": np.zeros(channels, np.int8)}
    else:
        w_dtype, info = NUMPY_TYPES[weight_type], np.iinfo(NUMPY_TYPES[weight_type])
        inputs["weight"] = rng.integers(info.min, info.max + 1, (k, n)).astype(w_dtype)
        inputs["w_zero_point"] = np.full(channels, 0 if weight_type == "s8" else 128, w_dtype)
    if variant.y_type != "f32":
        zero_point = rng.integers(20, 100)
        inputs |= {"y_scale": np.array(0.02 * k**0.5 / 4, np.float32)}
        inputs |= {"y_zero_point": np.array(zero_point, NUMPY_TYPES[variant.y_type])}
    return Case(variant, (n, k), x_dtype, inputs)


def random_blocks(rng: np.random.Generator, n: int, k: int, block: tuple[int, int], density: float) -> Array:
    """An int8 weight `[n, k]` of which about `density` of the blocks are kept."""
    rows, cols = block
    kept = rng.random((-(-n // rows), -(-k // cols))) < density
    mask = np.kron(kept, np.ones(block, bool))[:n, :k]
    return np.where(mask, rng.integers(-127, 128, (n, k)), 0).astype(np.int8)


def decoy_function(variant: qlinear.Variant) -> onnx.FunctionProto:
    """A body of the right type and shape that answers nothing but ones, to find out who runs it instead."""
    ones = numpy_helper.from_array(np.ones(1, NUMPY_TYPES[variant.y_type]))
    shape = helper.make_node("Constant", [], ["weight_shape"])
    shape.attribute.append(
        onnx.AttributeProto(name="value_ints", ref_attr_name="weight_shape", type=onnx.AttributeProto.INTS)
    )
    nodes = [
        shape,
        helper.make_node("Constant", [], ["first"], value_ints=[0]),
        helper.make_node("Gather", ["weight_shape", "first"], ["n"]),
        helper.make_node("Shape", ["x"], ["leading"], end=-1),
        helper.make_node("Concat", ["leading", "n"], ["y_shape"], axis=0),
        helper.make_node("ConstantOfShape", ["y_shape"], ["y"], value=ones),
    ]
    opsets = [helper.make_opsetid("", OPSET)]
    inputs = list(variant.inputs)
    return helper.make_function(DOMAIN, variant.name, inputs, ["y"], nodes, opsets, attributes=["weight_shape"])


def element_type(dtype: np.dtype[Any]) -> int:
    return int(helper.np_dtype_to_tensor_dtype(dtype))


def chain_model(
    cases: list[Case], leading: tuple[str | int | None, ...] = ("B", "S"), *, functions: bool = True
) -> onnx.ModelProto:
    """Nodes one after the other, x -> y; with `functions` each has its decoy body."""
    nodes, constants = [], []
    for i, case in enumerate(cases):
        constants += [numpy_helper.from_array(value, f"{name}{i}") for name, value in case.inputs.items()]
        inputs = ["x" if i == 0 else f"y{i - 1}", *(f"{name}{i}" for name in case.variant.inputs[1:])]
        output = "y" if i == len(cases) - 1 else f"y{i}"
        node = helper.make_node(case.variant.name, inputs, [output], f"linear{i}", domain=DOMAIN)
        node.attribute.append(helper.make_attribute("weight_shape", list(case.shape)))
        nodes.append(node)
    x_info = helper.make_tensor_value_info("x", element_type(cases[0].x_type), [*leading, cases[0].shape[1]])
    y_type = element_type(NUMPY_TYPES[cases[-1].variant.y_type])
    y_info = helper.make_tensor_value_info("y", y_type, [*leading, cases[-1].shape[0]])
    graph = helper.make_graph(nodes, "graph", [x_info], [y_info], constants)
    bodies = {case.variant.name: decoy_function(case.variant) for case in cases}
    return make_model(graph, list(bodies.values()) if functions else [])


def make_model(graph: onnx.GraphProto, functions: list[onnx.FunctionProto]) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=9)


def devices(library: Path) -> list[Any]:
    """The provider's devices; registers the library first if nobody did."""

    def found() -> list[Any]:
        return [device for device in onnxruntime.get_ep_devices() if device.ep_name == EP_NAME]

    if not found():
        onnxruntime.register_execution_provider_library("fastep", str(library))
    return found()


def open_session(
    library: Path,
    model: onnx.ModelProto,
    door: Door = "provider",
    options: dict[str, str] | None = None,
    *,
    intra_op_threads: int = 2,
    parallel_nodes: bool = False,
    config: dict[str, str] | None = None,
) -> onnxruntime.InferenceSession:
    """A session through one door, strict unless `options` say otherwise."""
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = intra_op_threads
    session_options.log_severity_level = 4
    if parallel_nodes:
        session_options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
        session_options.inter_op_num_threads = 4
    for key, value in (config or {}).items():
        session_options.add_session_config_entry(key, value)
    if door != "provider":
        session_options.register_custom_ops_library(str(library))
    if door != "custom_ops":
        session_options.add_provider_for_devices(devices(library), {"strict": "1"} | (options or {}))
    return onnxruntime.InferenceSession(model.SerializeToString(), session_options)


def run(session: onnxruntime.InferenceSession, x: Array) -> Array:
    (y,) = session.run(None, {"x": x})
    return np.asarray(y)
