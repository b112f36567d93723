"""ONNX Runtime's own CPU provider, as what FastEP is compared with: exact on every CPU."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyfastep._ep import import_onnxruntime, runtime_version
from pyfastep._extras import how_to_install
from pyfastep.errors import FastEPError

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

    Raises:
        FastEPError: That has to be looked up in the model, and the package onnx is missing.
    """
    if runtime_version(import_onnxruntime()) >= _SURVIVES:
        return True
    try:
        import onnx
    except ImportError as error:
        raise FastEPError(f"models are read by the package onnx: {error}", remedy=how_to_install("convert")) from error
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
    model: str | bytes | os.PathLike[str], configure: Callable[[onnxruntime.SessionOptions], None] | None = None
) -> onnxruntime.InferenceSession:
    """A session on ONNX Runtime's CPU provider alone, whose integer products are exact if it can be had.

    Args:
        model: A file, or its bytes.
        configure: Sets further options.

    Raises:
        Exception: ONNX Runtime's, where it cannot load the model.
    """
    runtime = import_onnxruntime()

    def open_session(exact: bool) -> onnxruntime.InferenceSession:
        options = runtime.SessionOptions()
        if configure is not None:
            configure(options)
        if exact:
            options.add_session_config_entry(EXACT_PRODUCTS, "1")
        given = str(model) if isinstance(model, os.PathLike) else model
        return runtime.InferenceSession(given, options, providers=["CPUExecutionProvider"])

    if not survives_exact_products(model):
        return open_session(exact=False)
    try:
        return open_session(exact=True)
    except Exception:  # its errors share no public base
        # ONNX Runtime 1.31 asked for them fails at nodes that share the zero point of their weights.
        return open_session(exact=False)
