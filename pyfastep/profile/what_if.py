"""How fast each linear would be with other weights: what was measured, scaled by the cost model of the kernels."""

from __future__ import annotations

from collections.abc import Sequence

from pyfastep.profile.recording import RecordedStep
from pyfastep.profile.result import StepProfile, WhatIf

DENSE = "dense"
_KERNELS, _DENSITIES = ("4x4", "4x1"), (0.2, 0.1)


def predict(steps: Sequence[StepProfile], recorded: Sequence[RecordedStep]) -> tuple[WhatIf, ...]:
    """Each linear as it would be dense, and pruned to 80 and 90 % in blocks of 4x4 and 4x1.

        ms = measured ms * predicted cycles / predicted cycles of the kernel that ran

    The cost model knows products and outputs, not what stands around them, which is the same for all kernels.

    Args:
        steps: As measured.
        recorded: The same steps as the library wrote them.
    """
    found = []
    for step, source in zip(steps, recorded, strict=True):
        product = source.product
        if product is None or product.cycles <= 0:
            continue
        other = {
            _name(kernel, density): step.ms * cycles / product.cycles
            for (kernel, density), cycles in product.predictions.items()
            if kernel == DENSE or (kernel in _KERNELS and density in _DENSITIES)
        }
        found.append(WhatIf(step.layer, step.family, step.nodes, step.ms, other))
    return tuple(found)


def _name(kernel: str, density: float) -> str:
    return kernel if kernel == DENSE else f"{kernel} {1 - density:.0%}"
