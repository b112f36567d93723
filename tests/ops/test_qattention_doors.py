"""QAttention as a single node through both doors, bit for bit against the oracle of the kernels' tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from . import doors
from .doors import Door
from .encoder_cases import Case, attention_case, check, check_decoy, open_case


@pytest.fixture(params=doors.DOORS)
def door(request: pytest.FixtureRequest) -> Door:
    value: Door = request.param
    return value


@pytest.mark.parametrize("y_type", ["u8", "s8", "f32"])
@pytest.mark.parametrize("hiding", ["", "_mask", "_bias"])
def test_every_variant(fastep_library: Path, door: Door, y_type: str, hiding: str) -> None:
    check(fastep_library, attention_case(y_type, hiding), door)


@pytest.mark.parametrize("types", [("u8", "u8", "u8"), ("s8", "s8", "s8"), ("s8", "u8", "s8")])
def test_element_types(fastep_library: Path, door: Door, types: tuple[str, str, str]) -> None:
    check(fastep_library, attention_case("u8", "_mask", types), door)


@pytest.mark.parametrize("heads", [(1, 25), (5, 6), (12, 3)], ids=str)
@pytest.mark.parametrize("y_type", ["u8", "f32"])
def test_any_heads(fastep_library: Path, door: Door, heads: tuple[int, int], y_type: str) -> None:
    check(fastep_library, attention_case(y_type, "_mask", heads=heads), door)


def test_the_decoys_are_wrong() -> None:
    check_decoy(attention_case("u8", "_mask"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head_size": 0}, "head_size.*integer from 1.*found 0"),
        ({"num_heads": 0}, "num_heads.*integer from 1.*found 0"),
        ({"scale": -1.0}, "scale.*float > 0.*found -1"),
    ],
)
def test_bad_attention_is_refused(fastep_library: Path, change: dict[str, Any], message: str) -> None:
    case = attention_case("u8", "")
    broken = Case(**{**case.__dict__, "attributes": {**case.attributes, **change}})
    with pytest.raises(Exception, match=f"node 'node'.*{message}"):
        open_case(fastep_library, broken, "custom_ops")


def test_a_mask_of_another_shape_is_refused_and_the_next_run_works(fastep_library: Path, door: Door) -> None:
    case = attention_case("u8", "_mask")
    session = open_case(fastep_library, case, door)
    with pytest.raises(Exception, match=r"'mask': expected a mask of shape \[4, 11\], found \[4, 10\]"):
        session.run(None, {**case.feeds, "mask": np.ones((4, 10), np.int64)})
    assert np.array_equal(session.run(None, case.feeds)[0], case.expected[0])
