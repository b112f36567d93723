"""The one list of ops: finds what belongs to an op by its name."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol

import onnx

from . import embed_layer_norm, fattention, qattention, qlinear, skip_layer_norm


class OpVariant(Protocol):
    """What every variant tells."""

    @property
    def name(self) -> str:
        """The op name."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""


@dataclasses.dataclass(frozen=True)
class FoundOp:
    """A variant of one of the ops.

    Attributes:
        inputs: names of its inputs, in order.
        build_function: its body in a given opset.
    """

    inputs: tuple[str, ...]
    build_function: Callable[[int], onnx.FunctionProto]


OPS: tuple[Any, ...] = (qlinear, qattention, fattention, skip_layer_norm, embed_layer_norm)
"""The modules of the ops; each has `Variant`, `all_variants`, `reference` and `build_function`."""


def find_op(name: str) -> FoundOp | None:
    """The variant of this name, of whatever op; None if the contract knows none."""
    for op in OPS:
        variant: OpVariant | None = op.Variant.parse(name)
        if variant is not None:
            return FoundOp(variant.inputs, functools.partial(op.build_function, variant))
    return None
