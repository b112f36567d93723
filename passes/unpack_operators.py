"""Writes fused operators as the plain ops that they stand for: one form for all that follows.

Quantized operators become Q/DQ around float ops; what ONNX Runtime's optimizers fused comes apart again. Each family
of operators is a module of `unpack`.
"""

from __future__ import annotations

import onnx_ir as ir

from .base import CountingPass, Refusal
from .match.constants import is_default_domain
from .match.linear import weight_input
from .unpack import activations, elementwise, embed_layer_norm, layer_norm, onnx_attention, products, quantizers
from .unpack.microsoft_attention import AttentionUnpacker
from .unpack.writer import NOT_OURS, Unpackers

_PRODUCTS: Unpackers = {**products.UNPACKERS, **quantizers.UNPACKERS}
_AROUND_LINEARS: Unpackers = {
    **elementwise.UNPACKERS,
    **activations.UNPACKERS,
    **layer_norm.UNPACKERS,
    **embed_layer_norm.UNPACKERS,
}


class UnpackOperatorsPass(CountingPass):
    """See the module.

    Args:
        exact: whether only products are unpacked, and the quantizers in front of them.
        attention: whether attention is unpacked too, and the quantized ops that stand around its products.

    Attributes:
        unfused: operators beyond linears that stay as they are, with the reason.
    """

    def __init__(self, exact: bool = False, attention: bool = False) -> None:
        super().__init__()
        self._exact = exact
        self._attention = attention
        self.unfused: list[Refusal] = []

    def rewrite(self, model: ir.Model) -> int:
        """Unpacks every operator that it can; `refusals` has the linears among the others."""
        self.unfused, count = [], 0
        unpackers = self._unpackers()
        for node in list(model.graph):
            key = ("" if is_default_domain(node) else node.domain, node.op_type)
            if key not in unpackers or node.graph is None or not self._concerns(node, key):
                continue
            is_linear = weight_input(node) is not None
            reason = unpackers[key](node)
            if reason is None:
                count += 1
            elif is_linear:
                self.refusals.append(Refusal(node.name or "", reason))
            elif reason != NOT_OURS:
                self.unfused.append(Refusal(node.name or "", reason))
        return count

    def _unpackers(self) -> Unpackers:
        attention = {**onnx_attention.UNPACKERS, **AttentionUnpacker().unpackers} if self._attention else {}
        return {**_PRODUCTS, **({} if self._exact else _AROUND_LINEARS), **attention}

    def _concerns(self, node: ir.Node, key: tuple[str, str]) -> bool:
        """Whether a node is to be unpacked in this mode."""
        if self._attention:
            return True
        if key in elementwise.UNPACKERS:
            return elementwise.adds_constant(node)
        return key not in products.TWO_SIDED or weight_input(node) is not None
