"""ONNX Runtime's own dynamic INT8 model, at its best settings: one of the forms that FastEP is measured against.

It is the float model through ``onnxruntime.transformers.optimizer`` (attention, GELU, skip and embedding layer
normalization fused), then ``quantize_dynamic``. `build.py` makes the static forms; docs/demo.md lists all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onnx import TensorProto
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.fusion_options import FusionOptions

from pyfastep.errors import FastEPError

__all__ = ["build_dynamic"]


def build_dynamic(fp32_path: Path, output_path: Path, *, num_heads: int, hidden_size: int) -> Path:
    """Fuses a BERT-like float model for ONNX Runtime and quantizes it dynamically to INT8.

    Args:
        fp32_path: Float ONNX model.
        output_path: Where the quantized model goes.
        num_heads: Attention heads, which the attention fusion must know.
        hidden_size: Features of a token.

    Raises:
        FastEPError: ONNX Runtime fused no attention; the comparison would be unfair to it.
    """
    fused_path = output_path.with_suffix(".fused.onnx")
    with _quiet():
        model = optimizer.optimize_model(
            str(fp32_path),
            model_type="bert",
            num_heads=num_heads,
            hidden_size=hidden_size,
            opt_level=0,
            optimization_options=FusionOptions("bert"),
        )
        fused = model.get_fused_operator_statistics()
        if not fused["Attention"]:
            raise FastEPError(f"ONNX Runtime's optimizer fused no attention, only {fused}", node=str(fp32_path))
        model.save_model_to_file(str(fused_path))
        quantize_dynamic(
            fused_path,
            output_path,
            weight_type=QuantType.QInt8,
            # Fused operators have no shape inference; everything they produce is float.
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )
    fused_path.unlink()
    return output_path


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the hints that both tools write for every model."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)
