"""Calibration data: from files, texts or arrays to the batches that a model is run with.

Sequences of one length are batched together and none is padded (unless the model has a fixed length), so that the
ranges found are those of real tokens.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfastep._extras import how_to_install
from pyfastep.errors import FastEPError

Batch = dict[str, NDArray[Any]]

_LARGEST = np.iinfo(np.int64).max
_IDS, _MASK = "input_ids", "attention_mask"
# What a transformer's further inputs hold when only token ids are given, as a function of ids [B, S] and mask [B, S].
_DERIVED: dict[str, Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]] = {
    _IDS: lambda ids, mask: ids,
    _MASK: lambda ids, mask: mask,
    "token_type_ids": lambda ids, mask: np.zeros_like(ids),
    "position_ids": lambda ids, mask: np.broadcast_to(np.arange(ids.shape[1], dtype=ids.dtype), ids.shape).copy(),
}


@dataclass(frozen=True)
class ModelInput:
    """One input of a model: name, element type, and shape with `None` for every dimension that is not fixed."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join('?' if d is None else str(d) for d in self.shape)}]"


@dataclass(frozen=True)
class CalibrationData:
    """Batches, and how many samples they hold: rows that only fill up a batch of fixed size do not count."""

    batches: list[Batch]
    samples: int


def load_batches(
    data: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    inputs: Sequence[ModelInput],
    *,
    tokenizer: str | os.PathLike[str] | None = None,
    max_length: int = 128,
    batch_size: int = 8,
    max_samples: int = 256,
) -> CalibrationData:
    """Batches for `inputs` from `data`.

    Args:
        data: A `.npz` file or a folder of them (arrays named like the inputs, `[samples, ...]`); a `.jsonl` file (one
            list of token ids, `{"input_ids": [...], ...}` or `{"text": "..."}` per line); a text file (one text per
            line, needs `tokenizer`); or an iterable of mappings from input names to arrays `[samples, ...]`.
        inputs: The model's inputs.
        tokenizer: A `tokenizer.json` or a folder that holds one.
        max_length: Longer sequences are cut to this many tokens.
        batch_size: Samples per batch, at most.
        max_samples: No further batch is taken once there are so many samples.

    Raises:
        FastEPError: The data cannot be read, is empty or does not fit the inputs; names the file and the line.
    """
    if not isinstance(data, (str, os.PathLike)):
        found = _from_arrays(_enumerate_sources(data), inputs, batch_size, max_samples)
    else:
        found = _from_path(Path(data), inputs, tokenizer, max_length, batch_size, max_samples)
    counted = list(found)
    if not counted:
        raise FastEPError(
            "the calibration data holds no sample",
            node="data" if not isinstance(data, (str, os.PathLike)) else str(data),
        )
    return CalibrationData([batch for batch, _ in counted], sum(samples for _, samples in counted))


def _from_path(
    path: Path,
    inputs: Sequence[ModelInput],
    tokenizer: str | os.PathLike[str] | None,
    max_length: int,
    batch_size: int,
    max_samples: int,
) -> Iterator[tuple[Batch, int]]:
    if not path.exists():
        raise FastEPError("no such file or folder", node=str(path), remedy="check the path of the calibration data")
    if path.is_dir() or path.suffix == ".npz":
        return _from_arrays(_read_npz(path), inputs, batch_size, max_samples)
    encode = _load_tokenizer(tokenizer) if tokenizer is not None else None
    sequences = _read_jsonl(path, encode) if path.suffix == ".jsonl" else _read_text(path, encode)
    return _from_sequences(sequences, inputs, max_length, batch_size, max_samples)


def count_samples(batch: Batch) -> int:
    """Samples of a batch: its first dimension."""
    return max((len(array) for array in batch.values() if array.ndim), default=1)


