"""Models that break the standard are refused by name."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest

from pyfastep.passes.check_model import CheckModelPass
from pyfastep.passes.errors import ConversionError

from .models import linear_model, random_weight, to_ir


def test_a_sound_model_passes_unchanged() -> None:
    assert not CheckModelPass()(to_ir(linear_model(weight=random_weight(12, 20)))).modified


def drop_input(model: onnx.ModelProto) -> None:
    del next(node for node in model.graph.node if node.op_type == "MatMul").input[1]


def dangle(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "MatMul").input[0] = "nothing"


def misspell(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "MatMul").op_type = "MatMull"


@pytest.mark.parametrize(("change", "named"), [(drop_input, "MatMul"), (dangle, "nothing"), (misspell, "MatMull")])
def test_broken_models(change: Callable[[onnx.ModelProto], None], named: str) -> None:
    proto = linear_model(weight=random_weight(12, 20))
    change(proto)
    with pytest.raises(ConversionError, match=r"onnx\.checker rejects the model") as error:
        CheckModelPass()(to_ir(proto))
    assert named in error.value.problem
    assert error.value.remedy
