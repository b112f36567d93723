"""The oracle of an encoder's other ops: docs/op-contract-encoder.md in slow, obvious numpy."""

from __future__ import annotations

import numpy as np

from .capi import Array
from .plan_capi import AttentionSpec, NormSpec, Quantization, TableSpec
from .reference import RANGES, fma

F32 = np.float32
NORM_RUN = 32
# 2^f on [0, 1), as in ep/kernels/generic/exp2.h.
EXP2_FIT = [F32(c) for c in (0.999925196, 0.695833564, 0.226067141, 0.0780245289)]
LOG2_OF_255 = F32(7.9943534)
FINE_EXP2_FIT = [F32(c) for c in (1.0, 0.693147004, 0.240222469, 0.0555071086, 0.00967129134, 0.00132695213)]
FINE_EXP2_LOWEST = F32(-64)
HIDDEN = F32(-1e30)
LOG2_E = 1.4426950408889634


def quantize(v: Array, to: Quantization) -> Array:
    """clamp(rne(v)) of values that are already on the output's scale."""
    low, high = RANGES[to.type]
    return np.clip(np.rint(v), low, high).astype(np.uint8 if to.type == "u8" else np.int8)


def _run_moments(z: Array) -> tuple[Array, Array]:
    total = z[..., 0]
    for i in range(1, z.shape[-1]):
        total = total + z[..., i]
    mean = total / F32(z.shape[-1])
    m2 = np.zeros_like(mean)
    for i in range(z.shape[-1]):
        delta = z[..., i] - mean
        m2 = fma(delta, delta, m2)
    return mean, m2


def layer_norm(z: Array, spec: NormSpec) -> tuple[Array, Array]:
    """LayerNorm of z `[..., H]` f32: in f32, and quantized (again in f32 where the spec quantizes nothing)."""
    features = z.shape[-1]
    mean, m2 = _run_moments(z[..., :NORM_RUN])
    for n in range(NORM_RUN, features, NORM_RUN):
        next_mean, next_m2 = _run_moments(z[..., n : n + NORM_RUN])
        m = min(NORM_RUN, features - n)
        ratio = F32(m) / F32(n + m)
        delta = next_mean - mean
        mean = fma(delta, ratio, mean)
        m2 = fma(delta * delta, F32(n) * ratio, m2 + next_m2)
    rstd = F32(1) / np.sqrt(m2 / F32(features) + F32(spec.epsilon))
    y = fma((z - mean[..., None]) * rstd[..., None], spec.gamma, spec.beta)
    if spec.quantized.type == "f32":
        return y, y
    inverse = F32(1.0 / np.float64(F32(spec.quantized.scale)))
    return y, quantize(fma(y, inverse, F32(spec.quantized.zero_point)), spec.quantized)


def embed(tables: list[tuple[TableSpec, Array]]) -> Array:
    """Sum of the tables' rows `[B, S, H]`, in order; ids `[B, S]` or `[1, S]`."""
    total: Array | None = None
    for table, ids in tables:
        rows = table.data[ids]
        if table.quantization.type != "f32":
            rows = (rows.astype(np.int32) - table.quantization.zero_point).astype(F32) * F32(table.quantization.scale)
        total = rows if total is None else total + rows
    assert total is not None
    return total


def probabilities(x: Array) -> Array:
    """rne(2^x), x clamped at -2, by the polynomial that all tiers share; int64."""
    x = np.maximum(x, F32(-2)).astype(F32)
    n = np.floor(x)
    f = (x - n).astype(F32)
    e = fma(EXP2_FIT[3], f, EXP2_FIT[2])
    e = fma(e, f, EXP2_FIT[1])
    e = fma(e, f, EXP2_FIT[0])
    return np.asarray(np.rint(np.ldexp(e, n.astype(np.int32))), np.int64)


def centred(x: Array, by: Quantization) -> Array:
    """x - zero_point, int64; floats stay, in double."""
    return np.asarray(x, np.float64 if by.type == "f32" else np.int64) - by.zero_point


