"""The list of ops."""

from __future__ import annotations

import pytest

from pyfastep.passes.ops import DOMAIN
from pyfastep.passes.ops.registry import OPS, find_op

NAMES = [variant.name for op in OPS for variant in op.all_variants()]


def test_names_are_distinct() -> None:
    assert len(set(NAMES)) == len(NAMES) == 24 + 9 + 9 + 5 + 40


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_is_found(name: str) -> None:
    op = find_op(name)
    assert op is not None
    function = op.build_function(17)
    assert (function.domain, function.name) == (DOMAIN, name)
    assert tuple(function.input) == op.inputs
    assert [entry.version for entry in function.opset_import] == [17]


@pytest.mark.parametrize("name", ["", "QLinear", "MatMul", "QLinear_u8_v2", "SkipLayerNorm_u8_u8"])
def test_others_are_not(name: str) -> None:
    assert find_op(name) is None
