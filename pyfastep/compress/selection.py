"""Which Linears of a model are compressed, and the checks that they can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn

from pyfastep.errors import FastEPError

__all__ = ["check_weights", "refuse_unmatched", "select_linears", "shares_per_layer"]

_FLOAT_TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def select_linears(
    model: nn.Module, include: Sequence[str] | None = None, exclude: Sequence[str] = ()
) -> dict[str, nn.Linear]:
    """The Linears to compress, by qualified name, in the order of the model.

    Args:
        model: Any torch module. By default every Linear inside the stacked layers (below an ``nn.ModuleList``): in a
            Hugging Face encoder that is every Linear but those of embeddings, pooler and task head.
        include: Glob patterns of qualified module names that replace the default choice.
        exclude: Glob patterns of qualified module names that are never touched.

    Raises:
        FastEPError: A pattern matches no Linear, nothing is left, or a weight is shared with a module that must not
            change.
    """
    linears = dict(_linears(model))
    refuse_unmatched((*(include or ()), *exclude), linears)
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
    layers = {name: linear for name, linear in linears.items() if name in chosen}
    _refuse_shared_weights(model, layers)
    return layers


def shares_per_layer(names: Sequence[str], share: float, targets: Mapping[str, float]) -> dict[str, float]:
    """Each layer's sparsity: that of the first pattern of ``targets`` that matches its name, ``share`` elsewhere.

    So the order of ``targets`` decides, and whatever stores or compares them has to keep it.
    """
    refuse_unmatched(targets, names)
    matches = {name: [pattern for pattern in targets if fnmatchcase(name, pattern)] for name in names}
    return {name: targets[found[0]] if found else share for name, found in matches.items()}


def check_weights(layers: Mapping[str, nn.Linear]) -> None:
    """Refuses weights that are not loaded, not floating point, empty or not finite, before anything is changed."""
    for name, linear in layers.items():
        weight = linear.weight
        if weight.dtype not in _FLOAT_TYPES or weight.is_meta or weight.layout != torch.strided:
            raise FastEPError(
                f"the weight must be a loaded dense floating point tensor, found {weight.dtype} on {weight.device}",
                node=name,
                remedy="prune after loading the weights and before quantizing them",
            )
        if weight.numel() == 0 or not bool(torch.isfinite(weight).all()):
            what = "is empty" if weight.numel() == 0 else "has values that are NaN or infinite"
            raise FastEPError(f"the weight {what}", node=name, remedy="exclude the module or repair the checkpoint")


def _linears(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    return ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear))


def refuse_unmatched(
    patterns: Iterable[str], names: Iterable[str], kind: str = "nn.Linear", where: str | None = None
) -> None:
    """Raises a :class:`FastEPError` at ``where`` that names the first glob pattern to which none of the names fits."""
    names = list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            known = ", ".join(names[:8]) or "none"
            raise FastEPError(f"pattern {pattern!r} matches no {kind}", node=where, remedy=f"the model has: {known}")


def _in_stack(model: nn.Module, name: str) -> bool:
    """Whether the module is one of the stacked layers, i.e. below an ``nn.ModuleList``."""
    parts = name.split(".")
    return any(isinstance(model.get_submodule(".".join(parts[:i])), nn.ModuleList) for i in range(1, len(parts)))


def _refuse_shared_weights(model: nn.Module, layers: Mapping[str, nn.Linear]) -> None:
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
