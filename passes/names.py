"""Names that nothing else in a model has, for the nodes and values that passes add.

onnx.checker refuses a model whose values share a name, ONNX Runtime one whose nodes do.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

_TAKEN = "fastep.names"
"""Key of a graph's `meta`: its `_Taken`."""


@dataclasses.dataclass(frozen=True)
class _Taken:
    """The names in a graph and its subgraphs, where those of outer graphs are visible and must not be given again."""

    nodes: set[str]
    values: set[str]


def node_name(graph: ir.Graph, wanted: str) -> str:
    """A name for a new node, and from now on taken.

    Args:
        graph: the model's main graph.
        wanted: the name, if it is free; else it gets a number.
    """
    return take(wanted, _taken(graph).nodes)


def value_name(graph: ir.Graph, wanted: str) -> str:
    """The same for a new value."""
    return take(wanted, _taken(graph).values)


def take(wanted: str, taken: set[str]) -> str:
    """The name if it is free, else the first of `<name>_1`, `<name>_2`, ... that is; `taken` has it then."""
    name, number = wanted, 1
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    taken.add(name)
    return name


def forget_names(graph: ir.Graph) -> None:
    """Lets the names be collected anew: once per pass, because a look at the graph for every name would take long."""
    graph.meta.pop(_TAKEN, None)


def _taken(graph: ir.Graph) -> _Taken:
    found = graph.meta.get(_TAKEN)
    if not isinstance(found, _Taken):
        found = graph.meta[_TAKEN] = _collect(graph)
    return found


def _collect(graph: ir.Graph) -> _Taken:
    scopes: list[ir.Graph | ir.Function | ir.GraphView] = []
    nodes = list(ir.traversal.RecursiveGraphIterator(graph, enter_graph=scopes.append))
    values = {value.name or "" for node in nodes for value in node.outputs}
    for scope in scopes:
        values.update(value.name or "" for value in scope.inputs)
        values.update(scope.initializers if isinstance(scope, ir.Graph) else ())
    return _Taken({node.name or "" for node in nodes}, values)
