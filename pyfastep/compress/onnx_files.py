"""What is read from and written into exported ONNX files: names of weights, external data, where a model comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from pyfastep._model_paths import data_beside, files_of, share_permissions
from pyfastep.errors import FastEPError

__all__ = ["METADATA", "StoredWeight", "move_model", "read_metadata", "stored_weights", "write_metadata"]

METADATA = "fastep.compress."
"""Prefix of the metadata's keys: ``fastep.compress.recipe``, ``.versions``, ``.seed``, ``.sparsity``, all JSON."""


@dataclass(frozen=True)
class StoredWeight:
    """Where a file keeps the weight of a Linear.

    Attributes:
        tensor: Name of the initializer.
        transposed: Whether it is ``[in, out]``, as a MatMul takes it, and not ``[out, in]``.
    """

    tensor: str
    transposed: bool


def stored_weights(model: nn.Module, names: Iterable[str], path: Path) -> dict[str, StoredWeight]:
    """The initializer that holds the weight of each Linear, found by its values: exporters rename.

    A Linear that the file's outputs do not need, such as a pooler where a token is classified, is left out.

    Args:
        model: The torch model that was exported.
        names: Qualified names of its Linears.
        path: The float ONNX file.

    Raises:
        FastEPError: A weight is in the file twice.
    """
    wanted = list(names)
    if not wanted:
        return {}
    exported = onnx.load(str(path))
    used = {node.input[1] for node in exported.graph.node if node.op_type in ("MatMul", "Gemm")}
    found: dict[str, list[str]] = {}
    for tensor in sorted((t for t in exported.graph.initializer if t.name in used), key=lambda t: t.name):
        found.setdefault(_key(numpy_helper.to_array(tensor)), []).append(tensor.name)
    result = {}
    for name in wanted:
        weight = model.get_submodule(name).weight.detach().cpu().numpy()  # type: ignore[operator]
        straight = found.get(_key(weight), [])
        matches = {*straight, *found.get(_key(weight.T), [])}
        if len(matches) > 1:
            raise FastEPError(
                f"expected its weight once in the exported file, found it {len(matches)} times", node=name
            )
        if matches:
            tensor = matches.pop()
            result[name] = StoredWeight(tensor, transposed=tensor not in straight)
    return result


def move_model(source: Path, target: Path) -> None:
    """Moves an ONNX file to a new name. Its external data, which it names, becomes ``<target>.data``."""
    files = files_of(source)
    if files == {source}:
        source.rename(target)
        return
    data_beside(target).unlink(missing_ok=True)  # onnx appends
    onnx.save(onnx.load(str(source)), str(target), save_as_external_data=True, location=data_beside(target).name)
    share_permissions(target)
    for file in files:
        file.unlink()


def write_metadata(path: Path, values: Mapping[str, Any]) -> None:
    """Stores plain values under ``fastep.compress.<key>`` in an ONNX file, in place of what stands there under them.

    Any other entry stays; :func:`read_metadata` gives the values back, in the order of the mappings, as the
    first of ``prune.targets`` that matches decides.
    """
    model = onnx.load(str(path), load_external_data=False)
    pairs = {entry.key: entry.value for entry in model.metadata_props}
    pairs |= {METADATA + key: json.dumps(value) for key, value in values.items()}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, pairs)
    partial = path.with_suffix(".partial")
    onnx.save(model, str(partial))
    partial.replace(path)


def read_metadata(path: Path) -> dict[str, Any]:
    """Where a file comes from: the values, by name, that :func:`write_metadata` stored.

    >>> read_metadata(Path("out/model/model.onnx"))["recipe"]["prune"]["pattern"]
    '4x1'
    """
    model = onnx.load(str(path), load_external_data=False)
    return {
        entry.key.removeprefix(METADATA): json.loads(entry.value)
        for entry in model.metadata_props
        if entry.key.startswith(METADATA)
    }


def _key(values: NDArray[Any]) -> str:
    return f"{values.shape}{hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()}"
