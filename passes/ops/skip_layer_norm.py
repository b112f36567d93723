"""SkipLayerNorm: y = LayerNormalization(x + residual; gamma, beta, epsilon).

Schema, numpy reference and function body of the op; `docs/op-contract-encoder.md` is what they share with the library.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

import onnx

from . import DOMAIN
from .body import Body
from .layer_norm import ALL_OUTPUTS, EPSILON, OUTPUTS_PATTERN, Array, NormOutputs, add_layer_norm, finish

_NAME = re.compile(rf"SkipLayerNorm_{OUTPUTS_PATTERN}")


@dataclasses.dataclass(frozen=True)
class Variant:
    """What the name of a SkipLayerNorm says.

    Attributes:
        norm: the outputs.
    """

    norm: NormOutputs

    @property
    def name(self) -> str:
        """The op name, `SkipLayerNorm_{f32|{q}|f32_{q}}`."""
        return f"SkipLayerNorm_{self.norm.suffix}"

    @classmethod
    def parse(cls, name: str) -> Variant | None:
        """Reads an op name; None if it is not one of SkipLayerNorm."""
        match = _NAME.fullmatch(name)
        return None if match is None else cls(NormOutputs.parse(match["outputs"]))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        return ("x", "residual", "gamma", "beta", *self.norm.inputs)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes."""
        return (EPSILON,)


def all_variants() -> list[Variant]:
    """Every variant that the contract knows."""
    return [Variant(outputs) for outputs in ALL_OUTPUTS]


def reference(variant: Variant, inputs: Mapping[str, Array], epsilon: float) -> list[Array]:
    """The contract's arithmetic, bit for bit: what every tier must return.

    Args:
        variant: the op.
        inputs: arrays by the names of `variant.inputs`; x and residual are `[..., H]`.
        epsilon: added to the variance.

    Returns:
        The outputs `[..., H]` that the name asks for.
    """
    return finish(inputs["x"] + inputs["residual"], inputs, variant.norm, epsilon)


def build_function(variant: Variant, opset: int) -> onnx.FunctionProto:
    """The body of a variant in plain ONNX, in the model's own opset, at least 17."""
    body = Body(opset)
    add_layer_norm(body, body.add("Add", ["x", "residual"], "z"), variant.norm)
    return onnx.helper.make_function(
        DOMAIN,
        variant.name,
        list(variant.inputs),
        list(variant.norm.outputs),
        body.nodes,
        [onnx.helper.make_opsetid("", opset)],
        attributes=list(variant.attributes),
    )
