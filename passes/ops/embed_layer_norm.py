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

_NAME = re.compile(rf"EmbedLayerNorm(?P<type>_type)?(?P<counted>_counted)?_{OUTPUTS_PATTERN}(?P<quant>_quant)?")
_IDS = {"word": "input_ids", "position": "position_ids", "type": "token_type_ids"}
_POSITIONS = _IDS["position"]


@dataclasses.dataclass(frozen=True)
class Variant:
    """What the name of an EmbedLayerNorm says.

    Attributes:
        has_type: whether there is a third table, of token types.
        norm: the outputs.
        quantized_tables: whether the tables are u8 or s8.
        counted: whether positions are 0, 1, ..., S - 1 in every sequence, and no input.
    """

    has_type: bool
    norm: NormOutputs
    quantized_tables: bool
    counted: bool = False

    @property
    def name(self) -> str:
        """The op name, `EmbedLayerNorm[_type][_counted]_{f32|{q}|f32_{q}}[_quant]`."""
        tokens = ("_type" if self.has_type else "") + ("_counted" if self.counted else "")
        return f"EmbedLayerNorm{tokens}_{self.norm.suffix}{'_quant' if self.quantized_tables else ''}"

    @classmethod
    def parse(cls, name: str) -> Variant | None:
        """Reads an op name; None if it is not one of EmbedLayerNorm."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        given = {part: match[part] is not None for part in ("type", "quant", "counted")}
        return cls(given["type"], NormOutputs.parse(match["outputs"]), given["quant"], given["counted"])

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables, in the order in which their rows are added."""
        return ("word", "position", "type") if self.has_type else ("word", "position")

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the inputs that pick rows, in the order of the tables."""
        return tuple(_IDS[table] for table in self.tables if not (self.counted and _IDS[table] == _POSITIONS))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        parts = ("", "_scale", "_zero_point") if self.quantized_tables else ("",)
        tables = tuple(f"{table}{part}" for table in self.tables for part in parts)
        return (*self.ids, *tables, "gamma", "beta", *self.norm.inputs)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes."""
        return (EPSILON,)


def all_variants() -> list[Variant]:
    """Every variant that the contract knows."""
    return [
        Variant(has_type, outputs, quantized, counted)
        for has_type in (False, True)
        for counted in (False, True)
        for outputs in ALL_OUTPUTS
        for quantized in (False, True)
    ]


def reference(variant: Variant, inputs: Mapping[str, Array], epsilon: float) -> list[Array]:
    """The contract's arithmetic, bit for bit: what every tier must return.

    Args:
        variant: the op.
        inputs: arrays by the names of `variant.inputs`; ids `[B, S]` (positions also `[1, S]`), tables `[n, H]`.
            Counted positions of S tokens need a table of at least S rows.
        epsilon: added to the variance.

    Returns:
        The outputs `[B, S, H]` that the name asks for.

    Raises:
        IndexError: an id, or a counted position, is negative or not below the rows of its table.
    """
    ids = {_POSITIONS: np.arange(inputs["input_ids"].shape[1])[None], **{name: inputs[name] for name in variant.ids}}
    total: FloatArray | None = None
    for table in variant.tables:
        rows = _rows(inputs[table], ids[_IDS[table]], _IDS[table])
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
    if variant.counted:
        _count_positions(body)
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


def _count_positions(body: Body) -> None:
    """0, 1, ..., S - 1. As ids, so that a sequence longer than the table is an error here, too."""
    size = body.add("Shape", ["input_ids"], "size", start=1, end=2)
    length = body.add("Squeeze", [size], "length")
    first, step = (body.tensor(name, np.array(value, np.int64)) for name, value in (("first", 0), ("step", 1)))
    body.add("Range", [first, length, step], _POSITIONS)
