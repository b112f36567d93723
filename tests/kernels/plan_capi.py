"""ctypes view of ep/capi/plan.cc: build and run an `EncoderPlan` of ep/core/plan."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field

import numpy as np

from .capi import ELEMENT_TYPES, TIERS, Array, Capi, LinearSpec, _c_args, guarded

# As TensorType in ep/core/plan/types.h.
TENSOR_TYPES = [np.dtype(t) for t in (np.uint8, np.int8, np.float32, np.int32, np.int64, np.bool_)]
NONE = -1


@dataclass(frozen=True)
class Quantization:
    """Element type (u8, s8, or f32: none), scale and zero point."""

    type: str = "f32"
    scale: float = 1.0
    zero_point: int = 0


@dataclass(frozen=True)
class NormSpec:
    """LayerNorm and the forms in which its result is wanted."""

    gamma: Array
    beta: Array
    epsilon: float = 1e-12
    wants_float: bool = True
    quantized: Quantization = Quantization()


@dataclass(frozen=True)
class TableSpec:
    """An embedding table `[rows, H]`."""

    data: Array
    quantization: Quantization = Quantization()


@dataclass(frozen=True)
class AttentionSpec:
    """All but the operands of a QAttention, or of an FAttention if q, k and v are f32."""

    num_heads: int
    scale: float
    q: Quantization
    k: Quantization
    v: Quantization
    y: Quantization


class _Quantization(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("scale", ctypes.c_float), ("zero_point", ctypes.c_int32)]


class _Norm(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("features", ctypes.c_int64),
        ("gamma", ctypes.c_void_p),
        ("beta", ctypes.c_void_p),
        ("epsilon", ctypes.c_float),
        ("wants_float", ctypes.c_int32),
        ("quantized", _Quantization),
    ]


class _Table(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("quantization", _Quantization),
        ("ids", ctypes.c_int32),
    ]


class _Attention(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("num_heads", ctypes.c_int64),
        ("scale", ctypes.c_float),
        ("q", _Quantization),
        ("k", _Quantization),
        ("v", _Quantization),
        ("y", _Quantization),
        ("mask", ctypes.c_int32),
        ("bias", ctypes.c_int32),
    ]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("shape", ctypes.c_int64 * 8),
        ("data", ctypes.c_void_p),
    ]


def _c_quantization(x: Quantization) -> _Quantization:
    return _Quantization(list(ELEMENT_TYPES).index(x.type), x.scale, x.zero_point)


def _c_tensor(array: Array) -> _Tensor:
    shape = (ctypes.c_int64 * 8)(*array.shape)
    return _Tensor(TENSOR_TYPES.index(array.dtype), array.ndim, shape, array.ctypes.data)


@dataclass
class PlanBuilder:
    """Values and inputs are the integers of the C ABI."""

    capi: Capi
    keep: list[Array] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    types: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        library = self.capi.library
        library.fastep_plan_builder.restype = ctypes.c_void_p
        self.handle = ctypes.c_void_p(library.fastep_plan_builder())

    def __del__(self) -> None:
        self.capi.library.fastep_plan_builder_free(self.handle)

    def _own(self, array: Array, dtype: np.dtype[np.generic] | type) -> int:
        self.keep.append(np.array(array, dtype, order="C"))
        return int(self.keep[-1].ctypes.data)

    def activation(self, name: str, element: str, features: int) -> int:
        """An input `[..., features]`."""
        index = list(ELEMENT_TYPES).index(element)
        add = self.capi.library.fastep_plan_activation
        value = int(add(self.handle, name.encode(), index, ctypes.c_int64(features)))
        self.types[value] = element
        return value

    def tensor(self, kind: str, name: str) -> int:
        """An input of kind ids or mask."""
        return int(getattr(self.capi.library, f"fastep_plan_{kind}")(self.handle, name.encode()))

    def bias(self, name: str, heads: int) -> int:
        """An input that attentions of so many heads add to their scores."""
        return int(self.capi.library.fastep_plan_bias(self.handle, name.encode(), ctypes.c_int64(heads)))

    def linear(self, x: int, spec: LinearSpec) -> int:
        """QLinear."""
        args = _c_args(spec, self.keep)
        y = ctypes.c_int32()
        self.capi.check(self.capi.library.fastep_plan_linear(self.handle, x, ctypes.byref(args), ctypes.byref(y)))
        self.types[y.value] = spec.y_type
        return y.value

    def _norm(self, spec: NormSpec) -> _Norm:
        return _Norm(
            b"test/norm",
            spec.gamma.size,
            self._own(spec.gamma, np.float32),
            self._own(spec.beta, np.float32),
            spec.epsilon,
            spec.wants_float,
            _c_quantization(spec.quantized),
        )

    def _norm_values(self, spec: NormSpec, y: ctypes.Array[ctypes.c_int32]) -> tuple[int, int]:
        self.types |= {y[0]: "f32", y[1]: spec.quantized.type}
        return y[0], y[1]

    def skip_layer_norm(self, x: int, residual: int, spec: NormSpec) -> tuple[int, int]:
        """SkipLayerNorm: values in f32 and quantized, -1 if not wanted."""
        args, y = self._norm(spec), (ctypes.c_int32 * 2)()
        self.capi.check(self.capi.library.fastep_plan_skip_layer_norm(self.handle, x, residual, ctypes.byref(args), y))
        return self._norm_values(spec, y)

    def embed_layer_norm(self, spec: NormSpec, tables: list[tuple[TableSpec, int]]) -> tuple[int, int]:
        """EmbedLayerNorm of tables with the inputs that hold their ids."""
        args, y = self._norm(spec), (ctypes.c_int32 * 2)()
        c_tables = (_Table * len(tables))(
            *(
                _Table(self._own(t.data, t.data.dtype), len(t.data), _c_quantization(t.quantization), ids)
                for t, ids in tables
            )
        )
        embed = self.capi.library.fastep_plan_embed_layer_norm
        self.capi.check(embed(self.handle, ctypes.byref(args), c_tables, len(tables), y))
        return self._norm_values(spec, y)

    def attention(
        self,
        q: int,
        k: int,
        v: int,
        spec: AttentionSpec,
        mask: int = NONE,
        bias: int = NONE,
        name: str = "test/attention",
    ) -> int:
        """QAttention or FAttention."""
        quantizations = (_c_quantization(x) for x in (spec.q, spec.k, spec.v, spec.y))
        args = _Attention(name.encode(), spec.num_heads, spec.scale, *quantizations, mask, bias)
        y = ctypes.c_int32()
        add = self.capi.library.fastep_plan_attention
        self.capi.check(add(self.handle, q, k, v, ctypes.byref(args), ctypes.byref(y)))
        self.types[y.value] = spec.y.type
        return y.value

    def output(self, value: int) -> None:
        """The next output of the plan."""
        self.outputs.append(self.types[value])
        self.capi.library.fastep_plan_output(self.handle, value)

    def skip_padding(self, mask: int) -> None:
        """Tokens of right padding are not computed."""
        self.capi.library.fastep_plan_skip_padding(self.handle, mask)

    def build(self, tier: str) -> Plan:
        """Packs for a tier."""
        handle = ctypes.c_void_p()
        self.capi.check(self.capi.library.fastep_plan_build(self.handle, TIERS.index(tier), ctypes.byref(handle)))
        return Plan(self.capi, handle, list(self.outputs))


@dataclass
class Plan:
    """A compiled plan."""

    capi: Capi
    handle: ctypes.c_void_p
    outputs: list[str]

    def __del__(self) -> None:
        self.capi.library.fastep_plan_free.argtypes = [ctypes.c_void_p]
        self.capi.library.fastep_plan_free(self.handle)

    def summary(self) -> str:
        """What the library says about it."""
        text = ctypes.create_string_buffer(512)
        size = self.capi.library.fastep_plan_summary(self.handle, text, ctypes.c_int64(512))
        return text.raw[:size].decode()

    def run(self, *inputs: Array, threads: int = 1) -> list[Array]:
        """Outputs, row-major, between zones that must stay untouched."""
        arrays = [np.ascontiguousarray(x) for x in inputs]
        c_inputs = (_Tensor * len(arrays))(*(_c_tensor(x) for x in arrays))
        c_outputs = (_Tensor * len(self.outputs))()
        library = self.capi.library
        self.capi.check(library.fastep_plan_output_shapes(self.handle, c_inputs, len(arrays), c_outputs))
        shapes = [tuple(t.shape[: t.rank]) for t in c_outputs]
        ys = [guarded(shape, ELEMENT_TYPES[t], zone=260) for shape, t in zip(shapes, self.outputs, strict=True)]
        for tensor, y in zip(c_outputs, ys, strict=True):
            tensor.data = y.data.ctypes.data
        run = library.fastep_plan_run
        self.capi.check(run(self.handle, c_inputs, len(arrays), c_outputs, len(ys), threads))
        for y in ys:
            y.check()
        return [y.data for y in ys]
