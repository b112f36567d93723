"""Models of single nodes of the encoder's ops, with what they must answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from pyfastep.passes.ops import DOMAIN

from ..kernels import encoder_oracle as oracle
from ..kernels.plan_capi import AttentionSpec, NormSpec, Quantization, TableSpec
from . import doors
from .doors import NUMPY_TYPES, Array, Door

NORM_FORMS = ("f32", "u8", "s8", "f32_u8", "f32_s8")


@dataclass(frozen=True)
class Case:
    """One node: constants by input name, a decoy body, runtime inputs and what they must give."""

    name: str
    inputs: dict[str, Array | None]  # in the op's order; None: given to Run
    attributes: dict[str, Any]
    outputs: list[str]  # element types
    body: list[onnx.NodeProto]  # of the right types and shapes, and wrong; reads the function's inputs, makes y0, y1
    feeds: dict[str, Array]
    expected: list[Array]

    def model(self, *, functions: bool) -> onnx.ModelProto:
        names = [f"y{i}" for i in range(len(self.outputs))]
        node = helper.make_node(self.name, list(self.inputs), names, "node", domain=DOMAIN, **self.attributes)
        constants = [numpy_helper.from_array(v, k) for k, v in self.inputs.items() if v is not None]
        dims = [
            helper.make_tensor_value_info(k, doors.element_type(v.dtype), [f"{k}{i}" for i in range(v.ndim)])
            for k, v in self.feeds.items()
        ]
        results = [
            helper.make_tensor_value_info(n, doors.element_type(NUMPY_TYPES[t]), None)
            for n, t in zip(names, self.outputs, strict=True)
        ]
        graph = helper.make_graph([node], "graph", dims, results, constants)
        opsets = [helper.make_opsetid("", doors.OPSET)]
        body = helper.make_function(
            DOMAIN, self.name, list(self.inputs), names, self.body, opsets, attributes=list(self.attributes)
        )
        return doors.make_model(graph, [body] if functions else [])


def decoys(source: str, outputs: list[str]) -> list[onnx.NodeProto]:
    types = [doors.element_type(NUMPY_TYPES[t]) for t in outputs]
    return [helper.make_node("Cast", [source], [f"y{i}"], to=t) for i, t in enumerate(types)]


def norm_spec(rng: np.random.Generator, features: int, form: str) -> tuple[NormSpec, dict[str, Array], list[str]]:
    outputs = form.split("_")
    quantized = Quantization(outputs[-1], 0.03, 5) if outputs[-1] != "f32" else Quantization()
    gamma, beta = (rng.normal(mean, 0.3, features).astype(np.float32) for mean in (1, 0))
    inputs: dict[str, Array] = {"gamma": gamma, "beta": beta}
    if outputs[-1] != "f32":
        inputs["y_scale"] = np.array(quantized.scale, np.float32)
        inputs["y_zero_point"] = np.array(quantized.zero_point, NUMPY_TYPES[quantized.type])
    return NormSpec(gamma, beta, 1e-5, outputs[0] == "f32", quantized), inputs, outputs


def wanted(z: Array, spec: NormSpec) -> list[Array]:
    as_float, quantized = oracle.layer_norm(z, spec)
    return [as_float] * spec.wants_float + [quantized] * (spec.quantized.type != "f32")


def skip_case(form: str) -> Case:
    rng = np.random.default_rng(1)
    spec, constants, outputs = norm_spec(rng, 45, form)
    x, residual = (rng.normal(0, 2, (3, 7, 45)).astype(np.float32) for _ in range(2))
    inputs: dict[str, Array | None] = {"x": None, "residual": None, **constants}
    feeds = {"x": x, "residual": residual}
    name = f"SkipLayerNorm_{form}"
    return Case(name, inputs, {"epsilon": 1e-5}, outputs, decoys("x", outputs), feeds, wanted(x + residual, spec))


def embed_case(form: str, with_types: bool, quant: bool, counted: bool = False) -> Case:
    rng = np.random.default_rng(2)
    spec, constants, outputs = norm_spec(rng, 24, form)
    ids_names = ["input_ids", "position_ids", "token_type_ids"][: 2 + with_types]
    ids = {n: rng.integers(0, rows, (2, 9)) for n, rows in zip(ids_names, (31, 40, 2), strict=False)}
    if counted:
        ids["position_ids"] = np.arange(9)[None]
    feeds = {n: v for n, v in ids.items() if not (counted and n == "position_ids")}
    tables, inputs = [], dict[str, Array | None](dict.fromkeys(feeds))
    for name, rows in zip(["word", "position", "type"][: len(ids_names)], (31, 40, 2), strict=False):
        if quant:
            table = TableSpec(rng.integers(-128, 128, (rows, 24)).astype(np.int8), Quantization("s8", 0.02, -3))
            inputs |= {name: table.data, f"{name}_scale": np.array(0.02, np.float32)}
            inputs[f"{name}_zero_point"] = np.array(-3, np.int8)
        else:
            table = TableSpec(rng.normal(0, 1, (rows, 24)).astype(np.float32))
            inputs[name] = table.data
        tables.append(table)
    z = oracle.embed(list(zip(tables, ids.values(), strict=True)))
    tokens = "_type" * with_types + "_counted" * counted
    name = f"EmbedLayerNorm{tokens}_{form}{'_quant' if quant else ''}"
    body = [helper.make_node("Gather", ["word", "input_ids"], ["rows"]), *decoys("rows", outputs)]
    return Case(name, {**inputs, **constants}, {"epsilon": 1e-5}, outputs, body, feeds, wanted(z, spec))


def attention_case(
    y_type: str, hiding: str, types: tuple[str, str, str] = ("u8", "s8", "u8"), heads: tuple[int, int] = (3, 12)
) -> Case:
    """QAttention, or FAttention if the types of q, k and v are f32; heads: how many, of which size."""
    rng = np.random.default_rng(3)
    is_float = types[0] == "f32"
    q, k, v = (Quantization() if is_float else Quantization(t, 0.025, 3 if t == "s8" else 121) for t in types)
    y = Quantization(y_type, 0.01, {"u8": 120, "s8": -3, "f32": 0}[y_type])
    spec = AttentionSpec(heads[0], 0.3, q, k, v, y)
    feeds: dict[str, Array] = {}
    inputs: dict[str, Array | None] = dict.fromkeys("qkv")
    for name, by in zip("qkv", (q, k, v), strict=True):
        feeds[name] = operand(rng, (4, 11, heads[0] * heads[1]), by.type)
        if not is_float:
            inputs[f"{name}_scale"] = np.array(by.scale, np.float32)
            inputs[f"{name}_zero_point"] = np.array(by.zero_point, NUMPY_TYPES[by.type])
    mask = bias = None
    if hiding == "_mask":
        mask = (np.arange(11) < np.array([11, 4, 0, 7])[:, None]).astype(np.int64)
    if hiding == "_bias":
        bias = rng.normal(0, 2, (1, heads[0], 11, 11)).astype(np.float32)
    if hiding:
        inputs["mask"] = None
        feeds["mask"] = mask if mask is not None else np.asarray(bias)
    if y_type != "f32":
        inputs["y_scale"] = np.array(y.scale, np.float32)
        inputs["y_zero_point"] = np.array(y.zero_point, NUMPY_TYPES[y_type])
    attributes = {"num_heads": heads[0], "head_size": heads[1], "scale": 0.3}
    attend = oracle.float_attention if is_float else oracle.attention
    expected = attend(feeds["q"], feeds["k"], feeds["v"], spec, mask, bias)
    name = f"{'F' if is_float else 'Q'}Attention_{y_type}{hiding}"
    return Case(name, inputs, attributes, [y_type], decoys("q", [y_type]), feeds, [expected])


def operand(rng: np.random.Generator, shape: tuple[int, ...], element: str) -> Array:
    """Random values that use the range of their type."""
    if element == "f32":
        return rng.normal(0, 1, shape).astype(np.float32)
    low = 0 if element == "u8" else -128
    return np.asarray(rng.integers(low, low + 256, shape).astype(NUMPY_TYPES[element]))


def open_case(library: Path, case: Case, door: Door) -> onnxruntime.InferenceSession:
    """A session of the node; without functions only the custom ops know it."""
    return doors.open_session(library, case.model(functions=door == "provider"), door)


def check(library: Path, case: Case, door: Door) -> None:
    """Runs the node and compares every output."""
    found = open_case(library, case, door).run(None, case.feeds)
    for y, expected in zip(found, case.expected, strict=True):
        assert y.dtype == expected.dtype
        assert np.array_equal(y, expected)


def check_decoy(case: Case) -> None:
    """Without FastEP the body would answer, and `check` would fail."""
    model = case.model(functions=True).SerializeToString()
    plain = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for y, expected in zip(plain.run(None, case.feeds), case.expected, strict=True):
        assert y.shape == expected.shape
        assert not np.array_equal(y, expected)
