"""What a conversion did, layer by layer: data and plain text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from .base import Refusal
from .fuse_qlinear import LAYER, FusedLayer, qlinear_nodes
from .match.constants import constant
from .ops.qlinear import WEIGHT_SHAPE, Variant
from .prove_padding import Padding
from .storage import Structure
from .store_sparse import STRUCTURE

ASYMMETRIC = "weights have zero points: stored and run dense (quantize them symmetrically)"

EXACT = (
    "exact: products alone are fused, all else stays ONNX Runtime's; its outputs, bit for bit (on a CPU without VNNI "
    "those with session.x64quantprecision = 1, as its products saturate otherwise)"
)

KernelChoice = Callable[[ir.Node], str]

# Share of a VNNI core's peak that a kernel reaches at 80 % sparsity. The library decides for itself when it packs.
_EFFICIENCY = {"dense": 0.96, "4x1": 0.85, "1x4": 0.56, "2x4": 0.84, "4x4": 0.88, "8x4": 0.88}


@dataclasses.dataclass(frozen=True)
class LayerReport:
    """One QLinear.

    Attributes:
        name: name of the node.
        n: output features.
        k: input features.
        structure: what its zeros look like: `dense`, `unstructured` or `RxC`, outputs x inputs.
        density: share of non-zero weights.
        block_density: share of blocks of that structure with a non-zero weight (elements, if there is none).
        kernel: the kernel that suits its zeros, by name: an estimate, as the library chooses when it packs (`fastep
            doctor` tells).
        stored: `dense`, or the blocks that the file holds.
        bytes_before: weight in the source file.
        bytes_after: weight in the converted file.
        bias: whether a bias is fused.
        activation: `relu`, `gelu`, `gelutanh` or empty.
        output: `u8`, `s8` or `f32`.
        dropped_pairs: Q/DQ pairs inside that are gone.
        note: what keeps the layer from being faster, if something does.
    """

    name: str
    n: int
    k: int
    structure: str
    density: float
    block_density: float
    kernel: str
    stored: str
    bytes_before: int
    bytes_after: int
    bias: bool
    activation: str
    output: str
    dropped_pairs: int
    note: str = ""


@dataclasses.dataclass(frozen=True)
class PassReport:
    """How often a pass changed something."""

    name: str
    count: int


@dataclasses.dataclass(frozen=True)
class EncoderReport:
    """What became of attention, LayerNorm and embeddings.

    Attributes:
        fused: nodes of each op, by the names in the file.
        unfused: what was left alone, with the reason.
        unproven_masks: attentions that add their mask as the graph computes it, with the reason why it is not known to
            be the attention_mask alone.
        padding: whether right padding is left out, and why; None without attention.
        in_float: attentions that run in float (FAttention), with the reason why they are not quantized.
    """

    fused: dict[str, int]
    unfused: list[Refusal]
    unproven_masks: list[Refusal]
    padding: Padding | None = None
    in_float: list[Refusal] = dataclasses.field(default_factory=list)

    def lines(self) -> list[str]:
        """Plain text: a line per op, a line for each that was left alone."""
        fused = ", ".join(f"{count} {name}" for name, count in self.fused.items())
        return [
            f"beyond the linears: {fused or 'nothing fused'}",
            *(f"  {entry.node}: left alone, {entry.reason}" for entry in self.unfused),
            *(f"  {entry.node}: attention in float (FAttention), {entry.reason}" for entry in self.in_float),
            *(f"  {entry.node}: mask added as it is, {entry.reason}" for entry in self.unproven_masks),
            *([f"padding: {self.padding.text}"] if self.padding is not None else []),
        ]


@dataclasses.dataclass
class ConversionReport:
    """The whole conversion.

    Attributes:
        layers: the linears that FastEP runs.
        skipped: the linears that were left alone, with the reason.
        passes: the pipeline, in order.
        exact: whether only products were fused, so that outputs are the source's, bit for bit.
        file_bytes_before: size of the source with its external data; 0 if it was never a file.
        file_bytes_after: size of what was written; 0 if nothing was.
        largest_difference: of the outputs on random inputs, source against converted; None if not measured.
        encoder: the ops around the linears; None if they were not asked for.
    """

    layers: list[LayerReport]
    skipped: list[Refusal]
    passes: list[PassReport]
    exact: bool
    file_bytes_before: int = 0
    file_bytes_after: int = 0
    largest_difference: float | None = None
    encoder: EncoderReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    def to_text(self) -> str:
        """Plain text: a line per layer."""
        lines = [f"{len(self.layers)} linears converted, {len(self.skipped)} left alone"]
        for layer in self.layers:
            fused = "+".join(filter(None, ["bias" if layer.bias else "", layer.activation, layer.output]))
            lines.append(
                f"  {layer.name}: {layer.n}x{layer.k} {layer.structure}, {layer.density:.0%} of weights, "
                f"{layer.block_density:.0%} of blocks; kernel {layer.kernel}; {fused}; "
                f"{layer.bytes_before} -> {layer.bytes_after} bytes ({layer.stored})"
                + (f"; {layer.note}" if layer.note else "")
            )
        lines += [f"  {skip.node}: left alone, {skip.reason}" for skip in self.skipped]
        lines += self.encoder.lines() if self.encoder is not None else []
        lines += [EXACT] if self.exact else []
        if self.file_bytes_after:
            lines.append(f"file: {self.file_bytes_before} -> {self.file_bytes_after} bytes")
        return "\n".join(lines)


def expected_kernel(structure: Structure) -> str:
    """The kernel with the least work, from the zeros alone."""
    cost = {"dense": 1 / _EFFICIENCY["dense"]}
    for rows, cols in structure.block_density:
        name = f"{rows}x{cols}"
        if name in _EFFICIENCY:
            cost[name] = structure.block_density[rows, cols] / _EFFICIENCY[name]
    return min(cost, key=lambda name: cost[name])


def describe_layers(graph: ir.Graph, choose_kernel: KernelChoice | None = None) -> list[LayerReport]:
    """A report of every QLinear that this pipeline made.

    Args:
        graph: the converted graph.
        choose_kernel: asks the library which kernel a node will get; by default the zeros alone decide.
    """
    return [_describe(node, variant, choose_kernel) for node, variant in qlinear_nodes(graph) if LAYER in node.meta]


def _describe(node: ir.Node, variant: Variant, choose_kernel: KernelChoice | None) -> LayerReport:
    structure: Structure = node.meta[STRUCTURE]
    layer: FusedLayer = node.meta[LAYER]
    inputs = dict(zip(variant.inputs, node.inputs, strict=True))
    found = structure.found()
    shape = tuple(int(size) for size in found.split("x")) if "x" in found else (1, 1)
    n, k = node.attributes[WEIGHT_SHAPE].as_ints()
    stored, size = _storage_of(inputs)
    note = ASYMMETRIC if not variant.sparse and _is_asymmetric(inputs) else ""
    return LayerReport(
        name=node.name or "",
        n=n,
        k=k,
        structure=found,
        density=structure.density,
        block_density=structure.block_density[shape[0], shape[1]],
        kernel=choose_kernel(node) if choose_kernel is not None else "dense" if note else expected_kernel(structure),
        stored=stored,
        bytes_before=layer.source_bytes,
        bytes_after=size,
        bias=layer.has_bias,
        activation=variant.activation,
        output=variant.y_type,
        dropped_pairs=layer.dropped_pairs,
        note=note,
    )


def _is_asymmetric(inputs: dict[str, ir.Value | None]) -> bool:
    """Whether a zero weight is stored as anything else than 0 (s8) or 128 (u8)."""
    zero_point = constant(inputs["w_zero_point"])
    middle = 128 if zero_point is not None and zero_point.dtype == np.uint8 else 0
    return zero_point is not None and bool((zero_point != middle).any())


def _storage_of(inputs: dict[str, ir.Value | None]) -> tuple[str, int]:
    """How the weight is stored, in words, and in how many bytes."""
    tensors = {
        key: value.const_value for key, value in inputs.items() if value is not None and value.const_value is not None
    }
    if "weight" in tensors:
        return "dense", tensors["weight"].nbytes
    blocks, gaps = tensors["blocks"], tensors["block_gaps"]
    _, rows, cols = blocks.shape.numpy()
    return f"{rows}x{cols} blocks, {gaps.dtype.name.lower()} gaps", blocks.nbytes + gaps.nbytes
