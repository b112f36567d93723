"""What nothing reads goes; what is read stays."""

from __future__ import annotations

import numpy as np

from pyfastep.passes.remove_unused import RemoveUnusedPass

from .models import Builder, op_types, to_ir


def test_dead_nodes_and_initializers_go() -> None:
    b = Builder()
    b.input("x", [4])
    b.constant("unused", np.ones(4))
    b.node("Neg", ["x"], "dead")
    b.node("Abs", ["dead"], "dead_too")
    b.node("Add", ["x", b.constant("one", 1)], "y")
    b.output("y", [4])
    model = to_ir(b.build())
    remove = RemoveUnusedPass()
    assert remove(model).modified
    assert remove.count == 3
    assert op_types(model) == ["Add"]
    assert list(model.graph.initializers) == ["one"]
    assert not RemoveUnusedPass()(model).modified
