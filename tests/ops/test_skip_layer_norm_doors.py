"""SkipLayerNorm as a single node through both doors, bit for bit against the oracle of the kernels' tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from . import doors
from .doors import Door
from .encoder_cases import NORM_FORMS, check, check_decoy, open_case, skip_case


@pytest.fixture(params=doors.DOORS)
def door(request: pytest.FixtureRequest) -> Door:
    value: Door = request.param
    return value


@pytest.mark.parametrize("form", NORM_FORMS)
def test_every_variant(fastep_library: Path, door: Door, form: str) -> None:
    check(fastep_library, skip_case(form), door)


def test_the_decoys_are_wrong() -> None:
    check_decoy(skip_case("f32_u8"))


def test_shapes_that_differ_are_refused_and_the_next_run_works(fastep_library: Path, door: Door) -> None:
    case = skip_case("f32_u8")
    session = open_case(fastep_library, case, door)
    with pytest.raises(Exception, match=r"'residual': expected shape \[3, 7\] with 45 features, found \[1, 7, 45\]"):
        session.run(None, {**case.feeds, "residual": case.feeds["residual"][:1]})
    assert np.array_equal(session.run(None, case.feeds)[0], case.expected[0])
