"""FAttention as a single node through both doors, bit for bit against the oracle of the kernels' tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyfastep.passes.ops import fattention

from . import doors
from .doors import Door
from .encoder_cases import Case, attention_case, check, check_decoy, open_case

FLOAT = ("f32", "f32", "f32")


@pytest.fixture(params=doors.DOORS)
def door(request: pytest.FixtureRequest) -> Door:
    value: Door = request.param
    return value


@pytest.mark.parametrize("y_type", ["u8", "s8", "f32"])
@pytest.mark.parametrize("hiding", ["", "_mask", "_bias"])
def test_every_variant(fastep_library: Path, door: Door, y_type: str, hiding: str) -> None:
    check(fastep_library, attention_case(y_type, hiding, FLOAT), door)


@pytest.mark.parametrize("heads", [(1, 25), (5, 6), (12, 3)], ids=str)
@pytest.mark.parametrize("y_type", ["u8", "f32"])
def test_any_heads(fastep_library: Path, door: Door, heads: tuple[int, int], y_type: str) -> None:
    check(fastep_library, attention_case(y_type, "_mask", FLOAT, heads), door)


def test_the_decoys_are_wrong() -> None:
    check_decoy(attention_case("u8", "_mask", FLOAT))


@pytest.mark.parametrize("y_type", ["u8", "f32"])
@pytest.mark.parametrize("hiding", ["", "_mask", "_bias"])
def test_the_reference_of_the_passes_gives_the_same_bits(y_type: str, hiding: str) -> None:
    case = attention_case(y_type, hiding, FLOAT)
    variant = fattention.Variant.parse(case.name)
    assert variant is not None
    inputs = {name: value for name, value in case.inputs.items() if value is not None} | case.feeds
    assert np.array_equal(fattention.reference(variant, inputs, 3, 0.3), case.expected[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 0}, "num_heads.*integer from 1.*found 0"),
        ({"head_size": 11}, r"'q': expected shape \[4, 11\] with 33 features"),
        ({"scale": -1.0}, "scale.*float > 0.*found -1"),
    ],
)
def test_bad_attention_is_refused(fastep_library: Path, change: dict[str, Any], message: str) -> None:
    case = attention_case("u8", "", FLOAT)
    broken = Case(**{**case.__dict__, "attributes": {**case.attributes, **change}})
    with pytest.raises(Exception, match=f"node 'node'.*{message}"):
        open_case(fastep_library, broken, "custom_ops").run(None, case.feeds)


def test_quantized_operands_are_refused(fastep_library: Path) -> None:
    case = attention_case("f32", "", FLOAT)
    quantized = {name: value.astype(np.uint8) for name, value in case.feeds.items()}
    broken = Case(**{**case.__dict__, "feeds": quantized})
    with pytest.raises(Exception, match="uint8"):
        open_case(fastep_library, broken, "custom_ops")
