"""ctypes view of libfastep_capi.so (ep/capi): the kernels and `Linear` of ep/core, with numpy arrays in and out."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

TIERS = ("scalar", "avx2", "avxvnni", "avx512vnni", "amx")
KINDS = ("dense", "1x4", "2x4", "4x4", "8x4", "4x1")
ACTIVATIONS = ("none", "relu", "gelu", "gelutanh")
ELEMENT_TYPES: dict[str, np.dtype[Any]] = {
    "u8": np.dtype(np.uint8),
    "s8": np.dtype(np.int8),
    "f32": np.dtype(np.float32),
}

Array = npt.NDArray[Any]


class CoreError(Exception):
    """fastep::Error, as it crossed the C ABI."""


class _LinearArgs(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("n", ctypes.c_int64),
        ("k", ctypes.c_int64),
        ("dense", ctypes.c_void_p),
        ("dense_is_unsigned", ctypes.c_int32),
        ("blocks", ctypes.c_void_p),
        ("block_gaps", ctypes.c_void_p),
        ("gaps_are_u16", ctypes.c_int32),
        ("n_blocks", ctypes.c_int64),
        ("block_rows", ctypes.c_int64),
        ("block_cols", ctypes.c_int64),
        ("x_type", ctypes.c_int32),
        ("x_scale", ctypes.c_float),
        ("x_zero_point", ctypes.c_int32),
        ("w_scale", ctypes.c_void_p),
        ("w_scale_count", ctypes.c_int64),
        ("w_zero_point", ctypes.c_void_p),
        ("w_zero_point_count", ctypes.c_int64),
        ("bias", ctypes.c_void_p),
        ("activation", ctypes.c_int32),
        ("y_type", ctypes.c_int32),
        ("y_scale", ctypes.c_float),
        ("y_zero_point", ctypes.c_int32),
    ]


class _LinearInfo(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_int32),
        ("density", ctypes.c_double),
        ("work_density", ctypes.c_double),
        ("packed_bytes", ctypes.c_uint64),
        ("predicted_cycles_per_token", ctypes.c_double),
    ]


@dataclass(frozen=True)
class SparseWeight:
    """A weight `[N, K]` as docs/op-contract.md stores it: `blocks [n_blocks, R, C]` and `gaps [n_blocks]`."""

    shape: tuple[int, int]
    blocks: Array
    gaps: Array


@dataclass(frozen=True)
class LinearSpec:
    """All inputs of a QLinear. `weight` is dense `[K, N]` or sparse."""

    weight: Array | SparseWeight
    w_scale: Array
    w_zero_point: Array
    bias: Array
    x_type: str = "u8"
    x_scale: float = 1.0
    x_zero_point: int = 0
    activation: str = "none"
    y_type: str = "f32"
    y_scale: float = 1.0
    y_zero_point: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """`(N, K)`."""
        if isinstance(self.weight, SparseWeight):
            return self.weight.shape
        k, n = self.weight.shape
        return n, k


@dataclass(frozen=True)
class LinearInfo:
    """What the library says about a packed layer."""

    kind: str
    density: float
    work_density: float
    packed_bytes: int
    predicted_cycles_per_token: float


def _pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _c_args(spec: LinearSpec, keep: list[Array]) -> _LinearArgs:
    """Fills the C struct; `keep` holds what it points to."""

    def own(array: Array, dtype: npt.DTypeLike) -> int:
        keep.append(np.array(array, dtype, order="C"))
        return int(keep[-1].ctypes.data)

    args = _LinearArgs(name=b"test/linear")
    args.n, args.k = spec.shape
    if isinstance(spec.weight, SparseWeight):
        args.blocks = own(spec.weight.blocks, np.int8)
        args.block_gaps = own(spec.weight.gaps, spec.weight.gaps.dtype)
        args.gaps_are_u16 = spec.weight.gaps.dtype == np.uint16
        args.n_blocks, args.block_rows, args.block_cols = spec.weight.blocks.shape
        weight_type = np.dtype(np.int8)
    else:
        weight_type = spec.weight.dtype
        args.dense = own(spec.weight, weight_type)
        args.dense_is_unsigned = weight_type == np.uint8
    args.x_type = list(ELEMENT_TYPES).index(spec.x_type)
    args.x_scale, args.x_zero_point = spec.x_scale, spec.x_zero_point
    args.w_scale, args.w_scale_count = own(spec.w_scale, np.float32), spec.w_scale.size
    args.w_zero_point, args.w_zero_point_count = own(spec.w_zero_point, weight_type), spec.w_zero_point.size
    args.bias = own(spec.bias, np.float32)
    args.activation = ACTIVATIONS.index(spec.activation)
    args.y_type = list(ELEMENT_TYPES).index(spec.y_type)
    args.y_scale, args.y_zero_point = spec.y_scale, spec.y_zero_point
    return args


class Linear:
    """A packed layer; released with the object."""

    def __init__(self, capi: Capi, spec: LinearSpec, tier: str, kind: str | None) -> None:
        self._library = capi.library
        self._capi = capi
        self._handle = ctypes.c_void_p()
        self.spec = spec
        keep: list[Array] = []
        args = _c_args(spec, keep)
        forced = -1 if kind is None else KINDS.index(kind)
        create = self._library.fastep_linear_create
        capi.check(create(ctypes.byref(args), TIERS.index(tier), forced, ctypes.byref(self._handle)))
        for array in keep:  # the weights were borrowed during creation only
            array.view(np.uint8).fill(0x55)

    def __del__(self) -> None:
        if self._handle.value is not None:
            self._library.fastep_linear_free(self._handle)

    @property
    def info(self) -> LinearInfo:
        out = _LinearInfo()
        self._library.fastep_linear_info(self._handle, ctypes.byref(out))
        return LinearInfo(
            KINDS[out.kind], out.density, out.work_density, out.packed_bytes, out.predicted_cycles_per_token
        )

    def _call(self, function: str, x: Array, dtype: npt.DTypeLike, threads: int) -> Array:
        n, k = self.spec.shape
        assert x.shape[1:] == (k,)
        assert x.dtype == ELEMENT_TYPES[self.spec.x_type]
        x = np.ascontiguousarray(x)
        y = guarded((x.shape[0], n), dtype, zone=260)  # the library may not rely on its alignment
        run = getattr(self._library, function)
        self._capi.check(run(self._handle, _pointer(x), ctypes.c_int64(x.shape[0]), _pointer(y.data), threads))
        y.check()
        return y.data

    def run(self, x: Array, threads: int = 1) -> Array:
        """`y [M, N]` of `x [M, K]`."""
        return self._call("fastep_linear_run", x, ELEMENT_TYPES[self.spec.y_type], threads)

    def accumulate(self, x: Array, threads: int = 1) -> Array:
        """The integer sums `[M, N]`, int32."""
        return self._call("fastep_linear_accumulate", x, np.int32, threads)


@dataclass(frozen=True)
class Guarded:
    """An array between two zones that must stay untouched."""

    data: Array
    around: Array
    zone: int

    def check(self) -> None:
        """Fails if anything was written before or after the array."""
        assert np.all(self.around[: self.zone] == 0xA5), "the kernel wrote before its output"
        assert np.all(self.around[self.zone + self.data.nbytes :] == 0xA5), "the kernel wrote past its output"


def guarded(shape: tuple[int, ...], dtype: npt.DTypeLike, zone: int = 256) -> Guarded:
    """An output array, 64-byte aligned, filled with a pattern and surrounded by `zone` bytes of it."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.full(size + 2 * zone + 64, 0xA5, np.uint8)
    start = -raw.ctypes.data % 64
    around = raw[start : start + size + 2 * zone]
    return Guarded(around[zone : zone + size].view(dtype).reshape(shape), around, zone)


