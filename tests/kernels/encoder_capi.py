"""ctypes view of ep/capi/encoder_kernels.cc: the argument structs of ep/core/kernel_table.h."""

from __future__ import annotations

import ctypes
from typing import Any

from .capi import TIERS, Capi

POINTER, I32, F32 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_float

RESIDUAL_EPILOGUE = 1
TOKEN_SCALE_EPILOGUE = 2
TOKEN_MAX_EPILOGUE = 4
PLANAR_EPILOGUE = 8
OFFSET_SCORES = 32
SCORE_OFFSET = 0x4B400000
OUTPUT_KINDS = {"i32": 0, "u8": 1, "s8": 2, "f32": 3, "residual": 4}


class LayerNormArgs(ctypes.Structure):
    _fields_ = [
        ("z", POINTER),
        ("stats", POINTER),
        ("features", I32),
        ("tokens", I32),
        ("row_begin", I32),
        ("row_end", I32),
        ("epsilon", F32),
        ("gamma", POINTER),
        ("beta", POINTER),
        ("y", POINTER),
        ("q", POINTER),
        ("out_scale", F32),
        ("out_zero_point", F32),
        ("lo", I32),
        ("hi", I32),
        ("flip", ctypes.c_uint8),
        ("planar", ctypes.c_bool),
    ]


class EmbedTable(ctypes.Structure):
    _fields_ = [("data", POINTER), ("element", I32), ("scale", F32), ("zero_point", I32), ("rows", POINTER)]


class EmbedArgs(ctypes.Structure):
    _fields_ = [
        ("tables", EmbedTable * 3),
        ("table_count", I32),
        ("features", I32),
        ("tokens", I32),
        ("row_begin", I32),
        ("row_end", I32),
        ("z", POINTER),
    ]


class KeyRun(ctypes.Structure):
    _fields_ = [
        ("tile", POINTER),
        ("tokens", I32),
        ("lane", I32),
        ("count", I32),
        ("head_quads", I32),
        ("key", I32),
        ("values", POINTER),
        ("key_quads", I32),
        ("zero_point", I32),
        ("acc_init", POINTER),
    ]


class SoftmaxArgs(ctypes.Structure):
    _fields_ = [
        ("scores", POINTER),
        ("bias", POINTER),
        ("largest", POINTER),
        ("keys", I32),
        ("key_quads", I32),
        ("tokens", I32),
        ("lane_begin", I32),
        ("lane_end", I32),
        ("scale", F32),
        ("out_scale", F32),
        ("e", POINTER),
        ("row_sum", POINTER),
        ("token_scale", POINTER),
        ("score_offset", I32),
    ]


class FloatKeyRun(ctypes.Structure):
    _fields_ = [
        ("tile", POINTER),
        ("tokens", I32),
        ("lane", I32),
        ("count", I32),
        ("key", I32),
        ("features", I32),
        ("rows", I32),
        ("blocks", POINTER),
    ]


class FloatProductArgs(ctypes.Structure):
    _fields_ = [
        ("lhs", POINTER),
        ("lhs_stride", I32),
        ("lanes", I32),
        ("blocks", POINTER),
        ("rows", I32),
        ("features", I32),
        ("keys", I32),
        ("out", POINTER),
    ]


class FloatSoftmaxArgs(ctypes.Structure):
    _fields_ = [
        ("scores", POINTER),
        ("bias", POINTER),
        ("keys", I32),
        ("lanes", I32),
        ("scale", F32),
        ("out_scale", F32),
        ("factor", POINTER),
    ]


class FloatFinishArgs(ctypes.Structure):
    _fields_ = [
        ("sums", POINTER),
        ("factor", POINTER),
        ("features", I32),
        ("lanes", I32),
        ("lane_begin", I32),
        ("lane_end", I32),
        ("tokens", I32),
        ("y", POINTER),
        ("q", POINTER),
        ("zero_point", F32),
        ("lo", I32),
        ("hi", I32),
        ("flip", ctypes.c_uint8),
    ]


class RhsView(ctypes.Structure):
    _fields_ = [
        ("group_ptr", POINTER),
        ("index", POINTER),
        ("values", POINTER),
        ("k_quads", I32),
        ("couple_offset", POINTER),
    ]


class Epilogue(ctypes.Structure):
    _fields_ = [
        ("kind", I32),
        ("activation", I32),
        ("acc_init", POINTER),
        ("scale", POINTER),
        ("bias", POINTER),
        ("out_scale", F32),
        ("out_zero_point", F32),
        ("lo", I32),
        ("hi", I32),
        ("rhs_zero_point", POINTER),
        ("token_sum", POINTER),
        ("token_scale", POINTER),
        ("token_max", POINTER),
        ("bounded", ctypes.c_bool),
        ("planar", ctypes.c_bool),
    ]


class ProductArgs(ctypes.Structure):
    _fields_ = [
        ("lhs", POINTER),
        ("tokens", I32),
        ("rhs", RhsView),
        ("group_begin", I32),
        ("group_end", I32),
        ("partial", POINTER),
        ("first", ctypes.c_bool),
        ("last", ctypes.c_bool),
        ("epilogue", POINTER),
        ("out", POINTER),
    ]


def call(capi: Capi, kernel: str, tier: str, *args: Any) -> bool:
    """Runs the kernel of a tier; False where the tier has none of its own."""
    values = [ctypes.c_void_p(a.ctypes.data) if hasattr(a, "ctypes") else a for a in args]
    values = [ctypes.byref(a) if isinstance(a, ctypes.Structure) else a for a in values]
    return bool(getattr(capi.library, f"fastep_{kernel}")(TIERS.index(tier), *values))


def extras(capi: Capi, tier: str) -> int:
    """The bits of KernelTable::extras."""
    return int(capi.library.fastep_extras(TIERS.index(tier)))
