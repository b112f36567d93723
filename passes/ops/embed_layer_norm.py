"""EmbedLayerNorm: the sum of two or three embeddings, normalized.

    y = LayerNormalization(word[input_ids] + position[position_ids] (+ type[token_type_ids]); gamma, beta, epsilon)

Schema, numpy reference and function body of the op; `docs/op-contract-encoder.md` is what they share with the library.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

import numpy as np
import onnx

from . import DOMAIN
from .arithmetic import FloatArray
from .body import Body
from .layer_norm import ALL_OUTPUTS, EPSILON, OUTPUTS_PATTERN, Array, NormOutputs, add_layer_norm, finish

_NAME = re.compile(rf"EmbedLayerNorm(?P<type>_type)?_{OUTPUTS_PATTERN}(?P<quant>_quant)?")
_IDS = {"word": "input_ids", "position": "position_ids", "type": "token_type_ids"}


@dataclasses.dataclass(frozen=True)
class Variant:
    """What the name of an EmbedLayerNorm says.

    Attributes:
        has_type: whether there is a third table, of token types.
        norm: the outputs.
        quantized_tables: whether the tables are u8 or s8.
    """

    has_type: bool
    norm: NormOutputs
    quantized_tables: bool

    @property
    def name(self) -> str:
        """The op name, `EmbedLayerNorm[_type]_{f32|{q}|f32_{q}}[_quant]`."""
        type_part, quant_part = "_type" if self.has_type else "", "_quant" if self.quantized_tables else ""
        return f"EmbedLayerNorm{type_part}_{self.norm.suffix}{quant_part}"

    @classmethod
    def parse(cls, name: str) -> Variant | None:
        """Reads an op name; None if it is not one of EmbedLayerNorm."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        return cls(match["type"] is not None, NormOutputs.parse(match["outputs"]), match["quant"] is not None)

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables, in the order in which their rows are added."""
        return ("word", "position", "type") if self.has_type else ("word", "position")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        ids = tuple(_IDS[table] for table in self.tables)
        parts = ("", "_scale", "_zero_point") if self.quantized_tables else ("",)
        tables = tuple(f"{table}{part}" for table in self.tables for part in parts)
        return (*ids, *tables, "gamma", "beta", *self.norm.inputs)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes."""
        return (EPSILON,)


def all_variants() -> list[Variant]:
    """Every variant that the contract knows."""
    return [
        Variant(has_type, outputs, quantized)
        for has_type in (False, True)
        for outputs in ALL_OUTPUTS
        for quantized in (False, True)
    ]


def reference(variant: Variant, inputs: Mapping[str, Array], epsilon: float) -> list[Array]:
    """The contract's arithmetic, bit for bit: what every tier must return.

    Args:
        variant: the op.
        inputs: arrays by the names of `variant.inputs`; ids `[B, S]` (positions also `[1, S]`), tables `[n, H]`.
        epsilon: added to the variance.

    Returns:
        The outputs `[B, S, H]` that the name asks for.

    Raises:
        IndexError: an id is negative or not below the rows of its table.
    """
    total: FloatArray | None = None
    for table in variant.tables:
        rows = _rows(inputs[table], inputs[_IDS[table]], _IDS[table])
        if variant.quantized_tables:
            steps = rows.astype(np.int32) - inputs[f"{table}_zero_point"]
            rows = steps.astype(np.float32) * np.float32(inputs[f"{table}_scale"])
        total = rows if total is None else total + rows
    assert total is not None  # there are at least two tables
    return finish(total, inputs, variant.norm, epsilon)


def _rows(table: Array, ids: Array, name: str) -> Array:
    if ids.size and (ids.min() < 0 or ids.max() >= len(table)):
        raise IndexError(f"{name} lie in {ids.min()}..{ids.max()}, the table has {len(table)} rows")
    return np.asarray(table[ids])


def build_function(variant: Variant, opset: int) -> onnx.FunctionProto:
    """The body of a variant in plain ONNX, in the model's own opset, at least 17."""
    body = Body(opset)
    total = ""
    for table in variant.tables:
        rows = body.add("Gather", [table, _IDS[table]], f"{table}_rows")
        if variant.quantized_tables:
            parameters = [f"{table}_scale", f"{table}_zero_point"]
            rows = body.add("DequantizeLinear", [rows, *parameters], f"{table}_float")
        total = body.add("Add", [total, rows], f"plus_{table}") if total else rows
    add_layer_norm(body, total, variant.norm)
    return onnx.helper.make_function(
        DOMAIN,
        variant.name,
        list(variant.inputs),
        list(variant.norm.outputs),
        body.nodes,
        [onnx.helper.make_opsetid("", opset)],
        attributes=list(variant.attributes),
    )
