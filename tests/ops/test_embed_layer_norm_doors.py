"""EmbedLayerNorm as a single node through both doors, bit for bit against the oracle of the kernels' tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from . import doors
from .doors import Door
from .encoder_cases import NORM_FORMS, check, check_decoy, embed_case, open_case


@pytest.fixture(params=doors.DOORS)
def door(request: pytest.FixtureRequest) -> Door:
    value: Door = request.param
    return value


@pytest.mark.parametrize("form", NORM_FORMS)
@pytest.mark.parametrize("with_types", [False, True])
@pytest.mark.parametrize("quant", [False, True])
@pytest.mark.parametrize("counted", [False, True])
def test_every_variant(
    fastep_library: Path, door: Door, form: str, with_types: bool, quant: bool, counted: bool
) -> None:
    check(fastep_library, embed_case(form, with_types, quant, counted), door)


def test_the_decoys_are_wrong() -> None:
    for counted in (False, True):
        check_decoy(embed_case("u8", with_types=True, quant=False, counted=counted))


def test_bad_ids_are_refused_and_the_next_run_works(fastep_library: Path, door: Door) -> None:
    case = embed_case("f32", with_types=False, quant=False)
    session = open_case(fastep_library, case, door)
    with pytest.raises(Exception, match=r"ids of input 'input_ids' must be in \[0, 31\), found 99 at \[0, 1\]"):
        session.run(None, {**case.feeds, "input_ids": np.array([[1, 99, 3, 4, 5, 6, 7, 8, 9]] * 2)})
    with pytest.raises(Exception, match=r"'position_ids': expected shape \[2, 9\] or \[1, 9\], found \[2, 8\]"):
        session.run(None, {**case.feeds, "position_ids": case.feeds["position_ids"][:, 1:]})
    assert np.array_equal(session.run(None, case.feeds)[0], case.expected[0])


def test_every_input_of_ids_is_named(fastep_library: Path, door: Door) -> None:
    for counted in (False, True):
        case = embed_case("f32", with_types=True, quant=False, counted=counted)
        session = open_case(fastep_library, case, door)
        for name, rows in (("input_ids", 31), ("position_ids", 40), ("token_type_ids", 2)):
            if name not in case.feeds:
                continue
            bad = case.feeds[name].copy()
            bad[1, 3] = rows
            with pytest.raises(Exception, match=rf"'{name}' must be in \[0, {rows}\), found {rows} at \[1, 3\]"):
                session.run(None, {**case.feeds, name: bad})


def test_more_tokens_than_counted_positions(fastep_library: Path, door: Door) -> None:
    case = embed_case("f32", with_types=False, quant=True, counted=True)
    session = open_case(fastep_library, case, door)
    with pytest.raises(Exception, match=r"at most 40 tokens, one per row of the table of positions, found 41; shorten"):
        session.run(None, {"input_ids": np.zeros((2, 41), np.int64)})
    assert np.array_equal(session.run(None, case.feeds)[0], case.expected[0])
    assert session.run(None, {"input_ids": np.zeros((2, 40), np.int64)})[0].shape == (2, 40, 24)
