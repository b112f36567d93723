"""Keeps what is added up before a LayerNormalization in float: residuals and embeddings.

    LayerNormalization(DQ(Q(DQ(Q(x)) + DQ(Q(residual)))))    becomes    LayerNormalization(x + residual)

Quantizers put Q/DQ around every input and output of an op that they quantize. Around these sums they only add a
rounding, where a plan has the float values at hand.
"""

from __future__ import annotations

import onnx_ir as ir

from .base import CountingPass
from .edit import remove_dead
from .match.constants import is_op
from .match.layer_norm import match_layer_norm
from .match.quantizers import without_rounding

_MAX_TERMS = 8


class KeepSumsFloatPass(CountingPass):
    """Removes the Q/DQ pairs around sums that are normalized. Quantizers that clamp at zero stay."""

    def rewrite(self, model: ir.Model) -> int:
        """Treats all in the main graph; the count is the number of pairs gone."""
        count = 0
        for node in list(model.graph):
            norm = match_layer_norm(node) if node.graph is not None else None
            if norm is None or isinstance(norm, str):
                continue
            add = without_rounding(norm.x).producer()
            if add is None or not is_op(add, "Add"):
                continue
            readers = {use.node: None for use in norm.x.uses()}
            count += _skip_pair(list(readers), norm.x)
            count += _keep_terms_float(add, _MAX_TERMS)
        return count


def _keep_terms_float(add: ir.Node, remaining: int) -> int:
    """The same for the terms of a sum, and for the sums among them."""
    count = 0
    for side in add.inputs:
        if side is None or remaining <= 0:
            continue
        inner = without_rounding(side).producer()
        count += _skip_pair([add], side)
        if inner is not None and is_op(inner, "Add"):
            count += _keep_terms_float(inner, remaining - 2)
    return count


def _skip_pair(readers: list[ir.Node], value: ir.Value) -> int:
    """Lets the readers of a value read what is in front of its Q/DQ pair."""
    source, dequantizer = without_rounding(value), value.producer()
    if source is value or value.is_graph_output():
        return 0
    for reader in readers:
        for index, other in enumerate(reader.inputs):
            if other is value:
                reader.replace_input_with(index, source)
    remove_dead([dequantizer])
    return 1