def _heads(x: Array, heads: int) -> Array:
    b, s, h = x.shape
    return np.swapaxes(x.reshape(b, s, heads, h // heads), 1, 2)


def attention(
    q: Array, k: Array, v: Array, spec: AttentionSpec, mask: Array | None = None, bias: Array | None = None
) -> Array:
    """QAttention of `[B, S, H]` operands, bit for bit."""
    qs, ks, vs = (_heads(centred(x, by), spec.num_heads) for x, by in ((q, spec.q), (k, spec.k), (v, spec.v)))
    # The zero point of k shifts all scores of a query alike; the contract counts from k as s8.
    k_shift = spec.k.zero_point - (128 if spec.k.type == "u8" else 0)
    acc = qs @ (ks + k_shift).swapaxes(-1, -2)
    scale = F32(np.float64(F32(spec.q.scale)) * np.float64(F32(spec.k.scale)) * np.float64(F32(spec.scale)) * LOG2_E)
    visible = np.ones((q.shape[0], 1, 1, q.shape[1]), bool) if mask is None else (mask != 0)[:, None, None, :]
    if bias is None:
        largest = np.max(np.where(visible, acc, np.iinfo(np.int64).min), axis=-1, keepdims=True)
        x = fma((acc - largest).astype(F32), scale, LOG2_OF_255)
    else:
        with np.errstate(over="ignore"):
            s = fma(acc.astype(F32), scale, bias * F32(LOG2_E))
        largest = np.maximum(np.max(np.where(visible, s, F32(-1e30)), axis=-1, keepdims=True), F32(-1e30))
        x = (s - largest) + LOG2_OF_255
    e = np.where(visible, probabilities(np.minimum(x, LOG2_OF_255)), 0)
    acc = e @ vs
    total = e.sum(-1, keepdims=True)
    out_scale = F32(spec.v.scale)
    if spec.y.type != "f32":
        out_scale = F32(np.float64(F32(spec.v.scale)) / np.float64(F32(spec.y.scale)))
    with np.errstate(divide="ignore"):
        factor = np.where(total == 0, F32(0), out_scale / total.astype(F32)).astype(F32)
    zero_point = F32(spec.y.zero_point if spec.y.type != "f32" else 0)
    y = fma(acc.astype(F32), factor, zero_point)
    y = y.swapaxes(1, 2).reshape(q.shape)
    return y if spec.y.type == "f32" else quantize(y, spec.y)


def fine_exp2(x: Array) -> Array:
    """2^x of floats in [-64, 64], by the polynomial that all tiers share; 0 below."""
    n = np.rint(np.clip(x, FINE_EXP2_LOWEST, 64))
    f = np.asarray(np.clip(x, FINE_EXP2_LOWEST, 64) - n, F32)
    e = np.full_like(f, FINE_EXP2_FIT[-1])
    for c in FINE_EXP2_FIT[-2::-1]:
        e = fma(e, f, c)
    return np.where(x >= FINE_EXP2_LOWEST, np.ldexp(e, n.astype(np.int32)), F32(0)).astype(F32)


def float_attention(
    q: Array, k: Array, v: Array, spec: AttentionSpec, mask: Array | None = None, bias: Array | None = None
) -> Array:
    """FAttention of `[B, S, H]` f32 operands, bit for bit; hidden keys are left out, one sequence at a time."""
    y = np.zeros(q.shape, F32)
    inverse = F32(1) if spec.y.type == "f32" else F32(1.0 / np.float64(F32(spec.y.scale)))
    scale = F32(np.float64(F32(spec.scale)) * LOG2_E)
    zero_point = F32(0 if spec.y.type == "f32" else spec.y.zero_point)
    for b in range(len(q)):
        seen = np.arange(q.shape[1]) if mask is None else np.flatnonzero(mask[b])
        qs, ks, vs = (_heads(x[b : b + 1], spec.num_heads)[0] for x in (q, k, v))  # [heads, keys, size]
        ks, vs = ks[:, seen], vs[:, seen]
        e, total = np.zeros((*qs.shape[:2], 0), F32), np.zeros((*qs.shape[:2], 1), F32)
        if len(seen):
            s = np.zeros((*qs.shape[:2], len(seen)), F32)
            for f in range(qs.shape[-1]):
                s = fma(ks[:, None, :, f], qs[:, :, f, None], s)
            if bias is None:
                x = (s - s.max(-1, keepdims=True)) * scale
            else:
                added = np.broadcast_to(bias, (len(q), spec.num_heads, q.shape[1], q.shape[1]))[b][..., seen]
                with np.errstate(over="ignore"):
                    t = fma(s, scale, added * F32(LOG2_E))
                x = t - np.maximum(t.max(-1, keepdims=True), HIDDEN)
            e = fine_exp2(x)
        sums = np.zeros(qs.shape, F32)
        for j in range(len(seen)):
            total = total + e[..., j, None]
            sums = fma(vs[:, None, j], e[..., j, None], sums)
        with np.errstate(divide="ignore"):
            factor = np.where(total == 0, F32(0), inverse / total).astype(F32)
        y[b] = fma(sums, factor, zero_point).swapaxes(0, 1).reshape(y[b].shape)
    return y if spec.y.type == "f32" else quantize(y, spec.y)


def exact_attention(q: Array, k: Array, v: Array, spec: AttentionSpec, mask: Array | None = None) -> Array:
    """Softmax attention in double, without rounding of probabilities; rows without visible keys give 0."""
    real = [
        _heads(centred(x, by), spec.num_heads) * np.float64(F32(by.scale))
        for x, by in ((q, spec.q), (k, spec.k), (v, spec.v))
    ]
    s = real[0] @ real[1].swapaxes(-1, -2) * spec.scale
    if mask is not None:
        s = np.where((mask != 0)[:, None, None, :], s, -np.inf)
    with np.errstate(invalid="ignore"):
        p = np.exp(s - s.max(-1, keepdims=True))
        p = np.nan_to_num(p / p.sum(-1, keepdims=True))
    return np.asarray((p @ real[2]).swapaxes(1, 2).reshape(q.shape))
