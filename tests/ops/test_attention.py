"""What QAttention and FAttention share."""

from __future__ import annotations

import numpy as np
import pytest

from pyfastep.passes.ops import fattention, qattention
from pyfastep.passes.ops.attention import AttentionVariant, round_to, split_heads

VARIANTS: list[AttentionVariant] = [*qattention.all_variants(), *fattention.all_variants()]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_a_name_belongs_to_one_family(variant: AttentionVariant) -> None:
    found = [op.Variant.parse(variant.name) for op in (qattention, fattention)]
    assert [x for x in found if x is not None] == [variant]


def test_heads_stand_side_by_side() -> None:
    x = np.arange(24).reshape(1, 2, 12)
    assert split_heads(x, 3).shape == (1, 3, 2, 4)
    assert split_heads(x, 3)[0, 1].tolist() == [[4, 5, 6, 7], [16, 17, 18, 19]]


def test_rounding_is_to_even_and_saturates() -> None:
    y = np.array([0.5, 1.5, -7, 300], np.float32)
    assert round_to(y, "u8").tolist() == [0, 2, 0, 255]
    assert round_to(y, "s8").tolist() == [0, 2, -7, 127]
