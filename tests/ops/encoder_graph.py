"""Models of several `fastep` nodes, built together with the numpy reference of every node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pyfastep.passes.ops import DOMAIN

from ..kernels import encoder_oracle as oracle
from ..kernels.plan_capi import AttentionSpec, NormSpec, Quantization, TableSpec
from . import doors
from .doors import NUMPY_TYPES, OPSET, Array

Values = dict[str, Array]
HEADS = 2
Q, K, V = Quantization("u8", 0.025, 121), Quantization("u8", 0.03, 100), Quantization("u8", 0.02, 140)
# What plain nodes of the same names compute.
PLAIN: dict[str, Callable[..., Array]] = {"Abs": np.abs, "Neg": np.negative, "Add": np.add}


@dataclass
class EncoderGraph:
    """Adds nodes one by one; values are names. Random constants follow from `seed` and the order of the calls."""

    seed: int = 0
    block: tuple[int, int] = (4, 4)  # of sparse weights
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    functions: dict[str, onnx.FunctionProto] = field(default_factory=dict)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    types: dict[str, str | int] = field(default_factory=dict)  # element types of values
    steps: list[Callable[[Values], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def add_input(self, name: str, dtype: type[np.generic], *dims: str | int) -> str:
        """A runtime input of the model."""
        self.types[name] = doors.element_type(np.dtype(dtype))
        self.inputs.append(helper.make_tensor_value_info(name, int(self.types[name]), dims))
        return name

    def constant(self, name: str, value: Array) -> str:
        """An initializer that nodes may read as if it were a runtime input."""
        self.constants.append(numpy_helper.from_array(value, name))
        self.steps.append(lambda values: values.update({name: value}))
        return name

    def plain(self, op_type: str, *inputs: str) -> str:
        """A float node of ONNX itself."""
        (y,) = self._node(op_type, list(inputs), {}, ["f32"], domain="")
        self.steps.append(lambda values: values.update({y: PLAIN[op_type](*(values[x] for x in inputs))}))
        return y

    def linear(self, x: str, name: str, n: int, k: int, block: tuple[int, int] | None = None) -> str:
        """A QLinear whose operand may be shared with others."""
        case = doors.make_case(name, n, k, block=block or self.block, seed=self.seed + len(self.nodes))
        case.inputs["x_zero_point"] = np.array(110, case.x_type)
        inputs = [x, *self._constants(case.inputs, case.variant.inputs[1:])]
        self.functions[name] = doors.decoy_function(case.variant)
        (y,) = self._node(name, inputs, {"weight_shape": list(case.shape)}, [case.variant.y_type])
        self.steps.append(lambda values: values.update({y: case.expected(values[x])}))
        return y

    def skip_norm(self, x: str, residual: str, features: int, form: str = "f32_u8") -> list[str]:
        """A SkipLayerNorm; its outputs in the order of `form`."""
        spec, constants = self._norm(features, form)
        inputs = [x, residual, *self._constants(constants)]
        outputs = self._node(f"SkipLayerNorm_{form}", inputs, {"epsilon": spec.epsilon}, form.split("_"))
        self.steps.append(lambda values: self._store(values, outputs, values[x] + values[residual], spec))
        return outputs

    def embed(self, ids: str, positions: str, features: int, form: str = "f32_u8") -> list[str]:
        """An EmbedLayerNorm of 50 words and 256 positions."""
        tables = {name: self.rng.normal(0, 1, (n, features)).astype(np.float32) for name, n in (("w", 50), ("p", 256))}
        spec, constants = self._norm(features, form)
        inputs = [ids, positions, *self._constants(tables | constants)]
        outputs = self._node(f"EmbedLayerNorm_{form}", inputs, {"epsilon": spec.epsilon}, form.split("_"))

        def step(values: Values) -> None:
            rows = [(TableSpec(table), values[i]) for table, i in zip(tables.values(), (ids, positions), strict=True)]
            self._store(values, outputs, oracle.embed(rows), spec)

        self.steps.append(step)
        return outputs

    def attention(
        self,
        qkv: list[str],
        features: int,
        mask: str | None = None,
        hiding: str = "_mask",
        skip_padding: int = 0,
        heads: int = HEADS,
    ) -> str:
        """A QAttention_u8; `hiding` says what a mask is."""
        y = Quantization("u8", 0.01, 110)
        spec = AttentionSpec(heads, 0.25, Q, K, V, y)
        constants: dict[str, Array] = {}
        for name, by in zip("qkvy", (Q, K, V, y), strict=True):
            constants[f"{name}_scale"] = np.array(by.scale, np.float32)
            constants[f"{name}_zero_point"] = np.array(by.zero_point, np.uint8)
        names = self._constants(constants)
        inputs = [*qkv, *names[:6], *([mask] if mask else []), *names[6:]]
        attributes = {"num_heads": heads, "head_size": features // heads, "scale": 0.25, "skip_padding": skip_padding}
        name = f"QAttention_u8{hiding if mask else ''}"
        (output,) = self._node(name, inputs, attributes, ["u8"])

        def step(values: Values) -> None:
            hidden = values[mask] if mask else None
            forms = (hidden, None) if hiding == "_mask" else (None, hidden)
            values[output] = oracle.attention(values[qkv[0]], values[qkv[1]], values[qkv[2]], spec, *forms)

        self.steps.append(step)
        return output

    def layer(
        self, x: str, q: str, features: int, sparse: str, mask: str | None, skip_padding: int = 0
    ) -> tuple[str, str]:
        """One post-norm encoder layer."""
        qkv = [self.linear(q, f"QLinear_u8{sparse}", features, features) for _ in range(3)]
        attended = self.attention(qkv, features, mask, skip_padding=skip_padding)
        x, q = self.skip_norm(self.linear(attended, f"QLinear_f32{sparse}", features, features), x, features)
        up = self.linear(q, f"QLinear_gelu_u8{sparse}", 2 * features + 3, features)
        x, q = self.skip_norm(self.linear(up, f"QLinear_f32{sparse}", features, 2 * features + 3), x, features)
        return x, q

    def model(self, outputs: list[str], *, functions: bool = True) -> onnx.ModelProto:
        """The whole model; with `functions` every op has a body of the right types that answers something else."""
        infos = [helper.make_tensor_value_info(y, self._onnx_type(self.types[y]), None) for y in outputs]
        graph = helper.make_graph(self.nodes, "graph", self.inputs, infos, self.constants)
        return doors.make_model(graph, list(self.functions.values()) if functions else [])

    def expected(self, outputs: list[str], feeds: Values) -> list[Array]:
        """What every door must answer, bit for bit."""
        values = dict(feeds)
        for step in self.steps:
            step(values)
        return [values[y] for y in outputs]

    @staticmethod
    def _onnx_type(element: str | int) -> int:
        return element if isinstance(element, int) else doors.element_type(NUMPY_TYPES[element])

    def _constants(self, values: Values, order: tuple[str, ...] | None = None) -> list[str]:
        names = order or tuple(values)
        i = len(self.nodes)
        self.constants += [numpy_helper.from_array(values[name], f"{name}{i}") for name in names]
        return [f"{name}{i}" for name in names]

    def _norm(self, features: int, form: str) -> tuple[NormSpec, Values]:
        gamma, beta = (self.rng.normal(mean, 0.3, features).astype(np.float32) for mean in (1, 0))
        constants: Values = {"gamma": gamma, "beta": beta}
        kind = form.split("_")[-1]
        if kind == "f32":
            return NormSpec(gamma, beta, 1e-5), constants
        constants["y_scale"] = np.array(0.03, np.float32)
        constants["y_zero_point"] = np.array(110, NUMPY_TYPES[kind])
        return NormSpec(gamma, beta, 1e-5, form.startswith("f32"), Quantization(kind, 0.03, 110)), constants

    def _node(
        self, name: str, inputs: list[str], attributes: dict[str, Any], types: list[str], domain: str = DOMAIN
    ) -> list[str]:
        i = len(self.nodes)
        outputs = [f"v{i}_{j}" for j in range(len(types))]
        self.nodes.append(helper.make_node(name, inputs, outputs, f"node{i}", domain=domain, **attributes))
        self.types |= zip(outputs, types, strict=True)
        if domain and name not in self.functions and not name.startswith("QLinear"):
            self.functions[name] = self._decoy(name, len(inputs), list(attributes), types)
        return outputs

    def _decoy(self, name: str, arity: int, attributes: list[str], types: list[str]) -> onnx.FunctionProto:
        inputs, outputs = [f"i{i}" for i in range(arity)], [f"o{i}" for i in range(len(types))]
        rows = "i0"
        nodes = []
        if name.startswith("Embed"):
            nodes, rows = [helper.make_node("Gather", ["i2", "i0"], ["rows"])], "rows"
        for output, kind in zip(outputs, types, strict=True):
            nodes.append(helper.make_node("Cast", [rows], [output], to=self._onnx_type(kind)))
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_function(DOMAIN, name, inputs, outputs, nodes, opsets, attributes=attributes)

    @staticmethod
    def _store(values: Values, outputs: list[str], z: Array, spec: NormSpec) -> None:
        as_float, quantized = oracle.layer_norm(z, spec)
        results = [as_float] * spec.wants_float + [quantized] * (spec.quantized.type != "f32")
        values.update(zip(outputs, results, strict=True))


def encoder(
    features: int = 32,
    sparse: str = "_sparse",
    layers: int = 2,
    mask_type: type[np.generic] = np.int64,
    skip_padding: tuple[int, ...] = (),
    block: tuple[int, int] = (4, 4),
) -> tuple[EncoderGraph, list[str]]:
    """A small encoder with dynamic shapes, and its outputs: float and quantized. `skip_padding`: of each attention."""
    graph = EncoderGraph(block=block)
    ids = graph.add_input("input_ids", np.int64, "B", "S")
    positions = graph.add_input("position_ids", np.int64, "P", "S")
    mask = graph.add_input("attention_mask", mask_type, "B", "S")
    x, q = graph.embed(ids, positions, features)
    for i in range(layers):
        x, q = graph.layer(x, q, features, sparse, mask, skip_padding[i] if skip_padding else 0)
    return graph, [x, q]


def encoder_feeds(batch: int, length: int, mask_type: type[np.generic] = np.int64, seed: int = 0) -> Values:
    """Random words; masks with right padding, and with holes in every third row."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, length + 1, batch)
    mask = np.arange(length) < lengths[:, None]
    mask[::3] &= rng.random((batch, length))[::3] < 0.7
    return {
        "input_ids": rng.integers(0, 50, (batch, length)),
        "position_ids": np.arange(length)[None],
        "attention_mask": mask.astype(mask_type),
    }
