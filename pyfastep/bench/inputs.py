"""Inputs for any transformer, made from what a session asks for: the same values for all engines."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfastep._model_scan import table_rows
from pyfastep.errors import FastEPError

Inputs = dict[str, NDArray[Any]]

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}
_UNKNOWN_VOCABULARY = 1000  # small enough for any tokenizer
_LENGTH_WORDS = ("seq", "len", "token", "time")


def vocabulary_size(path: Path) -> int:
    """How many token ids are safe: rows of the table that `input_ids` picks from, else config.json beside the model."""
    rows = table_rows(path, "input_ids")
    if rows is not None:
        return rows
    try:
        return int(json.loads((path.parent / "config.json").read_text(encoding="utf-8"))["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return _UNKNOWN_VOCABULARY


def make_inputs(session: Any, batch: int, length: int, *, vocabulary: int, seed: int = 0) -> Inputs:
    """Inputs of one call: `batch` sequences of `length` tokens, none of them padding.

    Args:
        session: A session of ONNX Runtime.
        batch: Replaces the first axis where it is not fixed.
        length: Replaces every other axis that is not fixed.
        vocabulary: Token ids are below this.
        seed: Of the random values; each input depends on it and on its own name alone.

    Raises:
        FastEPError: An input has a type unknown here, or a fixed axis that contradicts `batch` or `length`.
    """
    inputs: Inputs = {}
    for info in session.get_inputs():
        if info.type not in _TYPES:
            raise FastEPError(f"no values can be made for type {info.type}", node=info.name)
        shape = [_axis(info.name, axis, dim, batch, length) for axis, dim in enumerate(info.shape)]
        inputs[info.name] = _values(info.name, shape, np.dtype(_TYPES[info.type]), vocabulary, seed)
    return inputs


def _axis(name: str, axis: int, dim: Any, batch: int, length: int) -> int:
    is_length = any(word in str(dim).lower() for word in _LENGTH_WORDS) if isinstance(dim, str) else axis == 1
    wanted = batch if axis == 0 and not is_length else length
    if not isinstance(dim, int):
        return wanted
    if _is_token_input(name) and dim != wanted:
        what = "batch" if axis == 0 else "length"
        raise FastEPError(f"axis {axis} is fixed to {dim}, asked for {what} {wanted}", node=name)
    return dim


def _is_token_input(name: str) -> bool:
    return name.endswith(("_ids", "_mask"))


def _values(name: str, shape: list[int], dtype: np.dtype[Any], vocabulary: int, seed: int) -> NDArray[Any]:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if "mask" in name or dtype == np.bool_:
        return np.ones(shape, dtype)
    if "type" in name:
        return np.zeros(shape, dtype)
    if "position" in name:
        return np.broadcast_to(np.arange(shape[-1]), shape).astype(dtype)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype.itemsize == 1:
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, endpoint=True).astype(dtype)
    return rng.integers(0, vocabulary, shape).astype(dtype)
