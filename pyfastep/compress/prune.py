"""One-shot block magnitude pruning of ``torch.nn.Linear`` modules.

A block R x C is written ``outputs x inputs`` on ``nn.Linear.weight [out, in]``: 4x1 is four consecutive output channels
of one input. The score of a block is the mean of ``|w|`` over its elements; the blocks of least score become zero.
Source of block and score: Shen et al., "Fast DistilBERT on CPUs", arXiv:2211.07715, section 3.1.

Pruning a trained model in one shot costs accuracy; nothing here trains it back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import nn

from pyfastep.errors import FastEPError

__all__ = ["LayerSparsity", "PruneReport", "block_scores", "prune_blocks"]

_FLOAT_TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class LayerSparsity:
    """What pruning left of one Linear.

    Attributes:
        name: Qualified module name.
        shape: ``(out_features, in_features)``.
        blocks: Number of blocks, edge blocks included.
        zero_blocks: Blocks whose elements are all zero.
        zero_elements: Elements of the weight that are zero.
    """

    name: str
    shape: tuple[int, int]
    blocks: int
    zero_blocks: int
    zero_elements: int

    @property
    def block_sparsity(self) -> float:
        """Share of the blocks that are zero, 0 to 1."""
        return self.zero_blocks / self.blocks

    @property
    def sparsity(self) -> float:
        """Share of the elements that are zero, 0 to 1."""
        return self.zero_elements / math.prod(self.shape)


@dataclass(frozen=True)
class PruneReport:
    """Sparsity achieved by :func:`prune_blocks`; ``str()`` gives a table."""

    block: tuple[int, int]
    target: float
    scope: Literal["layer", "global"]
    layers: tuple[LayerSparsity, ...]

    @property
    def sparsity(self) -> float:
        """Share of all elements of the pruned layers that are zero, 0 to 1."""
        elements = sum(math.prod(layer.shape) for layer in self.layers)
        return sum(layer.zero_elements for layer in self.layers) / elements

    def __str__(self) -> str:
        width = max(len(layer.name) for layer in self.layers)
        title = f"{self.block[0]}x{self.block[1]} blocks, target {self.target:.1%} per {self.scope}, "
        lines = [title + f"achieved {self.sparsity:.2%} over {len(self.layers)} Linear modules"]
        for layer in self.layers:
            shape = f"{layer.shape[0]}x{layer.shape[1]}"
            blocks = f"{layer.zero_blocks}/{layer.blocks} blocks zero"
            lines.append(f"  {layer.name:<{width}}  {shape:>11}  {layer.sparsity:7.2%}  {blocks}")
        return "\n".join(lines)


def prune_blocks(
    model: nn.Module,
    *,
    block: tuple[int, int] = (4, 1),
    sparsity: float = 0.8,
    scope: Literal["layer", "global"] = "layer",
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
) -> PruneReport:
    """Sets the blocks of least mean ``|w|`` to zero, in place.

    Of ``n`` blocks, ``round(sparsity * n)`` become zero: of each layer's blocks (``scope="layer"``) or of all layers'
    blocks together (``scope="global"``). Where R or C does not divide the shape, edge blocks are smaller and their mean
    is over the elements that exist. Equal scores fall in row-major order, so the result is reproducible.

    Args:
        model: Any torch module. By default every Linear inside the stacked layers (below an ``nn.ModuleList``) is
            pruned: in a Hugging Face encoder that is every Linear but those of embeddings, pooler and task head.
        block: ``(R, C)``, outputs x inputs on ``nn.Linear.weight [out, in]``, each >= 1.
        sparsity: Share of the blocks that become zero, 0 <= sparsity < 1.
        scope: ``"layer"`` for the same share in each layer, ``"global"`` for one threshold over all layers.
        include: Glob patterns of qualified module names that replace the default choice.
        exclude: Glob patterns of qualified module names that are never touched.

    Returns:
        The sparsity achieved per layer.

    Raises:
        FastEPError: An argument is out of range, a pattern matches no Linear, nothing is left to prune, a weight is
            not finite or not floating point, or a weight is shared with a module that must not change.
    """
    rows, cols = _checked_block(block)
    if not 0.0 <= sparsity < 1.0:
        raise FastEPError(
            f"sparsity must be in [0, 1), found {sparsity!r}", remedy="0.8 sets 80 % of the blocks to zero"
        )
    if scope not in ("layer", "global"):
        raise FastEPError(f'scope must be "layer" or "global", found {scope!r}')
    layers = _select(model, include, exclude)
    _refuse_shared_weights(model, layers)
    scores = {name: _checked_scores(name, linear.weight, rows, cols) for name, linear in layers.items()}
    kept = _keep_per_layer(scores, sparsity) if scope == "layer" else _keep_global(scores, sparsity)
    with torch.no_grad():
        for name, linear in layers.items():
            linear.weight.masked_fill_(~_expand(kept[name], linear.weight, rows, cols), 0.0)
    measured = tuple(_measure(name, linear, rows, cols) for name, linear in layers.items())
    return PruneReport(block=(rows, cols), target=sparsity, scope=scope, layers=measured)


def block_scores(weight: torch.Tensor, block: tuple[int, int]) -> torch.Tensor:
    """Mean of ``|w|`` per block.

    ``score[i, j] = mean |weight[R*i : R*i+R, C*j : C*j+C]|``, over the elements that exist in edge blocks.

    Args:
        weight: ``[out, in]``, floating point.
        block: ``(R, C)``, each >= 1.

    Returns:
        ``[ceil(out/R), ceil(in/C)]``, float64 if the weight is, float32 otherwise.
    """
    rows, cols = block
    dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
    magnitude = weight.detach().to(dtype).abs()
    return _block_sums(magnitude, rows, cols) / _block_sums(torch.ones_like(magnitude), rows, cols)


def _block_sums(values: torch.Tensor, rows: int, cols: int) -> torch.Tensor:
    """Sums of R x C tiles of ``values``; edge tiles are padded with zeros."""
    n_out, n_in = values.shape
    padded = nn.functional.pad(values, (0, -n_in % cols, 0, -n_out % rows))
    tiles = padded.reshape(padded.shape[0] // rows, rows, padded.shape[1] // cols, cols)
    return tiles.sum(dim=(1, 3))


def _checked_block(block: tuple[int, int]) -> tuple[int, int]:
    sizes: Sequence[object] = block  # callers without a type checker pass anything
    if len(sizes) != 2 or any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
        raise FastEPError(
            f"block must be two whole numbers >= 1 (outputs x inputs), found {block!r}",
            remedy="the usual ones are (4, 1) and (4, 4)",
        )
    return block


def _linears(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            yield name, module


def _in_stack(model: nn.Module, name: str) -> bool:
    """Whether the module is one of the stacked layers, i.e. below an ``nn.ModuleList``."""
    parts = name.split(".")
    return any(isinstance(model.get_submodule(".".join(parts[:i])), nn.ModuleList) for i in range(1, len(parts)))


def _select(model: nn.Module, include: Sequence[str] | None, exclude: Sequence[str]) -> dict[str, nn.Linear]:
    linears = dict(_linears(model))
    for pattern in (*(include or ()), *exclude):
        if not any(fnmatchcase(name, pattern) for name in linears):
            known = ", ".join(list(linears)[:8]) or "none"
            raise FastEPError(f"pattern {pattern!r} matches no nn.Linear", remedy=f"the model has: {known}")
    if include is None:
        chosen = {name for name in linears if _in_stack(model, name)}
    else:
        chosen = {name for name in linears if any(fnmatchcase(name, pattern) for pattern in include)}
    chosen = {name for name in chosen if not any(fnmatchcase(name, pattern) for pattern in exclude)}
    if not chosen:
        raise FastEPError(
            f"no nn.Linear of {type(model).__name__} is left to prune; by default those below a ModuleList are",
            remedy="name the modules with include=[...], glob patterns of their qualified names",
        )
    return {name: linear for name, linear in linears.items() if name in chosen}


def _refuse_shared_weights(model: nn.Module, layers: dict[str, nn.Linear]) -> None:
    """A weight tied to an embedding or to the head would be changed there too."""
    owners = {id(linear.weight): name for name, linear in layers.items()}
    for name, module in model.named_modules():
        if name in layers:
            continue
        for parameter_name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in owners:
                raise FastEPError(
                    f"the weight is shared with {name}.{parameter_name}, which must not change",
                    node=owners[id(parameter)],
                    remedy="exclude the Linear or untie the weights",
                )


def _checked_scores(name: str, weight: torch.Tensor, rows: int, cols: int) -> torch.Tensor:
    if weight.dtype not in _FLOAT_TYPES or weight.is_meta or weight.layout != torch.strided:
        raise FastEPError(
            f"the weight must be a loaded dense floating point tensor, found {weight.dtype} on {weight.device}",
            node=name,
            remedy="prune after loading the weights and before quantizing them",
        )
    if weight.numel() == 0 or not bool(torch.isfinite(weight).all()):
        what = "is empty" if weight.numel() == 0 else "has values that are NaN or infinite"
        raise FastEPError(f"the weight {what}", node=name, remedy="exclude the module or repair the checkpoint")
    return block_scores(weight, (rows, cols))


def _keep(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Mask of the blocks that stay: all but the ``round(sparsity * n)`` of least score."""
    flat = scores.reshape(-1)
    kept = torch.ones_like(flat, dtype=torch.bool)
    kept[torch.argsort(flat, stable=True)[: round(sparsity * flat.numel())]] = False
    return kept.reshape(scores.shape)


