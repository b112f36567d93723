"""ONNX Runtime's own CPU provider, as what FastEP is compared with: exact on every CPU."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pyfastep._ep import import_onnxruntime

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["EXACT_PRODUCTS", "stock_session"]

# Without VNNI its products of uint8 and int8 saturate in 16 bits, two at a time, unless this asks for others, which are
# slower (onnxruntime_session_options_config_keys.h). Elsewhere it changes nothing.
EXACT_PRODUCTS = "session.x64quantprecision"


def stock_session(
    model: str | bytes | os.PathLike[str], options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    """A session on ONNX Runtime's CPU provider alone, whose integer products are exact.

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
    options.add_session_config_entry(EXACT_PRODUCTS, "1")
    try:
        return runtime.InferenceSession(given, options, providers=providers)
    except Exception:  # its errors share no public base
        # ONNX Runtime 1.31 asked for them fails at nodes that share the zero point of their weights.
        options.add_session_config_entry(EXACT_PRODUCTS, "0")
        return runtime.InferenceSession(given, options, providers=providers)
