"""Compression of torch models: block pruning and offline export (needs the extra ``compress``).

This package and :mod:`pyfastep.demo` are the only ones that import torch. One-shot pruning is what stands here;
gradual pruning, distillation and quantization-aware training, which win the accuracy back, are not part of it yet.
"""

from pyfastep.compress.export import export_onnx
from pyfastep.compress.prune import LayerSparsity, PruneReport, prune_blocks

__all__ = ["LayerSparsity", "PruneReport", "export_onnx", "prune_blocks"]
