"""Fuses multi-head attention: into QAttention if both of its products are quantized, else into FAttention."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import numpy as np
import onnx_ir as ir

from .base import CountingPass, Refusal
from .edit import add_initializer, insert, move_shapes, opset_of, remove_dead, replace, replace_nodes, set_type
from .fuse_qlinear import named_inputs, qlinear_nodes
from .match.attention import Attention, MaskTerm, match_attention
from .match.constants import constant, is_op
from .match.dims import rank_of
from .match.heads import Operand
from .match.key_mask import Scores, prove_key_mask
from .match.quantizers import Scale, can_be_one, only_consumer, quantizers_of, scale_of
from .names import value_name
from .ops import DOMAIN, fattention, qattention
from .ops.attention import HEAD_SIZE, NUM_HEADS, SCALE, AttentionVariant, MaskKind, OutputType
from .ops.qlinear import Variant

_RANK = 4  # of scores and whatever is added to them
_HIDDEN = np.float32(np.finfo(np.float32).min)


@dataclasses.dataclass(frozen=True)
class _Mask:
    """The mask input of an attention."""

    kind: MaskKind
    value: ir.Value | None = None


class FuseAttentionPass(CountingPass):
    """Every attention becomes a QAttention or, if one of its products is not quantized, an FAttention.

    QAttention: Q of q, k and v moves up to the linears, through heads and constant factors, by which its scale is
    divided. FAttention: Q and DQ of q, k and v only round and are dropped, the linears give floats; those that clamp at
    zero stay in front. `refusals` has what is neither.

    Attributes:
        in_float: every FAttention, and which of its products are not quantized.
        unproven: for every attention whose mask is added as it is, why it is not known to be the attention_mask.
    """

    def __init__(self) -> None:
        super().__init__()
        self._proofs: dict[tuple[ir.Value, str, int], ir.Value | str] = {}
        self.unproven: list[Refusal] = []
        self.in_float: list[Refusal] = []

    def rewrite(self, model: ir.Model) -> int:
        """Fuses all in the main graph."""
        self._proofs, self.unproven, self.in_float, count = {}, [], [], 0
        for node in list(model.graph):
            found = match_attention(node) if is_op(node, "Softmax") and node.graph is not None else None
            if found is None:
                continue
            mask = self._mask_of(model, found) if isinstance(found, Attention) else found
            if isinstance(found, str) or isinstance(mask, str):
                self.refusals.append(Refusal(node.name or "", str(mask)))
                continue
            _fuse(model.graph, found, mask)
            if found.float_reason:
                self.in_float.append(Refusal(node.name or "", found.float_reason))
            count += 1
        return count

    def _mask_of(self, model: ir.Model, found: Attention) -> _Mask | str:
        """The raw mask if it is proven, else what is added to the scores."""
        if not found.terms:
            return _Mask("")
        if len(found.terms) == 1:
            proof = self._prove(found, opset_of(model) or 0)
            if isinstance(proof, ir.Value):
                return _Mask("mask", proof)
        else:
            proof = f"{len(found.terms)} terms are added to the scores"
        bias = _as_bias(found)
        if isinstance(bias, str):
            return f"{proof}; {bias}"
        self.unproven.append(Refusal(found.node.name or "", proof))
        return _Mask("bias", bias)

    def _prove(self, found: Attention, opset: int) -> ir.Value | str:
        """Once per mask: all layers share theirs."""
        term, heads = found.terms[0], found.q.heads
        key = (term.value, term.role, heads)
        if key not in self._proofs:
            self._proofs[key] = prove_key_mask(
                term.value, term.role, Scores(found.product, found.q.source, heads), opset
            )
        return self._proofs[key]


def _as_bias(found: Attention) -> ir.Value | str:
    """The sum of all that changes the scores, `[1 or B, 1 or h, 1 or S, S]` float32."""
    if any(rank_of(term.value) is None for term in found.terms):
        return "the rank of the mask is unknown"
    if any(_needs(term.value, found.product) for term in found.terms):
        return "the mask takes its shape from the scores"
    parts = []
    for index, term in enumerate(found.terms):
        if term.role == "added" and term.value.dtype not in (None, ir.DataType.FLOAT):
            return "the mask is not added as float32"
        parts.append(_float_term(found.node, term, index))
    total = parts[0]
    for index, part in enumerate(parts[1:]):
        like = ir.Value(shape=ir.Shape([None] * _RANK))
        total = insert(
            found.node, "Add", [total, part], name=f"{found.node.name}/bias_{index}", like=like, dtype=ir.DataType.FLOAT
        )
    return total


def _needs(value: ir.Value, product: ir.Value) -> bool:
    """Whether a value cannot be computed without the scores."""
    seen: set[ir.Value] = set()
    waiting = [value]
    while waiting:
        here = waiting.pop()
        node = here.producer()
        if here is product:
            return True
        if here not in seen and node is not None:
            waiting += [source for source in node.inputs if source is not None]
        seen.add(here)
    return False


def _float_term(before: ir.Node, term: MaskTerm, index: int) -> ir.Value:
    """A term as something that is added, with 4 axes."""
    graph, name, value = before.graph, f"{before.name}/mask_{index}", term.value
    assert graph is not None  # nodes of a model belong to a graph
    if term.role != "added":
        ends = [
            add_initializer(graph, f"{name}_{key}", np.asarray(x, np.float32))
            for key, x in (("shown", 0), ("hidden", _HIDDEN))
        ]
        sides = ends if term.role == "visible" else ends[::-1]
        value = insert(before, "Where", [value, *sides], name=f"{name}_where", like=value, dtype=ir.DataType.FLOAT)
    missing = _RANK - (rank_of(value) or 0)
    if missing:
        axes = add_initializer(graph, f"{name}_axes", np.arange(missing))
        like = ir.Value(shape=ir.Shape([None] * _RANK))
        value = insert(before, "Unsqueeze", [value, axes], name=f"{name}_unsqueeze", like=like, dtype=ir.DataType.FLOAT)
    return value


def _fuse(graph: ir.Graph, found: Attention, mask: _Mask) -> None:
    last = found.y.producer()
    assert last is not None  # the merged heads
    name = found.node.name or ""
    y_type = "f32" if found.y_scale is None else {"u1": "u8", "i1": "s8"}[found.y_scale.zero_point.dtype.str[1:]]
    operands = {"q": found.q, "k": found.k, "v": found.v}
    kinds: tuple[OutputType, MaskKind] = (cast(OutputType, y_type), mask.kind)
    if found.float_reason:
        variant: AttentionVariant = fattention.Variant(*kinds)
        sources = [_as_float(graph, last, f"{name}/{key}", operand) for key, operand in operands.items()]
        scales = {}
    else:
        variant = qattention.Variant(*kinds)
        sources = [_quantized(graph, last, f"{name}/{key}", operand) for key, operand in operands.items()]
        scales = {key: operand.scale for key, operand in operands.items() if operand.scale is not None}
    ends = {} if found.y_scale is None else {"y": found.y_scale}
    inputs = [*sources, *_parameters(graph, name, scales), *([mask.value] if mask.value is not None else [])]
    attributes: dict[str, Any] = {NUM_HEADS: found.q.heads, HEAD_SIZE: found.q.head_size}
    output = ir.Value(name=value_name(graph, f"{name}/y"), shape=found.y.shape)
    set_type(
        output, ir.DataType.FLOAT if found.y_scale is None else ir.DataType.from_numpy(found.y_scale.zero_point.dtype)
    )
    fused = ir.Node(
        DOMAIN,
        variant.name,
        [*inputs, *_parameters(graph, name, ends)],
        [*ir.convenience.convert_attributes(attributes), ir.AttrFloat32(SCALE, found.scale)],
        outputs=[output],
        name=name,
    )
    graph.insert_before(last, fused)
    _take_over(found, output)
    for source in sources if not found.float_reason else ():
        _fold_quantizer(graph, source)
    for source in sources if found.float_reason else ():
        _unfold_quantizer(graph, source)


def _parameters(graph: ir.Graph, name: str, scales: dict[str, Scale]) -> list[ir.Value]:
    return [
        add_initializer(graph, f"{name}/{key}_{part}", array)
        for key, scale in scales.items()
        for part, array in (("scale", scale.scale), ("zero_point", scale.zero_point))
    ]


def _quantized(graph: ir.Graph, before: ir.Node, name: str, operand: Operand) -> ir.Value:
    """The operand as a quantized value."""
    assert operand.scale is not None  # of an attention whose products are quantized
    if operand.is_quantized:
        return operand.source
    dtype = ir.DataType.from_numpy(operand.scale.zero_point.dtype)
    parameters = _parameters(graph, name, {"y": operand.scale})
    inputs = [operand.source, *parameters]
    return insert(before, "QuantizeLinear", inputs, name=f"{name}_quantize", like=operand.source, dtype=dtype)


def _as_float(graph: ir.Graph, before: ir.Node, name: str, operand: Operand) -> ir.Value:
    """The operand as a float value; what clamps at zero still does."""
    is_float = operand.split.dtype in (None, ir.DataType.FLOAT)
    clamps = operand.scale is not None and operand.roundings > 0 and operand.scale.is_one_sided
    if is_float and (not clamps or operand.is_quantized):
        return operand.split
    quantized = _quantized(graph, before, name, operand)
    parameters = _parameters(graph, name, {"x": cast(Scale, operand.scale)})
    inputs = [quantized, *parameters]
    dtype = ir.DataType.FLOAT
    return insert(before, "DequantizeLinear", inputs, name=f"{name}_dequantize", like=operand.split, dtype=dtype)


def _take_over(found: Attention, result: ir.Value) -> None:
    """Lets all that read the attention read the new node, and removes what nobody reads any more."""
    last = found.y.producer()
    is_quantized_before = found.y.dtype in (ir.DataType.UINT8, ir.DataType.INT8)
    if found.y_scale is None or is_quantized_before:
        replace(found.y, result)
        remove_dead([last])
        return
    move_shapes(found.y, result)
    replace_nodes(quantizers_of(found.y), result)


def _fold_quantizer(graph: ir.Graph, quantized: ir.Value) -> None:
    """QLinear_f32 -> Q becomes a QLinear with quantized output, if nothing else reads the float values."""
    quantizer = quantized.producer()
    y = quantizer.inputs[0] if quantizer is not None and is_op(quantizer, "QuantizeLinear") else None
    linear, variant = _qlinear_of(graph, y)
    if quantizer is None or y is None or linear is None or variant is None or variant.y_type != "f32":
        return
    scale = scale_of(quantizer)
    if isinstance(scale, str) or only_consumer(y, "Shape") is not quantizer:
        return
    kind = "u8" if scale.zero_point.dtype == np.uint8 else "s8"
    y_scale, y_zero_point = _parameters(graph, linear.name or "", {"y": scale})
    named = named_inputs(linear, variant) | {"y_scale": y_scale, "y_zero_point": y_zero_point}
    result = _with_output(graph, linear, dataclasses.replace(variant, y_type=cast(Any, kind)), named)
    move_shapes(y, result)
    replace_nodes([quantizer], result)


def _unfold_quantizer(graph: ir.Graph, value: ir.Value) -> None:
    """QLinear with quantized output -> DQ becomes a QLinear_f32, if nothing reads the quantized values as such."""
    dequantizer = value.producer()
    y = dequantizer.inputs[0] if dequantizer is not None and is_op(dequantizer, "DequantizeLinear") else None
    linear, variant = _qlinear_of(graph, y)
    if y is None or linear is None or variant is None or y.is_graph_output():
        return
    named = named_inputs(linear, variant)
    step, zero_point = constant(named["y_scale"]), constant(named["y_zero_point"])
    assert step is not None  # an initializer of FuseQLinearPass
    assert zero_point is not None
    scale = Scale(step, zero_point)
    readers = list({use.node: None for use in y.uses() if not is_op(use.node, "Shape")})
    undo = all(is_op(node, "DequantizeLinear") and node.graph is graph and scale_of(node) == scale for node in readers)
    if not undo or not can_be_one(readers) or (scale.is_one_sided and variant.activation != "relu"):
        return
    result = _with_output(graph, linear, dataclasses.replace(variant, y_type="f32"), named)
    move_shapes(y, result)
    replace_nodes(readers, result)


def _qlinear_of(graph: ir.Graph, y: ir.Value | None) -> tuple[ir.Node | None, Variant | None]:
    """The QLinear that computes a value, and its variant."""
    linear = y.producer() if y is not None else None
    return next(((node, variant) for node, variant in qlinear_nodes(graph) if node is linear), (None, None))


def _with_output(graph: ir.Graph, linear: ir.Node, variant: Variant, named: dict[str, ir.Value | None]) -> ir.Value:
    """The result of a QLinear like this one with another type of output, put in front of it."""
    result = ir.Value(name=value_name(graph, f"{linear.name}/y"), shape=linear.outputs[0].shape)
    set_type(result, {"f32": ir.DataType.FLOAT, "u8": ir.DataType.UINT8, "s8": ir.DataType.INT8}[variant.y_type])
    inputs = [named[name] for name in variant.inputs]
    node = ir.Node(DOMAIN, variant.name, inputs, linear.attributes.values(), outputs=[result], name=linear.name)
    node.meta.update(linear.meta)
    graph.insert_before(linear, node)
    return result
