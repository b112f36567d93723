"""Gives every node a name of its own.

ONNX asks for no names of nodes, and ONNX Runtime writes models without. Reports, refusals and the names of what passes
add are told apart by them.
"""

from __future__ import annotations

import onnx_ir as ir

from .base import CountingPass
from .names import take


class NameNodesPass(CountingPass):
    """Names nodes that have no name, or that of a node before them, after what they compute: `<output>/<op type>`.

    Nodes of subgraphs are named too. Values keep their names.
    """

    def rewrite(self, model: ir.Model) -> int:
        """Names all; the count is the number of nodes named."""
        nodes = list(model.graph.all_nodes())
        taken = {node.name or "" for node in nodes}
        seen, count = {""}, 0
        for node in nodes:
            name = node.name or ""
            if name in seen:
                name = node.name = take(_describe(node), taken)
                count += 1
            seen.add(name)
        return count


def _describe(node: ir.Node) -> str:
    output = next((value.name for value in node.outputs if value.name), None)
    return f"{output}/{node.op_type}" if output else node.op_type
