"""What the nodes of an ONNX graph read, subgraphs included, and the order that follows from it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any


def names_read(node: Any) -> Iterator[str]:
    """Names of the values that a node reads: its inputs, and what its subgraphs take from around them."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            inside = {value.name for value in (*graph.input, *graph.initializer)}
            inside |= {output for inner in graph.node for output in inner.output}
            yield from (name for inner in graph.node for name in names_read(inner) if name not in inside)
            yield from (value.name for value in graph.output if value.name not in inside)


def sort_nodes(graph: Any) -> None:
    """Puts every node behind those whose outputs it reads; otherwise the order stays.

    ``onnxruntime.quantization`` sorts, too, but without a look into subgraphs, such as those of an If.
    """
    makers = {output: place for place, node in enumerate(graph.node) for output in node.output if output}
    waits = [{makers[name] for name in names_read(node) if name in makers} for node in graph.node]
    readers: dict[int, list[int]] = {}
    for place, others in enumerate(waits):
        for other in others:
            readers.setdefault(other, []).append(place)
    left = [len(others) for others in waits]
    ready = [place for place, count in enumerate(left) if not count]
    order = []
    while ready:
        order.append(heapq.heappop(ready))
        for reader in readers.get(order[-1], []):
            left[reader] -= 1
            if not left[reader]:
                heapq.heappush(ready, reader)
    if len(order) == len(graph.node):  # else there is a cycle, for the checker to report
        nodes = [graph.node[place] for place in order]
        del graph.node[:]
        graph.node.extend(nodes)