class Capi:
    """The loaded library."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))
        self.library.fastep_last_error.restype = ctypes.c_char_p
        self.library.fastep_linear_free.restype = None
        self.library.fastep_linear_free.argtypes = [ctypes.c_void_p]

    def check(self, status: int) -> None:
        """Raises CoreError for a status other than 0."""
        if status != 0:
            raise CoreError(self.library.fastep_last_error().decode())

    def _tiers(self, function: str) -> list[str]:
        out = (ctypes.c_int * 8)()
        count = getattr(self.library, function)(out)
        return [TIERS[tier] for tier in out[:count]]

    def built_tiers(self) -> list[str]:
        """Compiled into this library."""
        return self._tiers("fastep_built_tiers")

    def supported_tiers(self) -> list[str]:
        """Of those, the ones that this machine runs."""
        return self._tiers("fastep_supported_tiers")

    def choose_tier(self, max_tier: str = "") -> str:
        """The tier that a session would use."""
        out = ctypes.c_int()
        self.check(self.library.fastep_choose_tier(max_tier.encode(), ctypes.byref(out)))
        return TIERS[out.value]

    def offers(self, tier: str, kind: str) -> bool:
        """Whether the tier has a product kernel of this kind."""
        return bool(self.library.fastep_offers(TIERS.index(tier), KINDS.index(kind)))

    def linear(self, spec: LinearSpec, tier: str, kind: str | None = None) -> Linear:
        """Packs a layer; `kind` overrides the cost model."""
        return Linear(self, spec, tier, kind)

    def gelu(self, tier: str, form: str, x: Array) -> Array:
        """GELU of float32 values by the tier's kernels; `form` is gelu or gelutanh."""
        x = np.ascontiguousarray(x, np.float32)
        y = np.empty_like(x)
        count = ctypes.c_int64(x.size)
        self.library.fastep_gelu(TIERS.index(tier), form == "gelutanh", _pointer(x), count, _pointer(y))
        return y

    def pack(self, tier: str, layout: str, x: Array, quads: tuple[int, int], tokens: int, flip: int) -> Array | None:
        """Packs `x [M, K]` (rows may be strided) into one tile; None where the tier has no such layout."""
        row_bytes = tokens
        if layout == "planar":
            row_bytes = self.library.fastep_planar_row_bytes(TIERS.index(tier)) or tokens
        out = guarded((quads[1] - quads[0], 4 * row_bytes), np.uint8)
        pack = getattr(self.library, f"fastep_pack_{layout}")
        m, k = x.shape
        stride = ctypes.c_uint64(x.strides[0])
        done = pack(TIERS.index(tier), _pointer(x), stride, m, k, *quads, tokens, flip, _pointer(out.data))
        if layout == "planar" and not done:
            return None
        out.check()
        return out.data

    def unpack(self, tier: str, tile: Array, rows: int, y: Array) -> None:
        """Writes `rows` rows of a tile (quad u8 `[rows/4, tokens, 4]` or f32 `[rows, tokens]`) to `y [M, rows]`."""
        function = "fastep_unpack_quad" if tile.dtype == np.uint8 else "fastep_unpack_f32"
        stride = ctypes.c_uint64(y.strides[0])
        unpack = getattr(self.library, function)
        aligned = guarded(tile.shape, tile.dtype).data
        aligned[...] = tile
        unpack(TIERS.index(tier), _pointer(aligned), rows, y.shape[0], tile.shape[1], _pointer(y), stride)
