"""The sparsity pattern of an exported file, counted in its own weights and held against the torch model's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from pyfastep.compress.masks import block_sums
from pyfastep.compress.onnx_files import StoredWeight
from pyfastep.compress.pattern import Pattern
from pyfastep.errors import FastEPError

__all__ = ["FileSparsity", "measure_file"]

# Suffixes that onnxruntime.quantization gives to what it makes of an initializer.
_QUANTIZED, _ZERO_POINT = "_quantized", "_zero_point"


@dataclass(frozen=True)
class FileSparsity:
    """One weight of a file.

    Attributes:
        name: Qualified module name in the torch model.
        blocks: Number of blocks, edge blocks included.
        zero_blocks: Blocks whose elements are all zero in the file.
        rounded_blocks: Of those, blocks that the torch model keeps: all their weights are rounded to zero.
        broken_blocks: Blocks that are zero in the torch model and not in the file; with N:M, also groups of M inputs
            of which more than N are kept. Both would be errors.
        sparsity: Share of the elements that are zero in the file, 0 to 1.
    """

    name: str
    blocks: int
    zero_blocks: int
    rounded_blocks: int
    broken_blocks: int
    sparsity: float

    @property
    def pruned(self) -> float:
        """Share of the blocks that the pattern takes, 0 to 1: zero in the file, and not by rounding."""
        return (self.zero_blocks - self.rounded_blocks) / self.blocks

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "pruned": self.pruned}


def measure_file(
    path: Path, weights: Mapping[str, StoredWeight], model: nn.Module, pattern: Pattern
) -> list[FileSparsity]:
    """Counts blocks in the weights of an ONNX file.

    Args:
        path: The exported float file, or what ``onnxruntime.quantization`` made of it.
        weights: Of each Linear, see :func:`pyfastep.compress.onnx_files.stored_weights`.
        model: The torch model that was exported.
        pattern: Of its pruning.

    Raises:
        FastEPError: A weight is not in the file.
    """
    tensors = {tensor.name: tensor for tensor in onnx.load(str(path)).graph.initializer}
    found = []
    for name, weight in weights.items():
        own = model.get_submodule(name).weight.detach().cpu().numpy()  # type: ignore[operator]
        values = _values(tensors, weight.tensor, name)
        found.append(_compare(name, own, values.T if weight.transposed else values, pattern))
    return found


def _values(tensors: Mapping[str, onnx.TensorProto], name: str, layer: str) -> NDArray[Any]:
    """Values of a weight, or what of integers stands for them: 0 is 0."""
    for candidate in (name + _QUANTIZED, name):
        if candidate in tensors:
            values = numpy_helper.to_array(tensors[candidate])
            if candidate == name:
                return values
            zero = tensors.get(name + _ZERO_POINT)
            return values.astype(np.int32) - (0 if zero is None else numpy_helper.to_array(zero).astype(np.int32))
    raise FastEPError(f"expected its weight {name!r} in the quantized file, it is not there", node=layer)


def _compare(name: str, own: NDArray[Any], stored: NDArray[Any], pattern: Pattern) -> FileSparsity:
    kept_own, kept = (block_sums(torch.from_numpy(w != 0).float(), pattern.block) > 0 for w in (own, stored))
    broken = int((kept & ~kept_own).sum())
    if pattern.group:
        broken += int((block_sums(kept.float(), (1, pattern.group[1])) > pattern.group[0]).sum())
    return FileSparsity(
        name=name,
        blocks=kept.numel(),
        zero_blocks=int((~kept).sum()),
        rounded_blocks=int((~kept & kept_own).sum()),
        broken_blocks=broken,
        sparsity=float((stored == 0).mean()),
    )
