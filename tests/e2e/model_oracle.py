"""A converted model in numpy: each fastep node by the reference of its op, everything else by ONNX's own evaluator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from pyfastep.passes.ops import DOMAIN
from pyfastep.passes.ops.registry import OPS

Inputs = dict[str, Any]


def call_reference(module: Any, variant: Any, inputs: Inputs, attributes: dict[str, Any]) -> tuple[Any, ...]:
    """The outputs of one node."""
    if "weight_shape" in attributes:
        n, k = attributes["weight_shape"]
        return (module.reference(variant, inputs, (n, k)),)
    if "num_heads" in attributes:
        return (module.reference(variant, inputs, attributes["num_heads"], attributes["scale"]),)
    return tuple(module.reference(variant, inputs, attributes["epsilon"]))


def find_variant(name: str) -> tuple[Any, Any]:
    """The module of an op's name, and the variant."""
    for module in OPS:
        variant = module.Variant.parse(name)
        if variant is not None:
            return module, variant
    raise AssertionError(f"the contract knows no {name}")


def _evaluator_class(name: str) -> type[OpRun]:
    module, variant = find_variant(name)

    def run(self: OpRun, *values: Any, **_: Any) -> tuple[Any, ...]:
        wanted = ("weight_shape", "num_heads", "scale", "epsilon")
        attributes = {key: getattr(self, key) for key in wanted if hasattr(self, key)}
        return call_reference(module, variant, dict(zip(variant.inputs, values, strict=True)), attributes)

    return type(name, (OpRun,), {"op_domain": DOMAIN, "_run": run})


class ModelOracle:
    """Bit for bit what every tier must return."""

    def __init__(self, path: Path) -> None:
        model = onnx.load(path)
        names = sorted({node.op_type for node in model.graph.node if node.domain == DOMAIN})
        assert names, f"{path} has no fastep nodes"
        del model.functions[:]
        self._evaluator = ReferenceEvaluator(model, new_ops=[_evaluator_class(name) for name in names])

    def run(self, feeds: Inputs) -> list[Any]:
        """All outputs of the model."""
        return [np.asarray(value) for value in self._evaluator.run(None, feeds)]
