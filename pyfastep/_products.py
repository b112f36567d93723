"""Which products of a float model are those of attention."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pyfastep._graph_order import names_read

PRODUCTS = ("MatMul", "Gemm")
_ENDS = {*PRODUCTS, "Softmax", "Einsum", "FusedMatMul"}  # the last two multiply, too, but are not quantized


def attention_products(graph: Any) -> set[str]:
    """Names of the products next to a Softmax: scores, which it reads, and sums of values, weighted by what it writes.

    Any other ops may stand between. Products of activations elsewhere are something else: rotary embeddings multiply
    frequencies by positions, and 8 bits of an angle are too few.
    """
    makers = {output: node for node in graph.node for output in node.output}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in names_read(node):
            readers.setdefault(name, []).append(node)

    def before(node: Any) -> Iterable[Any]:
        return (makers[name] for name in names_read(node) if name in makers)

    def after(node: Any) -> Iterable[Any]:
        return (reader for name in node.output for reader in readers.get(name, []))

    starts = [node for node in graph.node if node.op_type == "Softmax"]
    return _first_products(starts, before) | _first_products(starts, after)


def _first_products(starts: list[Any], neighbours: Callable[[Any], Iterable[Any]]) -> set[str]:
    """The products that are met first on every way from the starts."""
    found, seen, waiting = set(), set(), list(starts)
    while waiting:
        for node in neighbours(waiting.pop()):
            if node.op_type in PRODUCTS:
                found.add(node.name)
            elif node.op_type not in _ENDS and id(node) not in seen:
                seen.add(id(node))
                waiting.append(node)
    return found