def _enumerate_sources(data: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name the elements of an iterable for messages."""
    for index, element in enumerate(data):
        if not isinstance(element, Mapping):
            raise FastEPError(
                f"expected a mapping from input names to arrays, found {type(element).__name__}", node=f"data[{index}]"
            )
        yield f"data[{index}]", element


def _read_npz(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if not files:
        raise FastEPError("the folder holds no .npz file", node=str(path))
    for file in files:
        yield str(file), _load_npz(file)


def _load_npz(file: Path) -> dict[str, NDArray[Any]]:
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise ValueError("it holds one array without a name, as .npy files do")
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise FastEPError(f"not a readable .npz file: {error}", node=str(file)) from error


def _from_arrays(
    sources: Iterable[tuple[str, Mapping[str, Any]]], inputs: Sequence[ModelInput], batch_size: int, max_samples: int
) -> Iterator[tuple[Batch, int]]:
    """Batches until there are `max_samples`, each with its number of samples."""
    taken = 0
    for where, arrays in sources:
        fixed = {spec.name: _fit(arrays, spec, where) for spec in inputs}
        counts = {name: len(array) for name, array in fixed.items() if array.ndim}
        if len(set(counts.values())) > 1:
            raise FastEPError(f"the arrays hold different numbers of samples: {counts}", node=where)
        fixed_batch = next((spec.shape[0] for spec in inputs if spec.shape and spec.shape[0] is not None), None)
        step, samples = fixed_batch or batch_size, max(counts.values(), default=1)
        if fixed_batch and samples % fixed_batch:
            raise FastEPError(f"the model takes {fixed_batch} samples at a time, found {samples}", node=where)
        for start in range(0, samples, step):
            if taken >= max_samples:
                return
            batch = {name: array[start : start + step] if array.ndim else array for name, array in fixed.items()}
            samples_of_batch = count_samples(batch)
            taken += samples_of_batch
            yield batch, samples_of_batch


def _fit(arrays: Mapping[str, Any], spec: ModelInput, where: str) -> NDArray[Any]:
    """The array of one input, cast to its type where that loses nothing."""
    if spec.name not in arrays:
        raise FastEPError(
            f"no array for the model's input {spec}; found {', '.join(sorted(arrays)) or 'nothing'}",
            node=where,
            remedy="name the arrays like the model's inputs",
        )
    try:
        array = np.asarray(arrays[spec.name])
    except ValueError as error:
        raise FastEPError(f"{spec.name}: expected an array, found rows of unlike lengths", node=where) from error
    if array.dtype != spec.dtype:
        cast = array.astype(spec.dtype) if array.dtype.kind in "biuf" else array
        if array.dtype.kind not in "biuf" or (spec.dtype.kind in "iub" and not np.array_equal(cast, array)):
            raise FastEPError(f"{spec.name}: expected {spec.dtype}, found {array.dtype}", node=where)
        array = cast
    shape_fits = array.ndim == len(spec.shape) and all(
        want is None or axis == 0 or have == want
        for axis, (have, want) in enumerate(zip(array.shape, spec.shape, strict=True))
    )
    if not shape_fits:
        raise FastEPError(f"expected {spec}, found shape {list(array.shape)}", node=where)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise FastEPError(f"{spec.name} holds NaN or infinity", node=where)
    return array


def _load_tokenizer(path: str | os.PathLike[str]) -> Callable[[str], list[int]]:
    file = Path(path) / "tokenizer.json" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise FastEPError("no such tokenizer file", node=str(file), remedy="give a tokenizer.json or its folder")
    try:
        from tokenizers import Tokenizer  # type: ignore[import-untyped]
    except ImportError as error:
        raise FastEPError("texts need the package `tokenizers`", remedy=how_to_install("quantize")) from error
    try:
        loaded = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise FastEPError(f"not a tokenizer file: {error}", node=str(file)) from error
    loaded.no_padding()
    loaded.no_truncation()
    return lambda text: list(loaded.encode(text).ids)


def _read_text(path: Path, encode: Callable[[str], list[int]] | None) -> Iterator[tuple[str, list[int]]]:
    if encode is None:
        raise FastEPError("a text file needs a tokenizer", node=str(path), remedy="give --tokenizer")
    for where, line in _lines(path):
        yield where, encode(line)


def _read_jsonl(path: Path, encode: Callable[[str], list[int]] | None) -> Iterator[tuple[str, list[int]]]:
    for where, line in _lines(path):
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise FastEPError(f"not JSON: {error}", node=where) from error
        if isinstance(value, dict):
            value = value.get(_IDS, value.get("text"))
        if isinstance(value, str):
            if encode is None:
                raise FastEPError("a text needs a tokenizer", node=where, remedy="give --tokenizer")
            value = encode(value)
        if not isinstance(value, list) or not all(isinstance(item, int) and 0 <= item <= _LARGEST for item in value):
            raise FastEPError('expected a list of token ids, {"input_ids": [...]} or {"text": "..."}', node=where)
        yield where, value


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}:{number}", line.strip()
    except UnicodeDecodeError as error:
        raise FastEPError(f"not a UTF-8 text file: {error}", node=str(path)) from error


def _from_sequences(
    sequences: Iterable[tuple[str, list[int]]],
    inputs: Sequence[ModelInput],
    max_length: int,
    batch_size: int,
    max_samples: int,
) -> Iterator[tuple[Batch, int]]:
    unknown = [spec for spec in inputs if spec.name not in _DERIVED or len(spec.shape) != 2]
    if unknown:
        raise FastEPError(
            f"token ids alone do not determine the model's input {unknown[0]}; known are {', '.join(_DERIVED)}",
            remedy="give all inputs as .npz",
        )
    fixed_batch = next((spec.shape[0] for spec in inputs if spec.shape[0] is not None), None)
    fixed_length = next((spec.shape[1] for spec in inputs if spec.shape[1] is not None), None)
    limit = min(max_length, fixed_length or max_length)
    by_length: dict[int, list[list[int]]] = {}
    for taken, (_, ids) in enumerate(sequences):
        if taken == max_samples:
            break
        if ids:
            by_length.setdefault(fixed_length or min(len(ids), limit), []).append(_cut(ids, limit))
    for length, group in sorted(by_length.items()):
        for start in range(0, len(group), fixed_batch or batch_size):
            rows = group[start : start + (fixed_batch or batch_size)]
            samples = len(rows)
            rows += [rows[-1]] * ((fixed_batch or samples) - samples)
            yield _batch_of(rows, length, inputs), samples


def _batch_of(rows: list[list[int]], length: int, inputs: Sequence[ModelInput]) -> Batch:
    ids = np.zeros((len(rows), length), np.int64)
    mask = np.zeros_like(ids)
    for row, values in enumerate(rows):
        ids[row, : len(values)] = values
        mask[row, : len(values)] = 1
    return {spec.name: _DERIVED[spec.name](ids, mask).astype(spec.dtype) for spec in inputs}


def _cut(ids: list[int], limit: int) -> list[int]:
    """At most `limit` ids; the last one, which closes a sequence, stays last."""
    return ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]] if limit > 1 else ids[:limit]
