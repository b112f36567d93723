"""Checks that every QLinear still holds the weight of its source."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from . import storage
from .base import CountingPass
from .errors import VerificationError
from .fuse_qlinear import LAYER, qlinear_nodes
from .match.constants import Array, constant
from .ops.qlinear import WEIGHT_SHAPE, Variant


class VerifyQLinearPass(CountingPass):
    """Decodes every weight and compares it with the source's. Changes nothing.

    Raises:
        VerificationError: a weight differs.
    """

    def rewrite(self, model: ir.Model) -> int:
        """Compares; the count is always 0."""
        for node, variant in qlinear_nodes(model.graph):
            layer = node.meta.get(LAYER)
            if layer is None:
                continue
            decoded, zero_point = _decoded(node, variant)
            source_zero_point = np.uint8(128) if decoded.dtype != layer.weight.dtype else zero_point
            same = decoded.shape == layer.weight.shape and np.array_equal(
                decoded.astype(np.int16) - zero_point, layer.weight.astype(np.int16) - source_zero_point
            )
            if not same:
                problem = "the stored weight differs from the source's"
                raise VerificationError(
                    problem, node=f"node '{node.name}'", remedy="please report this as a bug of FastEP"
                )
        return 0


def _decoded(node: ir.Node, variant: Variant) -> tuple[Array, Array]:
    """The weight `[K, N]` and its zero point."""
    inputs = dict(zip(variant.inputs, node.inputs, strict=True))
    zero_point = constant(inputs["w_zero_point"])
    assert zero_point is not None  # an initializer
    if not variant.sparse:
        weight = constant(inputs["weight"])
        assert weight is not None  # an initializer
        return weight, zero_point.astype(np.int16)
    blocks, gaps = constant(inputs["blocks"]), constant(inputs["block_gaps"])
    assert blocks is not None  # an initializer
    assert gaps is not None  # an initializer
    n, k = node.attributes[WEIGHT_SHAPE].as_ints()
    return storage.decode(storage.BlockWeight(blocks, gaps, (n, k))).T, zero_point.astype(np.int16)