def _keep_per_layer(scores: dict[str, torch.Tensor], sparsity: float) -> dict[str, torch.Tensor]:
    return {name: _keep(score, sparsity) for name, score in scores.items()}


def _keep_global(scores: dict[str, torch.Tensor], sparsity: float) -> dict[str, torch.Tensor]:
    kept = _keep(torch.cat([score.reshape(-1).cpu() for score in scores.values()]), sparsity)
    pieces = torch.split(kept, [score.numel() for score in scores.values()])
    return {
        name: piece.reshape(score.shape).to(score.device)
        for (name, score), piece in zip(scores.items(), pieces, strict=True)
    }


def _expand(mask: torch.Tensor, weight: torch.Tensor, rows: int, cols: int) -> torch.Tensor:
    """Block mask to element mask, cut to the weight's shape."""
    full = mask.repeat_interleave(rows, dim=0).repeat_interleave(cols, dim=1)
    return full[: weight.shape[0], : weight.shape[1]]


def _measure(name: str, linear: nn.Linear, rows: int, cols: int) -> LayerSparsity:
    nonzero = _block_sums((linear.weight.detach() != 0).to(torch.float32), rows, cols)
    return LayerSparsity(
        name=name,
        shape=(linear.weight.shape[0], linear.weight.shape[1]),
        blocks=nonzero.numel(),
        zero_blocks=int((nonzero == 0).sum()),
        zero_elements=int((linear.weight == 0).sum()),
    )
