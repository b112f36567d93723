"""ONNX Runtime's own CPU provider, as what FastEP is compared with: exact on every CPU."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pyfastep._ep import import_onnxruntime, runtime_version

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["EXACT_PRODUCTS", "stock_session", "survives_exact_products"]

# Without VNNI its products of uint8 and int8 saturate in 16 bits, two at a time, unless this asks for others, which are
# slower (onnxruntime_session_options_config_keys.h). Elsewhere it changes nothing.
EXACT_PRODUCTS = "session.x64quantprecision"
_SURVIVES = (1, 31)  # 1.23 does not; those between are not known to


def survives_exact_products(model: str | bytes | os.PathLike[str]) -> bool:
    """Whether this ONNX Runtime may be asked for them.

    1.23 aborts, on a CPU without VNNI, at a MatMulInteger that has no zero point of its weights.
    """
    if runtime_version(import_onnxruntime()) >= _SURVIVES:
        return True
    import onnx

    try:
        if isinstance(model, bytes):
            proto = onnx.load_model_from_string(model)
        else:
            proto = onnx.load(model, load_external_data=False)
    except Exception:  # ONNX Runtime will tell what is wrong with it
        return False
    nodes = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    return all(len(node.input) > 3 for node in nodes if node.op_type == "MatMulInteger")


def stock_session(
    model: str | bytes | os.PathLike[str], options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    """A session on ONNX Runtime's CPU provider alone, whose integer products are exact if it can be had.

    Args:
        model: A file, or its bytes.
        options: Get one more entry.

    Raises:
        Exception: ONNX Runtime's, where it cannot load the model.
    """
    runtime = import_onnxruntime()
    options = options or runtime.SessionOptions()
    given = str(model) if isinstance(model, os.PathLike) else model
    providers = ["CPUExecutionProvider"]
    if not survives_exact_products(model):
        return runtime.InferenceSession(given, options, providers=providers)
    options.add_session_config_entry(EXACT_PRODUCTS, "1")
    try:
        return runtime.InferenceSession(given, options, providers=providers)
    except Exception:  # its errors share no public base
        # ONNX Runtime 1.31 asked for them fails at nodes that share the zero point of their weights.
        options.add_session_config_entry(EXACT_PRODUCTS, "0")
        return runtime.InferenceSession(given, options, providers=providers)
