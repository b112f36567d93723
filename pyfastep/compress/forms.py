"""Names of a model's forms, as reports show them and as what reads reports asks for them."""

from __future__ import annotations

__all__ = ["DENSE", "ENGINES", "FAST", "FAST_STOCK", "INT8_STOCK", "PRUNED", "PRUNED_STOCK", "TEACHER"]

DENSE = "dense fp32, torch"
TEACHER = "teacher, torch"
"""Where it is another checkpoint than the dense model."""
PRUNED = "pruned fp32, torch"
PRUNED_STOCK = "pruned fp32, ONNX Runtime"
INT8_STOCK = "pruned INT8, ONNX Runtime"
FAST_STOCK = "FastEP's file, ONNX Runtime"
FAST = "FastEP's file, FastEP"

ENGINES = {
    DENSE: "dense fp32",
    PRUNED_STOCK: "pruned fp32",
    INT8_STOCK: "pruned INT8",
    FAST: "FastEP",
}
"""Name in the speed table of the forms that are measured there, the dense one through its ONNX file."""
