"""The one ordered list of passes, from a quantized model to `fastep` nodes."""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common

from .attach_functions import AttachFunctionsPass
from .base import CountingPass, Refusal
from .check_model import CheckModelPass
from .errors import ConversionError, FastEPError
from .fuse_attention import FuseAttentionPass
from .fuse_embed_layer_norm import FuseEmbedLayerNormPass
from .fuse_qlinear import FuseQLinearPass
from .fuse_skip_layer_norm import FuseSkipLayerNormPass
from .infer_shapes import InferShapesPass
from .keep_sums_float import KeepSumsFloatPass
from .merge_initializers import MergeInitializersPass
from .move_scales import MoveScalesPass
from .name_nodes import NameNodesPass
from .ops import DOMAIN
from .prove_padding import PaddingMode, ProvePaddingPass
from .raise_opset import RaiseOpsetPass
from .remove_no_ops import RemoveNoOpsPass
from .remove_unused import RemoveUnusedPass
from .report import ConversionReport, EncoderReport, KernelChoice, PassReport, describe_layers
from .store_sparse import StoreSparsePass
from .unflatten_gemm import UnflattenGemmPass
from .unpack_operators import UnpackOperatorsPass
from .unsign_activations import UnsignActivationsPass
from .verify_qlinear import VerifyQLinearPass

_BEYOND_LINEARS = (FuseEmbedLayerNormPass, FuseSkipLayerNormPass, FuseAttentionPass)


def build_pipeline(exact: bool = False, encoder: bool = False, padding: PaddingMode = "auto") -> list[CountingPass]:
    """The passes, in order.

    Args:
        exact: whether only the products of linears are fused, all else stays ONNX Runtime's.
        encoder: whether attention, LayerNorm and embeddings are fused too; not if exact.
        padding: whether the library leaves out right padding, as `prove_padding` says.
    """
    encoder = encoder and not exact
    # In this order: attention proves sizes through fused normalizations and embeddings.
    beyond_linears = [FuseEmbedLayerNormPass(), FuseSkipLayerNormPass(), FuseAttentionPass()]
    return [
        RaiseOpsetPass(),
        CheckModelPass(),
        NameNodesPass(),
        InferShapesPass(),
        UnpackOperatorsPass(exact, attention=encoder),
        InferShapesPass(),
        RemoveNoOpsPass(),
        UnflattenGemmPass(),
        *([KeepSumsFloatPass()] if encoder else []),
        MoveScalesPass(exact),
        UnsignActivationsPass(exact),
        FuseQLinearPass(exact),
        *(beyond_linears if encoder else []),
        StoreSparsePass(),
        RemoveUnusedPass(),
        MergeInitializersPass(),
        *([ProvePaddingPass(padding)] if encoder or padding == "skip" else []),
        AttachFunctionsPass(),
        VerifyQLinearPass(),
    ]


def unpack_model(model: ir.Model) -> int:
    """Writes the fused operators of a float model as plain ops, in place, so that a quantizer sees all its products.

    Returns:
        The number of operators unpacked.

    Raises:
        ConversionError: the model is broken.
    """
    if model.functions:
        common.InlinePass()(model)
    steps = [
        RaiseOpsetPass(),
        CheckModelPass(),
        NameNodesPass(),
        InferShapesPass(),
        UnpackOperatorsPass(attention=True),
    ]
    for step in (*steps, InferShapesPass(), RemoveUnusedPass()):
        _run(step, model)
    return steps[-1].count


def convert_model(
    model: ir.Model,
    *,
    exact: bool = False,
    encoder: bool = False,
    padding: PaddingMode = "auto",
    choose_kernel: KernelChoice | None = None,
) -> ConversionReport:
    """Rewrites a quantized model in place.

    Args:
        model: any ONNX model.
        exact: as in `build_pipeline`.
        encoder: as in `build_pipeline`.
        padding: as in `build_pipeline`.
        choose_kernel: as in `report.describe_layers`.

    Returns:
        What was done.

    Raises:
        ConversionError: no linear of the model can be converted, the model itself is broken, or its padding cannot be
            skipped although `padding` asks for it.
    """
    if any(node.domain == DOMAIN for node in model.graph):
        raise ConversionError(
            "the model is converted already", node="model", remedy="convert the quantized model it was made from"
        )
    if model.functions:
        common.InlinePass()(model)
    counts: list[PassReport] = []
    refusals: dict[str, Refusal] = {}
    steps = build_pipeline(exact, encoder, padding)
    for step in steps:
        _run(step, model)
        counts.append(PassReport(type(step).__name__.removesuffix("Pass"), step.count))
        for refusal in step.refusals if not isinstance(step, _BEYOND_LINEARS) else ():
            refusals.setdefault(refusal.node, refusal)
    layers = describe_layers(model.graph, choose_kernel)
    converted = {layer.name for layer in layers}
    skipped = [refusal for name, refusal in refusals.items() if name not in converted]
    if not layers:
        raise _nothing_to_convert(skipped)
    around = _describe_encoder(model.graph, steps) if encoder and not exact else None
    return ConversionReport(layers, skipped, counts, exact, encoder=around)


def _describe_encoder(graph: ir.Graph, steps: list[CountingPass]) -> EncoderReport:
    names = [node.op_type for node in graph if node.domain == DOMAIN and not node.op_type.startswith("QLinear_")]
    beyond = [step for step in steps if isinstance(step, _BEYOND_LINEARS)]
    unpacked = [refusal for step in steps if isinstance(step, UnpackOperatorsPass) for refusal in step.unfused]
    fused = {refusal.node: refusal for refusal in unpacked}
    fused |= {refusal.node: refusal for step in beyond for refusal in step.refusals}
    done = {node.name for node in graph if node.domain == DOMAIN}
    unfused = [refusal for name, refusal in fused.items() if name not in done]
    attentions = [step for step in beyond if isinstance(step, FuseAttentionPass)]
    unproven = [refusal for step in attentions for refusal in step.unproven]
    in_float = [entry for step in attentions for entry in step.in_float]
    padding = next((step.padding for step in steps if isinstance(step, ProvePaddingPass)), None)
    return EncoderReport({name: names.count(name) for name in sorted(set(names))}, unfused, unproven, padding, in_float)


def _run(step: CountingPass, model: ir.Model) -> None:
    """Runs a pass. Errors of ours come out as they are; whatever a broken model leads to besides becomes one."""
    try:
        step(model)
    except FastEPError:
        raise
    except Exception as error:
        problem = f"{type(step).__name__} failed: {type(error).__name__}: {error}"
        remedy = (
            "check the model with onnx.checker, full_check=True; if it passes, please report this as a bug of FastEP"
        )
        raise ConversionError(problem, node="model", remedy=remedy) from error


def _nothing_to_convert(skipped: list[Refusal]) -> ConversionError:
    if not skipped:
        problem, node = "the model has no linear (MatMul or Gemm with constant weights)", "model"
    else:
        reasons = sorted({refusal.reason for refusal in skipped})
        problem = f"none of the {len(skipped)} linears can be converted: {'; '.join(reasons)}"
        node = f"node '{skipped[0].node}'"
    remedy = "quantize the float32 model to 8 bits first, statically: `fastep quantize`"
    return ConversionError(problem, node=node, remedy=remedy)
