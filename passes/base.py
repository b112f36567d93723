"""What the passes of FastEP share: a count of what was done, and the reasons for what was not."""

from __future__ import annotations

import abc
import dataclasses

import onnx_ir as ir

from .names import forget_names


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why a pass left a node alone.

    Attributes:
        node: name of the node.
        reason: in words that a user understands.
    """

    node: str
    reason: str


class CountingPass(ir.passes.InPlacePass):
    """An in-place pass that says how much it changed.

    Attributes:
        count: changes made by the last call; `modified` is true exactly when it is not 0.
        refusals: what the last call left alone although it looked like its business.
    """

    def __init__(self) -> None:
        self.count = 0
        self.refusals: list[Refusal] = []

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Runs `rewrite` and tells truthfully whether it changed anything."""
        self.refusals = []
        forget_names(model.graph)
        self.count = self.rewrite(model)
        return ir.passes.PassResult(model, modified=self.count > 0)

    @abc.abstractmethod
    def rewrite(self, model: ir.Model) -> int:
        """Changes the model and returns the number of changes."""
