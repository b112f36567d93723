"""Fused operators of exporters, quantizers and optimizers, each family in plain ONNX: one form for all that follows."""
