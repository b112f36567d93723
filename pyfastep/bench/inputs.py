"""Inputs for any transformer, made from what a session asks for: the same values for all engines."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfastep._comparison import TENSOR_TYPES
from pyfastep._model_scan import VOCABULARY, metadata, table_rows
from pyfastep.errors import FastEPError

Inputs = dict[str, NDArray[Any]]

_UNKNOWN_VOCABULARY = 1000  # small enough for any tokenizer
_LENGTH_WORDS = ("seq", "len", "token", "time")


def vocabulary_size(*models: Path) -> int:
    """How many token ids are safe for all models: the least of those that are known, else 1000.

    Known are the rows of the table that `input_ids` picks from, which a compiled model notes, or `vocab_size` of
    config.json beside the model.
    """
    return min(filter(None, map(_known_vocabulary, models)), default=_UNKNOWN_VOCABULARY)


def _known_vocabulary(path: Path) -> int | None:
    rows = table_rows(path, "input_ids")
    if rows is not None:
        return rows
    try:
        if (noted := metadata(path, VOCABULARY)) is not None:  # of a compiled model, which has no tables
            return int(noted)
        return int(json.loads((path.parent / "config.json").read_text(encoding="utf-8"))["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def fixed_batch(session: Any) -> int | None:
    """The batch that a model always takes, where all its inputs have a fixed one."""
    sizes = list(_batches(session).values())
    return sizes[0] if sizes and all(isinstance(size, int) for size in sizes) else None


def make_inputs(session: Any, batch: int, length: int, *, vocabulary: int, seed: int = 0) -> Inputs:
    """Inputs of one call: `batch` sequences of `length` tokens, none of them padding.

    Args:
        session: A session of ONNX Runtime.
        batch: Replaces the axis of the batch, the one that is named so or the first, where it is not fixed.
        length: Replaces every other axis that is not fixed.
        vocabulary: Token ids are below this.
        seed: Of the random values; each input depends on it and on its own name alone.

    Raises:
        FastEPError: An input has a type unknown here, none takes the batch, token ids or a mask not the length, or
            there is no memory for so many.
    """
    sizes = _batches(session)
    if sizes and all(isinstance(size, int) and size != batch for size in sizes.values()):
        name, size = next(iter(sizes.items()))
        raise FastEPError(f"the batch is fixed to {size}, asked for {batch}", node=name, remedy=f"ask for {size}")
    inputs: Inputs = {}
    for info in session.get_inputs():
        if info.type not in TENSOR_TYPES:
            raise FastEPError(f"no values can be made for type {info.type}", node=info.name)
        first = _batch_axis(info.shape)
        shape = [_size(info.name, axis, dim, batch if axis == first else length) for axis, dim in enumerate(info.shape)]
        try:
            inputs[info.name] = _values(info.name, shape, np.dtype(TENSOR_TYPES[info.type]), vocabulary, seed)
        except (MemoryError, ValueError, OverflowError) as error:
            raise FastEPError(f"no array of shape {shape}: {error}", node=info.name) from error
    return inputs


def _batches(session: Any) -> dict[str, Any]:
    """The axis of the batch of each input that has one: its size, or its name."""
    axes = {info.name: (info.shape, _batch_axis(info.shape)) for info in session.get_inputs()}
    return {name: shape[axis] for name, (shape, axis) in axes.items() if axis is not None}


def _batch_axis(shape: Sequence[Any]) -> int | None:
    named = [axis for axis, dim in enumerate(shape) if "batch" in str(dim).lower() and not _is_length(dim)]
    return named[0] if named else 0 if shape and not _is_length(shape[0]) else None


def _is_length(dim: Any) -> bool:
    return isinstance(dim, str) and any(word in dim.lower() for word in _LENGTH_WORDS)


def _size(name: str, axis: int, dim: Any, wanted: int) -> int:
    if not isinstance(dim, int):
        return wanted
    if _is_token_input(name) and dim != wanted:
        raise FastEPError(f"axis {axis} is fixed to {dim}, asked for {wanted}", node=name)
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
