"""A counting pass tells the truth about what it changed."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from pyfastep.passes.base import CountingPass, Refusal

from .models import linear_model, to_ir


class Fixed(CountingPass):
    def __init__(self, count: int) -> None:
        super().__init__()
        self._result = count

    def rewrite(self, model: ir.Model) -> int:
        self.refusals.append(Refusal("node", "reason"))
        return self._result


@pytest.mark.parametrize("count", [0, 3])
def test_modified_is_the_count(count: int) -> None:
    model = to_ir(linear_model())
    fixed = Fixed(count)
    result = fixed(model)
    assert result.model is model
    assert result.modified is (count > 0)
    assert fixed.count == count


def test_refusals_are_those_of_the_last_call() -> None:
    model, fixed = to_ir(linear_model()), Fixed(0)
    fixed(model)
    fixed(model)
    assert fixed.refusals == [Refusal("node", "reason")]
